// Package faults kills, restarts and cuts off the real binary and its database under load, and holds it against the
// fault cases and the timed cases. A load driver writes every acknowledged answer into a book that outlives all of it,
// and the book is replayed afterwards: what was acknowledged must still be so.
//
// The tests need the build tag faults, since they take minutes and judge times:
//
//	make faults
//	go test -tags faults -v -run Z01 ./test/faults -args -rounds 20
//
// Everything is on loopback, bounded in count and time, and ends by itself. With -update a run puts its figures into
// docs/faults.md.
package faults
