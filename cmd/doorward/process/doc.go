// Package process runs the server's sockets, from opening to draining, and buffers its log. It knows no pages and no
// database.
package process
