//go:build !faults

package gateways

// How often people take turns (F-16), and how many requests are pipelined (H-04). `make faults` does it more often.
const (
	alternations = 500
	pipelined    = 1000
)
