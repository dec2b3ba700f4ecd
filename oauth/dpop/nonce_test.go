package dpop_test

import (
	"encoding/base64"
	"errors"
	"testing"
	"time"

	"doorward/oauth/dpop"
	"doorward/test/rig"
)

// A nonce is current for four to five minutes, at each node that has its key.
func TestP09_TheNonceOfAProof(t *testing.T) {
	k := rig.NewKey(t, "")
	first, second := []byte("the first key of nonces"), []byte("the second key of nonces")
	nonces := dpop.NewNonces([][]byte{first, second})
	check := func(at *dpop.Nonces, nonce any) error {
		r := sent()
		r.Nonces = at
		_, err := dpop.Check(k.Sign(rig.ProofHeader(k), claims().With(rig.Members{"nonce": nonce})), r)
		return err
	}
	for name, nonce := range map[string]string{
		"of now": nonces.New(now), "of a minute ago": nonces.New(now.Add(-time.Minute)),
		"of four minutes ago":                   nonces.New(now.Add(-4 * time.Minute)),
		"of a node whose clock is ahead":        nonces.New(now.Add(time.Minute)),
		"of a node with its keys in turn":       dpop.NewNonces([][]byte{second, first}).New(now),
		"of a node that has only the other key": dpop.NewNonces([][]byte{second}).New(now),
	} {
		if err := check(nonces, nonce); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	raw, err := base64.RawURLEncoding.DecodeString(nonces.New(now))
	if err != nil {
		t.Fatal(err)
	}
	moved := append([]byte(nil), raw...)
	moved[7]--
	for name, nonce := range map[string]any{
		"none": nil, "an empty one": "", "a word": "x", "another key's": dpop.NewNonces([][]byte{[]byte("x")}).New(now),
		"one of five minutes ago": nonces.New(now.Add(-5 * time.Minute)),
		"one of in two minutes":   nonces.New(now.Add(2 * time.Minute)),
		"one of 1970":             nonces.New(time.Unix(0, 0)),
		"one with another time":   base64.RawURLEncoding.EncodeToString(moved),
		"one with padding":        nonces.New(now) + "=",
		"one with a newline":      nonces.New(now) + "\n",
		"one that is cut":         nonces.New(now)[:31],
		"one that is longer":      nonces.New(now) + "AAAA",
	} {
		if err := check(nonces, nonce); !errors.Is(err, dpop.ErrNonce) || errors.Is(err, dpop.ErrProof) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := check(nonces, 5); !errors.Is(err, dpop.ErrProof) {
		t.Errorf("a number: %v", err)
	}
	// The sender is told what else is wrong with it first: a nonce would not help.
	r := sent()
	r.Nonces = nonces
	wantRefused(t, "another fault", k.Sign(rig.ProofHeader(k), claims().With(rig.Members{"htm": "GET"})), r)
	if a, b := nonces.New(now), nonces.New(now.Add(59*time.Second)); a != b {
		t.Errorf("within a minute, %q and %q", a, b)
	}
}
