//go:build !faults

package gateways

// How often users take turns (F-16), and how many requests are pipelined (H-04). `make faults` uses higher numbers.
const (
	alternations = 500
	pipelined    = 1000
)
