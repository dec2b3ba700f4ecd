package authenticator_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/protocol/webauthncose"
	"github.com/go-webauthn/webauthn/webauthn"

	"doorward/test/authenticator"
)

const origin = "https://id.example.com:8443"

// account is a user of the server.
type account struct {
	handle      []byte
	credentials []webauthn.Credential
}

func (a account) WebAuthnID() []byte                         { return a.handle }
func (a account) WebAuthnName() string                       { return "ada" }
func (a account) WebAuthnDisplayName() string                { return "Ada <ada@example.com>" }
func (a account) WebAuthnCredentials() []webauthn.Credential { return a.credentials }

// server is the library, with one account.
type server struct {
	t *testing.T
	*webauthn.WebAuthn
	account account
}

func newServer(t *testing.T) *server {
	t.Helper()
	w, err := webauthn.New(&webauthn.Config{
		RPID: "example.com", RPDisplayName: "Example", RPOrigins: []string{origin},
		AuthenticatorSelection: protocol.AuthenticatorSelection{
			ResidentKey: protocol.ResidentKeyRequirementRequired, RequireResidentKey: protocol.ResidentKeyRequired(),
			UserVerification: protocol.VerificationRequired,
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return &server{t, w, account{handle: bytes.Repeat([]byte{7}, 64)}}
}

// creation returns options for a key of the algorithm, and what the server keeps of them.
func (s *server) creation(algorithm webauthncose.COSEAlgorithmIdentifier) ([]byte, webauthn.SessionData) {
	s.t.Helper()
	options, session, err := s.BeginRegistration(
		s.account,
		webauthn.WithCredentialParameters([]protocol.CredentialParameter{
			{Type: protocol.PublicKeyCredentialType, Algorithm: algorithm},
		}),
		webauthn.WithExclusions(webauthn.Credentials(s.account.credentials).CredentialDescriptors()),
		webauthn.WithExtensions(webauthn.WithExtensionCredProps()),
	)
	if err != nil {
		s.t.Fatal(err)
	}
	return encode(s.t, options.Response), *session
}

// register registers a passkey.
func (s *server) register(
	a *authenticator.Authenticator, algorithm webauthncose.COSEAlgorithmIdentifier, changes ...authenticator.Change,
) error {
	s.t.Helper()
	options, session := s.creation(algorithm)
	answer, err := a.Create(origin, options, changes...)
	if err != nil {
		s.t.Fatal(err)
	}
	parsed, err := protocol.ParseCredentialCreationResponseBytes(answer)
	if err != nil {
		return err
	}
	credential, err := s.CreateCredential(s.account, session, parsed)
	if err != nil {
		return err
	}
	s.account.credentials = append(s.account.credentials, *credential)
	return nil
}

// login signs in with a passkey of any user, and keeps the counter.
func (s *server) login(a *authenticator.Authenticator, changes ...authenticator.Change) (*webauthn.Credential, error) {
	s.t.Helper()
	options, session, err := s.BeginDiscoverableLogin()
	if err != nil {
		s.t.Fatal(err)
	}
	answer, err := a.Get(origin, encode(s.t, options), changes...) // here with publicKey around them
	if err != nil {
		s.t.Fatal(err)
	}
	parsed, err := protocol.ParseCredentialRequestResponseBytes(answer)
	if err != nil {
		return nil, err
	}
	_, credential, err := s.ValidatePasskeyLogin(func(_, _ []byte) (webauthn.User, error) {
		return s.account, nil
	}, *session, parsed)
	if err != nil {
		return nil, err
	}
	for i, c := range s.account.credentials {
		if bytes.Equal(c.ID, credential.ID) {
			s.account.credentials[i] = *credential
		}
	}
	return credential, nil
}

func encode(t *testing.T, value any) []byte {
	t.Helper()
	text, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// wantRefusal checks that the library refuses, for the right reason.
func wantRefusal(t *testing.T, err error, reason string) {
	t.Helper()
	var refusal *protocol.Error
	if !errors.As(err, &refusal) {
		t.Fatalf("the error is a %T, %v; want a *protocol.Error about %q", err, err, reason)
	}
	if text := fmt.Sprint(refusal.Type, " ", refusal.Details, " ", refusal.DevInfo); !strings.Contains(text, reason) {
		t.Fatalf("refused because of %q, want %q", text, reason)
	}
}

// wantName checks that the browser or the authenticator refuses.
func wantName(t *testing.T, err error, name string) {
	t.Helper()
	var refusal *authenticator.Error
	if !errors.As(err, &refusal) || refusal.Name != name {
		t.Fatalf("the error is %v, want %s", err, name)
	}
}

func TestRegistersAndSignsInWithEachAlgorithm(t *testing.T) {
	t.Parallel()
	for _, algorithm := range []webauthncose.COSEAlgorithmIdentifier{
		webauthncose.AlgES256, webauthncose.AlgRS256, webauthncose.AlgEdDSA,
	} {
		t.Run(algorithm.String(), func(t *testing.T) {
			t.Parallel()
			s, a := newServer(t), authenticator.New()
			a.AAGUID = [16]byte{1, 2, 3}
			a.BackedUp = true
			if err := s.register(a, algorithm); err != nil {
				t.Fatal(err)
			}
			got := s.account.credentials[0]
			if !bytes.Equal(got.Authenticator.AAGUID, a.AAGUID[:]) || !got.Flags.BackupState || !got.Flags.UserVerified ||
				!*got.Extensions.RK || got.Attestation.PublicKeyAlgorithm != int64(algorithm) || len(got.Transport) != 2 {
				t.Errorf("registered %+v", got)
			}
			for range 2 {
				credential, err := s.login(a)
				if err != nil {
					t.Fatal(err)
				}
				if credential.Authenticator.CloneWarning || credential.Authenticator.SignCount != 0 {
					t.Errorf("signed in with %+v", credential.Authenticator)
				}
			}
			if n := a.Credentials(); n != 1 {
				t.Errorf("%d credentials, want 1", n)
			}
		})
	}
}

func TestServerRefusesChangedRegistrations(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		change authenticator.Change
		reason string
	}{
		{"origin", authenticator.Origin("https://evil.example.com:8443"), "validating origin"},
		{"RP ID", authenticator.RPID("id.example.com"), "RP Hash mismatch"},
		{"type", authenticator.Type("webauthn.get"), "ceremony type"},
		{"challenge", authenticator.Challenge(make([]byte, 32)), "validating challenge"},
		{"user verification", authenticator.WithoutUserVerification(), "User verification required"},
		{"user presence", authenticator.WithoutUserPresence(), "User presence required"},
		{"algorithm", authenticator.Algorithm(-8), "algorithm not supported"},
		{"backup state", authenticator.BackupState(false, true), "Backup State Flag is true"},
		{"cross-origin", authenticator.CrossOrigin(), "cross origin flag"},
		{"credential ID", authenticator.CredentialID(make([]byte, 1024)), "Error parsing attestation response"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			wantRefusal(t, newServer(t).register(authenticator.New(), webauthncose.AlgES256, test.change), test.reason)
		})
	}
}

func TestServerRefusesChangedLogins(t *testing.T) {
	t.Parallel()
	s, a := newServer(t), authenticator.New()
	if err := s.register(a, webauthncose.AlgES256); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name   string
		change authenticator.Change
		reason string
	}{
		{"origin", authenticator.Origin("https://evil.example.com:8443"), "validating origin"},
		{"RP ID", authenticator.RPID("id.example.com"), "RP Hash mismatch"},
		{"type", authenticator.Type("webauthn.create"), "ceremony type"},
		{"challenge", authenticator.Challenge(make([]byte, 32)), "validating challenge"},
		{"user verification", authenticator.WithoutUserVerification(), "User verification required"},
		{"user presence", authenticator.WithoutUserPresence(), "User presence required"},
		{"user handle", authenticator.UserHandle([]byte("bob")), "User handle and User ID do not match"},
		{"no user handle", authenticator.UserHandle(nil), "blank User Handle"},
		{"credential ID", authenticator.CredentialID([]byte("unknown")), "Unable to find the credential"},
		{"backup state", authenticator.BackupState(true, false), "Backup Eligible flag inconsistency"},
		{"impossible backup state", authenticator.BackupState(false, true), "Backup State Flag is true"},
		{"cross-origin", authenticator.CrossOrigin(), "cross origin flag"},
		{"key", authenticator.OtherKey(), "invalid_signature"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := s.login(a, test.change)
			wantRefusal(t, err, test.reason)
		})
	}
	if _, err := s.login(a); err != nil {
		t.Errorf("after the changes: %v", err)
	}
}

