// Package process is the running server as its machine sees it: sockets that open together and drain at the end, and a
// log that is written in batches. It knows no pages and no database.
package process
