//go:build faults

package gateways

const (
	alternations = 10_000
	pipelined    = 20_000
)