func TestKeyThatWasNotRegistered(t *testing.T) {
	t.Parallel()
	s, a := newServer(t), authenticator.New()
	if err := s.register(a, webauthncose.AlgEdDSA, authenticator.OtherKey()); err != nil {
		t.Fatal(err)
	}
	_, err := s.login(a)
	wantRefusal(t, err, "invalid_signature")
}

func TestCounters(t *testing.T) {
	t.Parallel()
	s, a := newServer(t), authenticator.New()
	a.Counter = 5
	if err := s.register(a, webauthncose.AlgES256); err != nil {
		t.Fatal(err)
	}
	counted := func(a *authenticator.Authenticator, want uint32, wantWarning bool, changes ...authenticator.Change) {
		t.Helper()
		credential, err := s.login(a, changes...)
		if err != nil {
			t.Fatal(err)
		}
		got := credential.Authenticator
		if got.SignCount != want || got.CloneWarning != wantWarning {
			t.Errorf("the counter is %d, warning %t; want %d, %t", got.SignCount, got.CloneWarning, want, wantWarning)
		}
	}
	if n := s.account.credentials[0].Authenticator.SignCount; n != 5 {
		t.Errorf("registered with the counter at %d, want 5", n)
	}
	clone := a.Copy()
	counted(a, 6, false)
	counted(a, 7, false)
	counted(a, 9, false, authenticator.CounterAt(9))
	counted(a, 9, true)     // it says 9 itself
	counted(clone, 9, true) // it says 6
	if clone.Credentials() != 1 {
		t.Error("the copy has no credential")
	}
}

