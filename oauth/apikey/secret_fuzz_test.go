package apikey

import (
	"bytes"
	"hash/crc32"
	"math/big"
	"strings"
	"testing"
)

// issued are the prefixes of everything that is looked up.
var issued = []string{"dw_ac_", "dw_at_", "dw_rt_", "dw_cs_", PrefixPersonalToken, "sk_live_"}

// FuzzWellFormed: what passes is exactly a prefix, 43 digits and their checksum, under its own prefix alone, and is
// passed no more when anything about it changes.
func FuzzWellFormed(f *testing.F) {
	for _, prefix := range issued {
		f.Add(prefix, SecretOf(prefix, [32]byte{}), 7, byte('x'))
		f.Add(prefix, SecretOf(prefix, [32]byte{0: 0xff, 31: 0xff}), 54, byte(' '))
		f.Add(prefix, SecretOf("dw_ac_", [32]byte{1}), 0, byte(0))
		f.Add(prefix, prefix+strings.Repeat("0", randomDigits+checksumDigit), 20, byte('\n'))
		f.Add(prefix, prefix+strings.Repeat("é", 24)+"0", 20, byte(0xc3))
	}
	f.Add("", "", 0, byte(0))
	f.Add("dw_", SecretOf("dw_at_", [32]byte{2}), 3, byte('r'))
	f.Fuzz(func(t *testing.T, prefix, text string, at int, other byte) {
		if WellFormed(prefix, text) {
			body, sum := text[:len(text)-checksumDigit], text[len(text)-checksumDigit:]
			random, ok := strings.CutPrefix(body, prefix)
			if !ok || len(random) != randomDigits || strings.Trim(random+sum, base62) != "" {
				t.Fatalf("%q passes under %q", text, prefix)
			}
			// Once more, by other means than the code's.
			n := new(big.Int)
			for _, c := range []byte(sum) {
				n.Add(n.Mul(n, big.NewInt(62)), big.NewInt(int64(strings.IndexByte(base62, c))))
			}
			if n.Cmp(big.NewInt(int64(crc32.ChecksumIEEE([]byte(body))))) != 0 {
				t.Fatalf("%q passes with a wrong checksum", text)
			}
			changed := []byte(text)
			if i := at & 0x7fffffff % len(changed); changed[i] != other {
				changed[i] = other
				if WellFormed(prefix, string(changed)) {
					t.Fatalf("%q passes, and so does %q", text, changed)
				}
			}
			for _, longer := range []string{
				text + string(other), string(other) + text, text + "\n", text[1:],
				text[:len(text)-1],
			} {
				if WellFormed(prefix, longer) {
					t.Fatalf("%q passes, and so does %q", text, longer)
				}
			}
		}
		if found := PrefixOf(text); found != "" && (!WellFormed(found, text) || strings.HasPrefix(found, "dw_")) {
			t.Fatalf("%q is looked up as a key under %q", text, found)
		}
		kinds := 0
		for _, p := range issued {
			if WellFormed(p, text) {
				kinds++
			}
		}
		if kinds > 1 {
			t.Fatalf("%q is of %d kinds", text, kinds)
		}
	})
}

// FuzzCredentialText: whatever the random bits, the text is well-formed, of one length, and says them all.
func FuzzCredentialText(f *testing.F) {
	f.Add(make([]byte, 32))
	f.Add(bytes.Repeat([]byte{0xff}, 32))
	f.Add([]byte{31: 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		var random [32]byte
		copy(random[:], b)
		for _, prefix := range issued {
			text := SecretOf(prefix, random)
			if !WellFormed(prefix, text) || len(text) != len(prefix)+randomDigits+checksumDigit {
				t.Fatalf("%q", text)
			}
			n := new(big.Int)
			for _, c := range []byte(text[len(prefix) : len(prefix)+randomDigits]) {
				n.Add(n.Mul(n, big.NewInt(62)), big.NewInt(int64(strings.IndexByte(base62, c))))
			}
			if !bytes.Equal(n.FillBytes(make([]byte, 33))[1:], random[:]) {
				t.Fatalf("%q does not hold %x", text, random)
			}
		}
	})
}
