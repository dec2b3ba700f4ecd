package security

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/go-webauthn/webauthn/protocol/webauthncbor"

	"doorward/storage"
	"doorward/test/authenticator"
	"doorward/test/rig"
)

// lies are answers of an authenticator or browser that differ from a true one in one point.
func lies(r *rig.Rig) map[string]authenticator.Change {
	return map[string]authenticator.Change{
		"another origin":           authenticator.Origin("https://evil.example"),
		"another scheme":           authenticator.Origin(strings.Replace(r.Issuer, "http:", "https:", 1)),
		"another port":             authenticator.Origin("http://localhost:1"),
		"a subdomain":              authenticator.Origin(strings.Replace(r.Issuer, "//", "//a.", 1)),
		"no origin":                authenticator.Origin(""),
		"another RP ID":            authenticator.RPID("example.com"),
		"no RP ID":                 authenticator.RPID(""),
		"another type":             authenticator.Type("payment.get"),
		"no type":                  authenticator.Type(""),
		"another challenge":        authenticator.Challenge(bytes.Repeat([]byte{1}, 32)),
		"no challenge":             authenticator.Challenge(nil),
		"no user verification":     authenticator.WithoutUserVerification(),
		"no user presence":         authenticator.WithoutUserPresence(),
		"backed up, but not to be": authenticator.BackupState(false, true),
	}
}

// A sign-in whose answer is wrong in any point is refused with 400, gives no session, and leaves the passkey as it was
// (G-16).
func TestG16_NoWrongAnswerOfAPasskeySignsIn(t *testing.T) {
	rig.Each(t, withPasskeys(), func(t *testing.T, r *rig.Rig) {
		a, foreign := authenticator.New(), authenticator.New()
		a.Counter = 10
		u := r.User("owner@example.com", "Owner", false)
		addPasskey(r.Browser().SignIn(u.Email), a)
		addPasskey(r.Browser().SignIn(r.Alice.Email), foreign)
		other := passkeys(t, r, r.Alice.ID)[0]
		own := passkeys(t, r, u.ID)[0]
		clone := a.Copy()
		byPasskey(r.Browser(), a)
		byPasskey(r.Browser(), a)
		all := lies(r)
		for name, change := range map[string]authenticator.Change{
			"the type of a new passkey":         authenticator.Type("webauthn.create"),
			"an unknown credential":             authenticator.CredentialID(bytes.Repeat([]byte{7}, 32)),
			"an empty credential":               authenticator.CredentialID([]byte{}),
			"another user's credential":         authenticator.CredentialID(other.CredentialID),
			"another user's handle":             authenticator.UserHandle([]byte(r.Alice.ID)),
			"an unknown handle":                 authenticator.UserHandle([]byte(storage.NewID("user"))),
			"no handle":                         authenticator.UserHandle(nil),
			"the address as handle":             authenticator.UserHandle([]byte(u.Email)),
			"another key":                       authenticator.OtherKey(),
			"a backup that was not possible":    authenticator.BackupState(true, true),
			"eligible for a backup that it was": authenticator.BackupState(true, false),
			"a lower counter":                   authenticator.CounterAt(3),
			"the same counter":                  authenticator.CounterAt(11),
			"no counter":                        authenticator.CounterAt(0),
		} {
			all[name] = change
		}
		before := passkeys(t, r, u.ID)
		refuse := func(name string, b *rig.Browser, form url.Values) {
			t.Helper()
			sessions := count(t, r, `SELECT count(*) FROM sessions`)
			got := b.PostForm("/login/passkey", form)
			if got.Status != http.StatusBadRequest || cookie(b, "doorward") != "" ||
				count(t, r, `SELECT count(*) FROM sessions`) != sessions {
				t.Errorf("%s: answered %d %v", name, got.Status, got.Location)
			}
		}
		for name, change := range all {
			b := r.Browser()
			refuse(name, b, answeredPasskey(b, a, change))
		}
		b := r.Browser()
		refuse("a copy of the authenticator", b, answeredPasskey(b, clone))
		if after := passkeys(t, r, u.ID); after[0].Counter != before[0].Counter || after[0].UsedAt != before[0].UsedAt {
			t.Errorf("wrong answers have changed the passkey from %+v to %+v", before[0], after[0])
		}
		// The passkey of another server, or of this one under another domain.
		r.SQL(`UPDATE passkeys SET domain = 'example.com' WHERE id = $1`, own.ID)
		b = r.Browser()
		refuse("created for another domain", b, answeredPasskey(b, a))
		r.SQL(`UPDATE passkeys SET domain = 'localhost' WHERE id = $1`, own.ID)
		// That of a disabled user, and after they were enabled again.
		ok(t, r.Identity.DisableUser(r.System(), u.ID))
		b = r.Browser()
		refuse("a disabled user", b, answeredPasskey(b, a))
		ok(t, r.Identity.EnableUser(r.System(), u.ID))
		byPasskey(r.Browser(), a)
		// That of a deleted user.
		ok(t, r.Identity.DeleteUser(r.System(), u.ID))
		b = r.Browser()
		refuse("a deleted user", b, answeredPasskey(b, a))
	})
}

