package apikey

import (
	"crypto/rand"
	"encoding/binary"
	"hash/crc32"
	"math/bits"
	"slices"
	"strings"
)

// PrefixPersonalToken begins every personal access token.
const PrefixPersonalToken = "pat_"

// The environments of API keys, which are part of their prefix.
const (
	Live = "live"
	Test = "test"
)

// Prefix returns the prefix of the API keys of an environment, given that of the resource, such as sk_live_.
func Prefix(resource, environment string) string { return resource + "_" + environment + "_" }

// isKeyPrefix reports whether prefix has the form of those of API keys: words of lower-case letters and digits, then an
// environment, and an underscore after each. The first word begins with a letter.
func isKeyPrefix(prefix string) bool {
	words, ok := strings.CutSuffix(prefix, "_"+Live+"_")
	if !ok {
		words, ok = strings.CutSuffix(prefix, "_"+Test+"_")
	}
	if !ok || words == "" || words[0] < 'a' || words[0] > 'z' {
		return false
	}
	before := byte('_')
	for i := range len(words) {
		c := words[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && (c != '_' || before == '_') {
			return false
		}
		before = c
	}
	return before != '_'
}

// maxPrefix is longer than any prefix that the configuration accepts.
const maxPrefix = 32

// PrefixOf returns the prefix of a string that could be an API key or a personal access token, and "" for any other.
func PrefixOf(secret string) string {
	n := len(secret) - randomDigits - checksumDigit
	if n <= 0 || n > maxPrefix {
		return ""
	}
	prefix := secret[:n]
	if strings.HasPrefix(prefix, "dw_") || (prefix != PrefixPersonalToken && !isKeyPrefix(prefix)) ||
		!WellFormed(prefix, secret) {
		return ""
	}
	return prefix
}

const (
	base62        = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	randomDigits  = 43 // base62 digits that hold 256 bits
	checksumDigit = 6
)

// NewSecret creates a secret: the prefix, 256 random bits, and a checksum that reveals typing errors without a database
// query. Example: sk_live_ and 49 characters.
func NewSecret(prefix string) string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails: without randomness Go ends the process
	return SecretOf(prefix, b)
}

// SecretOf returns the secret with the given random bits.
func SecretOf(prefix string, random [32]byte) string {
	body := prefix + digits(random)
	return body + checksum(body)
}

func checksum(body string) string {
	digits := checksumDigits(crc32.ChecksumIEEE([]byte(body)))
	return string(digits[:])
}

// checksumDigits is in base62, padded with zeros.
func checksumDigits(sum uint32) (digits [checksumDigit]byte) {
	for i := range slices.Backward(digits[:]) {
		digits[i] = base62[sum%62]
		sum /= 62
	}
	return digits
}

// digits formats a big-endian number in base62, padded with zeros to randomDigits.
func digits(number [32]byte) string {
	var limbs [4]uint64
	for i := range limbs {
		limbs[i] = binary.BigEndian.Uint64(number[8*i:])
	}
	// Ten digits at a time: 62^10 is the largest power that a machine word holds. math/big would take ten times as long,
	// on every token.
	const digitsAtOnce, power = 10, 62 * 62 * 62 * 62 * 62 * 62 * 62 * 62 * 62 * 62
	out := make([]byte, randomDigits)
	for end := randomDigits; end > 0; end -= digitsAtOnce {
		var rest uint64
		for i := range limbs {
			limbs[i], rest = bits.Div64(rest, limbs[i], power)
		}
		for i := end - 1; i >= max(0, end-digitsAtOnce); i-- {
			out[i] = base62[rest%62]
			rest /= 62
		}
	}
	return string(out)
}

// WellFormed reports whether secret could be a credential with this prefix, by its length, alphabet and checksum. Only
// the database knows whether it is one.
func WellFormed(prefix, secret string) bool {
	if len(secret) != len(prefix)+randomDigits+checksumDigit || !strings.HasPrefix(secret, prefix) {
		return false
	}
	for i := len(prefix); i < len(secret); i++ {
		c := secret[i]
		if (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			return false
		}
	}
	body := secret[:len(secret)-checksumDigit]
	return checksum(body) == secret[len(body):]
}
