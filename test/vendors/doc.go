// Package vendors holds what the pages of five vendors promise, point by point: the real server with the configurations
// under examples/, reached by its own proxy and by nginx. What holds is docs/vendors.md, which
//
//	go test ./test/vendors -args -update
//
// writes.
package vendors
