// Package demo is a third-party app and an API, as their developers would write them, for the command demo. They know
// nothing of the server but its URLs and their own credentials.
package demo
