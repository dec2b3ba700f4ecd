package main

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"doorward/oauth/seal"
	"doorward/storage"
)

const signingConfig = "resources:\n  - {id: 'https://api.example.com', tokens: jwt}\n"

// signing sets up an operator with JWT access tokens, and creates the signing keys as serve does when it starts.
func (c *cli) signing() {
	c.t.Helper()
	if err := os.WriteFile("doorward.yaml", []byte(signingConfig), 0o600); err != nil {
		c.t.Fatal(err)
	}
	c.vars["DOORWARD_CONFIG"] = "doorward.yaml"
	c.must("", "migrate")
	c.onServer(func(s *services) {
		if err := s.keyring.Maintain(c.t.Context()); err != nil {
			c.t.Fatal(err)
		}
	})
}

// onServer runs do with a server that is wired from the operator's configuration and database.
func (c *cli) onServer(do func(s *services)) {
	c.t.Helper()
	a := &app{configFile: c.vars["DOORWARD_CONFIG"], getenv: environ(c.vars)}
	s, err := a.open(c.t.Context())
	if err != nil {
		c.t.Fatal(err)
	}
	defer s.store.Close()
	do(s)
}

func (c *cli) kids() map[string]string {
	c.t.Helper()
	kids := map[string]string{}
	for _, k := range c.array("signing-key", "list") {
		kids[text(c.t, k, "state")] = text(c.t, k, "kid")
	}
	return kids
}

func TestSigningKeysByCommand(t *testing.T) { onEachEngine(t, testSigningKeys) }

func testSigningKeys(t *testing.T, c *cli) {
	c.must("", "migrate")
	if list := c.array("signing-key", "list"); len(list) != 0 {
		t.Errorf("keys where no token is a JWT: %v", list)
	}
	c.fails(1, "set tokens: jwt", "", "signing-key", "rotate")
	c.signing()
	before := c.kids()
	if len(before) != 2 || before["next"] == "" || before["active"] == "" {
		t.Fatalf("keys %v", before)
	}
	c.fails(1, "rotate after 20", "", "signing-key", "rotate")
	if now := c.object("", "signing-key", "rotate", "--compromised"); now["kid"] != before["next"] ||
		now["state"] != "active" ||
		now["alg"] != "ES256" {
		t.Errorf("after dropping %v, %v signs", before["active"], now)
	}
	after := c.kids()
	if after["active"] != before["next"] || after["retiring"] != "" || after["next"] == before["next"] {
		t.Errorf("keys were %v, are %v", before, after)
	}
	c.onServer(func(s *services) {
		s.store.SetClock(func() time.Time { return time.Now().Add(10 * time.Minute) })
		if _, err := s.keyring.Rotate(c.t.Context(), false); err != nil {
			t.Fatal(err)
		}
	})
	if last := c.kids(); last["retiring"] != after["active"] || last["active"] != after["next"] {
		t.Errorf("keys were %v, are %v", after, last)
	}
	if out := c.must("", "signing-key", "list"); !strings.Contains(out, after["active"]) ||
		strings.Contains(out, "sealed") {
		t.Errorf("the list is\n%s", out)
	}
}

// After resealing, data that was sealed with the old secret can be opened with the new one alone.
func TestSecretReseal(t *testing.T) { onEachEngine(t, testSecretReseal) }

