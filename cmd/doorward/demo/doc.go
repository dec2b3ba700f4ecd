// Package demo is the third-party app, the API and the other identity provider of the command doorward demo. They use
// only the server's URLs and their own credentials, as their developers would write them.
package demo