// Neither what is no answer at all nor what is too large signs in or fails (G-16).
func TestG16_WhatIsNoAnswerOfAPasskey(t *testing.T) {
	rig.Each(t, withPasskeys(), func(t *testing.T, r *rig.Rig) {
		_, _, a := person(r, "owner@example.com")
		b := r.Browser()
		form := answeredPasskey(b, a)
		good := form.Get("credential")
		for name, text := range malformed(t, good) {
			got := b.PostForm("/login/passkey", with(form, "credential", text))
			if got.Status != http.StatusBadRequest && got.Status != http.StatusRequestEntityTooLarge ||
				cookie(b, "doorward") != "" {
				t.Errorf("%s: answered %d %v", name, got.Status, got.Location)
			}
			if len(text) > 1<<20 && got.Status != http.StatusRequestEntityTooLarge {
				t.Errorf("%s: answered %d", name, got.Status)
			}
		}
		redirects(t, b.PostForm("/login/passkey", form), "/settings/profile") // the true one still works

		creator := r.Browser().SignIn(r.Alice.Email)
		form = newPasskey(creator, authenticator.New())
		for name, text := range malformed(t, form.Get("credential")) {
			got := creator.PostForm(newPasskeyPath, with(form, "credential", text))
			if got.Status != http.StatusBadRequest && got.Status != http.StatusRequestEntityTooLarge {
				t.Errorf("a new passkey, %s: answered %d", name, got.Status)
			}
		}
		if n := len(passkeys(t, r, r.Alice.ID)); n != 0 {
			t.Errorf("%d passkeys are stored", n)
		}
		redirects(t, creator.PostForm(newPasskeyPath, form), "/settings/security")
	})
}

// malformed are texts that are no answer of an authenticator, made from one.
func malformed(t *testing.T, good string) map[string]string {
	t.Helper()
	list := map[string]string{
		"no JSON": "x", "cut": good[:len(good)-1], "more after it": good + "{}", "null": "null", "a list": "[" + good + "]",
		"an object": "{}", "a number": "1", "a number as id": `{"id":1}`, "NUL": "\x00", "not UTF-8": "\xff\xfe",
		"deep": strings.Repeat(`{"response":`, 5000) + "1" + strings.Repeat("}", 5000),
		"1 MB": strings.Repeat("A", 1<<20) + "A",
	}
	for _, name := range []string{"id", "rawId", "type", "response"} {
		list["without "+name] = altering(t, good, func(m map[string]any) { delete(m, name) })
	}
	list["another type"] = altering(t, good, func(m map[string]any) { m["type"] = "password" })
	list["another rawId"] = altering(t, good, func(m map[string]any) { m["rawId"] = "AAAA" })
	list["text as response"] = altering(t, good, func(m map[string]any) { m["response"] = "x" })
	for _, name := range []string{"clientDataJSON", "authenticatorData", "signature", "attestationObject"} {
		for kind, value := range map[string]any{
			"nothing": "", "null": nil, "3 bytes": "AAAA", "1 kB": strings.Repeat("A", 1024), "no base64url": "!!",
			"a number": 1,
		} {
			list[name+" with "+kind] = altering(t, good, func(m map[string]any) {
				response, _ := m["response"].(map[string]any)
				if _, has := response[name]; has && (name != "authenticatorData" || response["attestationObject"] == nil) {
					response[name] = value
				} else {
					m["type"] = "x" // it lacks the member
				}
			})
		}
	}
	return list
}

