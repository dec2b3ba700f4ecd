// Package demo is the third-party app and the API of the command doorward demo. Both use only the server's URLs and
// their own credentials, as their developers would write them.
package demo
