// Package limit limits how often something may happen: plans count requests, in the database or in memory, and failures
// count guesses, in memory. Its memory is bounded, its clock is the caller's, and it does not know HTTP or what is
// counted.
package limit
