// Package vendors tests the promises on the pages of five vendors, point by point. It runs the real server with the
// configurations under examples/, behind its own proxy and behind nginx. To write the results to docs/vendors.md:
//
//	go test ./test/vendors -args -update
package vendors