func TestChosenCredentialAndUserHandle(t *testing.T) {
	t.Parallel()
	s, a := newServer(t), authenticator.New()
	err := s.register(
		a, webauthncose.AlgES256,
		authenticator.CredentialID([]byte("taken")), authenticator.UserHandle([]byte("bob")), authenticator.CounterAt(3),
	)
	if err != nil {
		t.Fatal(err)
	}
	if c := s.account.credentials[0]; string(c.ID) != "taken" || c.Authenticator.SignCount != 3 {
		t.Errorf("registered %s with the counter at %d", c.ID, c.Authenticator.SignCount)
	}
	_, err = s.login(a)
	wantRefusal(t, err, "User handle and User ID do not match")
}

func TestAllowedAndExcludedCredentials(t *testing.T) {
	t.Parallel()
	s, a := newServer(t), authenticator.New()
	if err := s.register(a, webauthncose.AlgES256); err != nil {
		t.Fatal(err)
	}
	options, _ := s.creation(webauthncose.AlgES256)
	_, err := a.Create(origin, options)
	wantName(t, err, "InvalidStateError")
	if _, err := authenticator.New().Create(origin, options); err != nil {
		t.Error("another authenticator:", err)
	}

	first := s.account
	s.account = account{handle: []byte("bob")}
	if err := s.register(a, webauthncose.AlgES256); err != nil {
		t.Fatal(err)
	}
	if n := a.Credentials(); n != 2 {
		t.Errorf("%d credentials of two accounts", n)
	}
	if _, err := s.login(a); err != nil {
		t.Error("the newest credential:", err)
	}
	login, session, err := s.BeginLogin(first)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := a.Get(origin, encode(t, login))
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := protocol.ParseCredentialRequestResponseBytes(answer)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.ValidateLogin(first, *session, parsed); err != nil {
		t.Error("the allowed credential:", err)
	}
	_, err = authenticator.New().Get(origin, encode(t, login))
	wantName(t, err, "NotAllowedError")

	s.account.credentials = nil // so that none is excluded
	if err := s.register(a, webauthncose.AlgES256); err != nil {
		t.Fatal(err)
	}
	if n := a.Credentials(); n != 2 {
		t.Errorf("%d credentials, want that the new one replaces that of the same account", n)
	}
}

func TestWithoutUserVerification(t *testing.T) {
	t.Parallel()
	s, a := newServer(t), authenticator.New()
	a.NoUserVerification = true
	options, _ := s.creation(webauthncose.AlgES256)
	_, err := a.Create(origin, options)
	wantName(t, err, "NotAllowedError")
	_, err = a.Get(origin, []byte(`{"challenge":"AAAA","rpId":"example.com","userVerification":"required"}`))
	wantName(t, err, "NotAllowedError")

	s.Config.AuthenticatorSelection.UserVerification = protocol.VerificationPreferred
	if err := s.register(a, webauthncose.AlgES256); err != nil {
		t.Fatal(err)
	}
	if s.account.credentials[0].Flags.UserVerified {
		t.Error("the user was verified")
	}
}

