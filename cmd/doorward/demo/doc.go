// Package demo has the third-party app and the API of doorward demo, as their developers would write them. They know
// only the server's URLs and their own credentials.
package demo
