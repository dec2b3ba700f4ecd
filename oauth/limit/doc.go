// Package limit holds the limiter of failures: how often one may guess before one has to wait. It counts in memory,
// within a bound, by the clock it is given, and knows neither HTTP nor what is being guessed.
package limit
