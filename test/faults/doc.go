// Package faults kills, restarts and cuts off the real binary and its database under load, and runs the fault cases and
// the timed cases against it. A load driver writes every acknowledged answer into a book that outlives the server.
// Afterwards the book is replayed: everything acknowledged must still be true.
//
// The tests need the build tag faults, because they take minutes and measure times:
//
//	make faults
//	go test -tags faults -v -run Z01 ./test/faults -args -rounds 20
//
// Everything runs on loopback, is bounded in count and time, and stops by itself. With -update a run writes its figures
// to docs/faults.md.
package faults