// altering changes the members of a JSON object.
func altering(t *testing.T, text string, change func(map[string]any)) string {
	t.Helper()
	var m map[string]any
	ok(t, json.Unmarshal([]byte(text), &m))
	change(m)
	out, err := json.Marshal(m)
	ok(t, err)
	return string(out)
}

// A new passkey whose answer is wrong in any point is refused with 400 and not stored (G-16).
func TestG16_NoWrongAnswerCreatesAPasskey(t *testing.T) {
	rig.Each(t, withPasskeys(), func(t *testing.T, r *rig.Rig) {
		_, _, foreign := person(r, "other@example.com")
		taken := passkeys(t, r, r.User("other@example.com", "", false).ID)[0]
		b := r.Browser().SignIn(r.Alice.Email)
		refuse := func(name string, form url.Values) {
			t.Helper()
			if got := b.PostForm(newPasskeyPath, form); got.Status != http.StatusBadRequest {
				t.Errorf("%s: answered %d %v", name, got.Status, got.Location)
			}
			if n := len(passkeys(t, r, r.Alice.ID)); n != 0 {
				t.Fatalf("%s: a passkey is stored", name)
			}
		}
		all := lies(r)
		all["the type of a sign-in"] = authenticator.Type("webauthn.get")
		all["another user's credential"] = authenticator.CredentialID(taken.CredentialID)
		all["an empty credential"] = authenticator.CredentialID([]byte{})
		all["a credential of 1,024 bytes"] = authenticator.CredentialID(bytes.Repeat([]byte{9}, 1024))
		for name, change := range all {
			refuse(name, newPasskey(b, authenticator.New(), change))
		}
		for name, change := range brokenKeys() {
			form := newPasskey(b, authenticator.New())
			form.Set("credential", withPublicKey(t, form.Get("credential"), change))
			refuse(name, form)
		}
		for name, change := range costlyKeys() {
			form := newPasskey(b, authenticator.New(), authenticator.Algorithm(-257))
			form.Set("credential", withPublicKey(t, form.Get("credential"), change))
			refuse(name, form)
		}
		for _, format := range []string{"packed", "fido-u2f", "tpm", "android-key", "android-safetynet", "apple", "other"} {
			form := newPasskey(b, authenticator.New())
			form.Set("credential", withAttestation(t, form.Get("credential"), func(object map[string]any) {
				object["fmt"] = format
				object["attStmt"] = map[string]any{"alg": -7, "sig": []byte{1}, "x5c": [][]byte{{0x30, 0}}}
			}))
			refuse("an attestation that was not asked for: "+format, form)
		}
		byPasskey(r.Browser(), foreign) // that of the other user is as before
		for _, e := range r.Emails() {
			if e.Recipient == r.Alice.Email {
				t.Errorf("an email tells of a passkey that was not created: %s", e.Kind)
			}
		}
		// What is offered works: of each algorithm, a passkey is created and signs in.
		for _, algorithm := range []int{-7, -8, -257} {
			u, a := r.User("user"+strings.Repeat("x", -algorithm%7)+"@example.com", "User", false), authenticator.New()
			addPasskey(r.Browser().SignIn(u.Email), a, authenticator.Algorithm(algorithm))
			byPasskey(r.Browser(), a)
		}
	})
}

