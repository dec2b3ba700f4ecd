// Package limit holds how often one may do something before one has to wait: plans, which count requests in the
// database or in memory, and failures, which count guesses in memory. It keeps within a bound, goes by the clock it is
// given, and knows neither HTTP nor what is being counted.
package limit