func testSecretReseal(t *testing.T, c *cli) {
	old, fresh := oldSecret, newSecret
	c.vars["DOORWARD_SECRET"] = old
	set := func(secrets ...string) {
		delete(c.vars, "DOORWARD_SECRET")
		config := signingConfig + "secret:\n"
		for _, s := range secrets {
			config += "  - '" + s + "'\n"
		}
		if err := os.WriteFile("doorward.yaml", []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c.signing()
	digest := storage.Digest("answer")
	c.onServer(func(s *services) {
		err := s.store.KeepAnswer(
			storage.System(t.Context()),
			storage.IdempotentAnswer{
				Digest:  digest,
				Request: digest,
				Answer:  s.secrets.Seal(seal.AnswerPurpose(digest), []byte("kept")),
			},
		)
		if err != nil {
			t.Fatal(err)
		}
	})
	email := ""
	c.onServer(func(s *services) {
		e := s.secrets.NewEmail(t.Context(), "sign_in", &storage.User{}, "ann@example.com", seal.EmailSecrets{URL: "https://a.example/x"},
			nil, s.store.Now().Add(time.Hour))
		email = e.ID
		if err := s.store.InsertEmail(storage.System(t.Context()), e); err != nil {
			t.Fatal(err)
		}
	})
	user := storage.User{ID: storage.NewID("user"), Email: "totp@example.com"}
	c.onServer(func(s *services) {
		ctx := storage.System(t.Context())
		sealed := s.secrets.Seal(seal.TOTPPurpose(user.ID), []byte("shared"))
		if err := errors.Join(
			s.store.InsertUser(ctx, &user), s.store.InsertTOTP(ctx, storage.TOTP{UserID: user.ID, Sealed: sealed}),
		); err != nil {
			t.Fatal(err)
		}
	})
	if done := c.object("", "secret", "reseal"); done["signing_keys"] != 0.0 || done["answers"] != 0.0 ||
		done["emails"] != 0.0 || done["authenticators"] != 0.0 {
		t.Errorf("under its own secret: %v", done)
	}
	set(fresh, old)
	if done := c.object("", "secret", "reseal"); done["signing_keys"] != 2.0 || done["answers"] != 1.0 ||
		done["emails"] != 1.0 || done["authenticators"] != 1.0 {
		t.Errorf("under another one: %v", done)
	}
	if done := c.object("", "secret", "reseal"); done["signing_keys"] != 0.0 || done["answers"] != 0.0 {
		t.Errorf("the second time: %v", done)
	}
	set(fresh)
	c.onServer(func(s *services) {
		if err := s.keyring.Maintain(t.Context()); err != nil {
			t.Errorf("without the old secret: %v", err)
		}
		app, err := s.store.TOTPOf(storage.System(t.Context()), user.ID)
		if err != nil {
			t.Fatal(err)
		}
		if secret, err := s.secrets.Open(seal.TOTPPurpose(user.ID), app.Sealed); string(secret) != "shared" || err != nil {
			t.Errorf("the secret of an authenticator app without the old secret: %q, %v", secret, err)
		}
		kept, err := s.store.KeptAnswer(storage.System(t.Context()), digest)
		if err != nil {
			t.Fatal(err)
		}
		if body, err := s.secrets.Open(seal.AnswerPurpose(digest), kept.Answer); string(body) != "kept" || err != nil {
			t.Errorf("the answer is %q, %v", body, err)
		}
		waiting, err := s.store.ClaimEmails(storage.System(t.Context()), time.Minute, 10)
		if err != nil || len(waiting) != 1 || waiting[0].ID != email {
			t.Fatalf("waiting emails: %v, %v", waiting, err)
		}
		if x, err := s.secrets.OpenEmail(&waiting[0]); x.URL != "https://a.example/x" || err != nil {
			t.Errorf("the link of the email is %q, %v", x.URL, err)
		}
	})
}

// Without the master secret the private keys are lost; one command fixes that.
func TestSigningKeysAfterALostSecret(t *testing.T) {
	c := newCLI(t)
	c.vars["DOORWARD_SECRET"] = oldSecret
	c.signing()
	before := c.kids()
	c.onServer(func(s *services) {
		if err := s.store.DropSetting(storage.System(t.Context()), storage.SettingSecretFingerprint); err != nil {
			t.Fatal(err)
		}
	})
	c.vars["DOORWARD_SECRET"] = newSecret
	c.onServer(func(s *services) {
		if err := s.keyring.Maintain(t.Context()); err == nil ||
			!strings.Contains(err.Error(), "doorward signing-key rotate --compromised") {
			t.Errorf("with another secret: %v", err)
		}
	})
	c.fails(1, "signing key "+before["active"], "", "secret", "reseal")
	c.must("", "signing-key", "rotate", "--compromised")
	after := c.kids()
	if len(after) != 2 || after["active"] == before["next"] {
		t.Errorf("keys were %v, are %v", before, after)
	}
	c.onServer(func(s *services) {
		if err := s.keyring.Maintain(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

const (
	oldSecret = "the-old-master-secret-of-these-tests"
	newSecret = "the-new-master-secret-of-these-tests"
)
