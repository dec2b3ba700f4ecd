package identity

import (
	"testing"
	"time"

	"doorward/oauth/limit"
	"doorward/oauth/seal"
	"doorward/storage"
	"doorward/test/authenticator"
	"doorward/test/stores"
)

// withPasskeys is a service on a store, whose passkeys are for a domain.
func withPasskeys(t *testing.T, s *storage.Store, domain string) *Service {
	t.Helper()
	secrets, err := seal.New([][]byte{[]byte("a master secret of thirty-two bytes or more")})
	if err != nil {
		t.Fatal(err)
	}
	return New(Config{
		Store: s, Throttle: limit.NewSignIns(time.Now), Issuer: "https://" + domain, Secrets: secrets,
		Passkeys: Passkeys{Domain: domain, Origin: "https://" + domain, Name: "Test"},
	})
}

// After passkey_domain was changed, users have only the passkeys of the new one, and after it was changed back, those
// of the old one again. So no one is asked for a passkey that no browser offers.
func TestPasskeysAreThoseOfTheDomain(t *testing.T) {
	s := stores.Open(t, "sqlite::memory:")
	ctx := storage.System(t.Context())
	user := storage.User{ID: storage.NewID("user"), Email: "ada@example.com"}
	if err := s.InsertUser(ctx, &user); err != nil {
		t.Fatal(err)
	}
	create := func(domain string) {
		t.Helper()
		people := withPasskeys(t, s, domain)
		request, err := people.AskNewPasskey(ctx, &user, "test")
		if err != nil {
			t.Fatal(err)
		}
		answer, err := authenticator.New().Create("https://"+domain, request.Options)
		if err != nil {
			t.Fatal(err)
		}
		passkey, err := people.CheckNewPasskey("test", request.Sealed, answer, "")
		if err != nil {
			t.Fatal(err)
		}
		proof := people.AddPasskey(user, &passkey)
		if err := s.InTx(ctx, proof.Take); err != nil {
			t.Fatal(err)
		}
	}
	for _, step := range []struct {
		domain  string
		create  int
		changed bool
		want    int
	}{
		{"old.example", 2, false, 2},
		{"old.example", 0, false, 2},
		{"new.example", 0, true, 0},
		{"new.example", 1, false, 1},
		{"old.example", 0, true, 2},
	} {
		people := withPasskeys(t, s, step.domain)
		changed, err := people.BindPasskeys(ctx)
		if err != nil || changed != step.changed {
			t.Errorf("%+v: changed %v, %v", step, changed, err)
		}
		for range step.create {
			create(step.domain)
		}
		if user, err = s.UserByID(ctx, user.ID); err != nil {
			t.Fatal(err)
		}
		list, err := people.Passkeys(ctx, user.ID)
		if err != nil || len(list) != step.want || int(user.Passkeys) != step.want || people.HasPasskey(&user) != (step.want > 0) {
			t.Errorf("%+v: %d passkeys, %d counted, %v", step, len(list), user.Passkeys, err)
		}
	}
}
