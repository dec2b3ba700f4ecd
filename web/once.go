package web

import (
	"crypto/sha256"
	"fmt"
)

// formDigest is one digest of several texts, wherever one ends and the next begins.
func formDigest(parts ...string) []byte {
	sum := sha256.New()
	for _, part := range parts {
		fmt.Fprintf(sum, "%d:%s", len(part), part)
	}
	return sum.Sum(nil)
}