// brokenKeys change the public key of a new passkey, as CBOR: ES256 with the members kty, alg, crv, x and y.
func brokenKeys() map[string]func(key map[any]any) {
	set := func(member int64, value any) func(map[any]any) {
		return func(key map[any]any) {
			for k := range key {
				if asInt(k) == member {
					delete(key, k)
				}
			}
			if value != nil {
				key[member] = value
			}
		}
	}
	return map[string]func(map[any]any){
		"an algorithm that was not offered: ES384": set(3, -35),
		"an algorithm that was not offered: PS256": set(3, -37),
		"an algorithm that was not offered: RS1":   set(3, -65535),
		"an algorithm of another kind of key":      set(3, -257),
		"no algorithm":                             set(3, nil),
		"no kind":                                  set(1, nil),
		"an unknown kind":                          set(1, 99),
		"a symmetric key":                          set(1, 4),
		"another curve":                            set(-1, 3),
		"an unknown curve":                         set(-1, 99),
		"no curve":                                 set(-1, nil),
		"no x":                                     set(-2, nil),
		"no y":                                     set(-3, nil),
		"an empty x":                               set(-2, []byte{}),
		"a long x":                                 set(-2, bytes.Repeat([]byte{1}, 64)),
		"a point that is not on the curve":         set(-2, bytes.Repeat([]byte{1}, 32)),
		"a text as x":                              set(-2, "x"),
		"the point at infinity": func(key map[any]any) {
			set(-2, make([]byte, 32))(key)
			set(-3, make([]byte, 32))(key)
		},
	}
}

func asInt(k any) int64 {
	switch k := k.(type) {
	case int64:
		return k
	case uint64:
		return int64(k)
	}
	return 0
}

// costlyKeys change the public key of a new passkey, RS256, to one that costs much to verify with, or proves little.
func costlyKeys() map[string]func(key map[any]any) {
	set := func(modulus int, exponent []byte) func(map[any]any) {
		return func(key map[any]any) {
			for k := range key {
				if member := asInt(k); member == -1 || member == -2 {
					delete(key, k)
				}
			}
			n := bytes.Repeat([]byte{0xff}, modulus)
			key[int64(-1)], key[int64(-2)] = n, exponent
		}
	}
	usual := []byte{1, 0, 1}
	return map[string]func(map[any]any){
		"RSA with 1,024 bits":                     set(1024/8, usual),
		"RSA with 2,040 bits":                     set(2040/8, usual),
		"RSA with 4,104 bits":                     set(4104/8, usual),
		"RSA with 8,192 bits":                     set(8192/8, usual),
		"RSA with 352,000 bits":                   set(44000, usual),
		"RSA with the exponent 1":                 set(2048/8, []byte{1}),
		"RSA with the exponent 3":                 set(2048/8, []byte{3}),
		"RSA with an exponent of 31 bits":         set(2048/8, []byte{0x7f, 0xff, 0xff, 0xff}),
		"RSA with an exponent of 2,048 bits":      set(2048/8, bytes.Repeat([]byte{0xff}, 256)),
		"RSA with the usual exponent and 8 bytes": set(2048/8, []byte{1, 0, 0, 0, 0, 1, 0, 1}),
		"RSA with no exponent":                    set(2048/8, []byte{}),
		"RSA with no modulus":                     set(0, usual),
	}
}

// withPublicKey changes the public key of a registration, where also what browsers read from it is left out.
func withPublicKey(t *testing.T, answer string, change func(map[any]any)) string {
	t.Helper()
	return withAttestation(t, answer, func(object map[string]any) {
		data, _ := object["authData"].([]byte)
		// The RP ID's hash, the flags, the counter, the AAGUID, the length of the credential ID, and the ID itself.
		head := data[:37+16+2+32]
		var key map[any]any
		ok(t, webauthncbor.Unmarshal(data[len(head):], &key))
		change(key)
		encoded, err := webauthncbor.Marshal(key)
		ok(t, err)
		object["authData"] = append(bytes.Clone(head), encoded...)
	})
}

// withAttestation changes the attestation object of a registration, where also what browsers read from it is left out.
func withAttestation(t *testing.T, answer string, change func(map[string]any)) string {
	t.Helper()
	return altering(t, answer, func(m map[string]any) {
		response, _ := m["response"].(map[string]any)
		text, _ := response["attestationObject"].(string)
		attestation, err := base64.RawURLEncoding.DecodeString(text)
		ok(t, err)
		var object map[string]any
		ok(t, webauthncbor.Unmarshal(attestation, &object))
		change(object)
		attestation, err = webauthncbor.Marshal(object)
		ok(t, err)
		response["attestationObject"] = base64.RawURLEncoding.EncodeToString(attestation)
		for _, shown := range []string{"authenticatorData", "publicKey", "publicKeyAlgorithm"} {
			delete(response, shown)
		}
	})
}