func TestBrowserRefuses(t *testing.T) {
	t.Parallel()
	const creation = `{"rp":{"id":"example.com","name":"Example"},"user":{"id":"AAAA","name":"ada","displayName":""},` +
		`"challenge":"AAAA","pubKeyCredParams":[{"type":"public-key","alg":-7}]}`
	if _, err := authenticator.New().Create(origin, []byte(creation)); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ name, origin, old, replacement, want string }{
		{"RP ID of another domain", origin, `"example.com"`, `"example.org"`, "SecurityError"},
		{"RP ID with the same end", "https://badexample.com", "", "", "SecurityError"},
		{"RP ID below the origin", "https://example.com", `"example.com"`, `"id.example.com"`, "SecurityError"},
		{"IP address", "https://127.0.0.1:8443", "", "", "SecurityError"},
		{"no TLS", "http://example.com", "", "", "SecurityError"},
		{"path", origin + "/", "", "", "SecurityError"},
		{"no origin", "example.com", "", "", "SecurityError"},
		{"padding", origin, `"challenge":"AAAA"`, `"challenge":"AAA="`, "EncodingError"},
		{"base64 that is not base64url", origin, `"challenge":"AAAA"`, `"challenge":"++//"`, "EncodingError"},
		{"no challenge", origin, `"challenge"`, `"x"`, "TypeError"},
		{"no algorithms", origin, `"pubKeyCredParams"`, `"x"`, "TypeError"},
		{"no display name", origin, `"displayName"`, `"x"`, "TypeError"},
		{"empty user handle", origin, `"id":"AAAA"`, `"id":""`, "TypeError"},
		{"long user handle", origin, `"id":"AAAA"`, `"id":"` + strings.Repeat("AAAA", 22) + `"`, "TypeError"},
		{"unknown algorithm", origin, `-7`, `-35`, "NotSupportedError"},
		{"not JSON", origin, creation, `x`, "TypeError"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			options := strings.Replace(creation, test.old, test.replacement, 1)
			_, err := authenticator.New().Create(test.origin, []byte(options))
			wantName(t, err, test.want)
		})
	}

	_, err := authenticator.New().Get(origin, []byte(`{"rpId":"example.com"}`))
	wantName(t, err, "TypeError")
	_, err = authenticator.New().Get(origin, []byte(`{"rpId":"example.org","challenge":"AAAA"}`))
	wantName(t, err, "SecurityError")
	_, err = authenticator.New().Get(origin, []byte(`{"rpId":"example.com","challenge":"AAAA"}`))
	wantName(t, err, "NotAllowedError")
}

func TestLocalhostAndDefaults(t *testing.T) {
	t.Parallel()
	a := authenticator.New()
	_, err := a.Create("http://localhost:4444", []byte(
		`{"rp":{"name":"Example"},"user":{"id":"AAAA","name":"ada","displayName":"Ada"},"challenge":"AAAA",`+
			`"pubKeyCredParams":[],"authenticatorSelection":{"authenticatorAttachment":"cross-platform"}}`,
	))
	if err != nil {
		t.Fatal(err)
	}
	answer, err := a.Get("http://localhost:4444", []byte(`{"challenge":"AAAA"}`))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(answer, []byte(`"authenticatorAttachment":"cross-platform"`)) {
		t.Errorf("the answer is %s", answer)
	}
}

func TestUsesAtTheSameTime(t *testing.T) {
	t.Parallel()
	s, a := newServer(t), authenticator.New()
	a.Counter = 1
	if err := s.register(a, webauthncose.AlgES256); err != nil {
		t.Fatal(err)
	}
	const n = 20
	counters := make([]uint32, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			answer, err := a.Get(origin, []byte(`{"rpId":"example.com","challenge":"AAAA"}`))
			if err != nil {
				t.Error(err)
				return
			}
			parsed, err := protocol.ParseCredentialRequestResponseBytes(answer)
			if err != nil {
				t.Error(err)
				return
			}
			counters[i] = parsed.Response.AuthenticatorData.Counter
			if a.Copy().Credentials() != 1 {
				t.Error("the copy has no credential")
			}
		})
	}
	all.Wait()
	seen := map[uint32]bool{}
	for _, counter := range counters {
		if counter < 2 || counter > n+1 || seen[counter] {
			t.Errorf("the counters are %d", counters)
			break
		}
		seen[counter] = true
	}
}
