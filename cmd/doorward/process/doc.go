// Package process runs the server's sockets, from opening to draining, and buffers its log. It does not know pages or
// the database.
package process
