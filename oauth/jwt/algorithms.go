package jwt

import "github.com/go-jose/go-jose/v4"

// ClientAlgorithms are the algorithms of the assertions with which clients authenticate.
var ClientAlgorithms = []jose.SignatureAlgorithm{jose.ES256, jose.PS256, jose.EdDSA, ed25519Algorithm, jose.RS256}

// FAPIAlgorithms are those that the FAPI 2.0 Security Profile allows (section 5.4.1).
var FAPIAlgorithms = ClientAlgorithms[:4:4]

// ClientAlgorithmsOf returns the ClientAlgorithms that a key can be used with; none if its alg is another one.
func ClientAlgorithmsOf(k jose.JSONWebKey) []jose.SignatureAlgorithm {
	var list []jose.SignatureAlgorithm
	for _, a := range ClientAlgorithms {
		if Fits(k.Key, a) && (k.Algorithm == "" || k.Algorithm == string(a)) {
			list = append(list, a)
		}
	}
	return list
}
