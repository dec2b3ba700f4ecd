package apikey

import (
	"crypto/rand"
	"math/big"
	"regexp"
	"testing"
)

// The text of a credential is its number in base62, whichever way it is computed.
func TestDigitsAreBase62(t *testing.T) {
	numbers := [][32]byte{{}, {31: 1}, {31: 61}, {31: 62}}
	numbers = append(numbers, [32]byte{}) // the largest
	for i := range numbers[4] {
		numbers[4][i] = 0xff
	}
	for range 1000 {
		var b [32]byte
		_, _ = rand.Read(b[:])
		numbers = append(numbers, b)
	}
	for _, b := range numbers {
		n, base, digit := new(big.Int).SetBytes(b[:]), big.NewInt(62), new(big.Int)
		want := make([]byte, randomDigits)
		for i := randomDigits - 1; i >= 0; i-- {
			n.DivMod(n, base, digit)
			want[i] = base62[digit.Int64()]
		}
		if n.Sign() != 0 {
			t.Fatalf("%x does not fit into %d digits", b, randomDigits)
		}
		if got := digits(b); got != string(want) {
			t.Fatalf("%x is %s, want %s", b, got, want)
		}
	}
	if got := checksumDigits(3844); string(got[:]) != "000100" {
		t.Errorf("a checksum of 3844 is %s", got)
	}
}

// The prefix of a key is one or more words, an environment, and nothing else.
func TestPrefixOfKeysHasItsForm(t *testing.T) {
	form := regexp.MustCompile(`^[a-z][a-z0-9]*(?:_[a-z0-9]+)*_(?:live|test)_$`)
	for _, first := range []string{"", "a", "z9", "9", "_", "A", "-", "é", "\n", "live", "test"} {
		for _, middle := range []string{"", "_", "__", "_b", "_9", "_b_", "_B", "__b", "_live", "b-c", " ", "\x00"} {
			for _, end := range []string{
				"", "_", "_live", "live_", "_live_", "_test_", "_live__", "_prod_", "_live_\n", "_test_a",
			} {
				if prefix := first + middle + end; isKeyPrefix(prefix) != form.MatchString(prefix) {
					t.Errorf("%q: %v", prefix, isKeyPrefix(prefix))
				}
			}
		}
	}
}
