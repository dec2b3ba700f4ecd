package identity

import (
	"errors"
	"testing"
	"time"

	"doorward/oauth/limit"
	"doorward/oauth/seal"
	"doorward/storage"
	"doorward/test/stores"
)

// An invitation is an administrator's approval, bypasses the domains of visitors, and survives a visitor who asks for a
// sign-up with the address.
func TestG34_InvitationIsTheAdministratorsDecision(t *testing.T) {
	stores.OnEachEngine(t, func(t *testing.T, store *storage.Store) {
		secrets, err := seal.New([][]byte{[]byte("a master secret for tests, of 32 bytes or more")})
		if err != nil {
			t.Fatal(err)
		}
		s := New(Config{
			Store: store, Throttle: limit.NewSignIns(time.Now), Issuer: "https://login.rhubarb.example", Secrets: secrets,
			Cost: Cost{Memory: 64, Passes: 1}, Emails: Emails{
				Enabled: true, Hourly: 1000, Approval: true,
				Allows: func(email string) bool { return email != "carol@denied.example" },
			},
		})
		ctx := storage.System(t.Context())
		var invalid *Invalid
		if err := s.AskSignUp(ctx, "carol@denied.example", Asker{Address: home, Network: "x"}); !errors.As(err, &invalid) {
			t.Errorf("a visitor with a denied domain: %v", err)
		}
		if _, err := s.Invite(ctx, "carol@denied.example"); err != nil {
			t.Errorf("an administrator invites that address: %v", err)
		}
		proof, err := s.Invite(ctx, "dan@example.com")
		if err != nil {
			t.Fatal(err)
		}
		if err := s.AskSignUp(ctx, "dan@example.com", Asker{Address: home, Network: "x", Browser: "y"}); err != nil {
			t.Fatal(err)
		}
		found, err := store.EmailProofByDigest(ctx, storage.ProofSignUp, proof.Digest)
		if err != nil {
			t.Fatalf("a visitor ended the invitation: %v", err)
		}
		mustBe(t, s.Prove(ctx, found, "", "browser"), nil)
		user, err := s.SignUp(ctx, found, NewUser{Name: "Dan", Password: goodPassword})
		if err != nil || !user.WaitingSince.IsZero() || !user.DisabledAt.IsZero() || user.EmailProvenAt.IsZero() {
			t.Errorf("the invited user: %+v, error %v", user, err)
		}
		// The visitor's own proof comes too late.
		asked, err := store.EmailProofOfBrowser(ctx, storage.ProofSignUp, storage.Digest("y"))
		if err != nil {
			t.Fatal(err)
		}
		mustBe(t, s.Prove(ctx, asked, "", "browser"), nil)
		if _, err := s.SignUp(ctx, asked, NewUser{Name: "Dan", Password: goodPassword}); !errors.Is(err, storage.ErrExists) {
			t.Errorf("a second account for the address: %v", err)
		}
		// A visitor waits for approval.
		if err := s.AskSignUp(ctx, "eve@example.com", Asker{Address: home, Network: "x", Browser: "z"}); err != nil {
			t.Fatal(err)
		}
		asked, err = store.EmailProofOfBrowser(ctx, storage.ProofSignUp, storage.Digest("z"))
		if err != nil {
			t.Fatal(err)
		}
		mustBe(t, s.Prove(ctx, asked, "", "browser"), nil)
		if user, err = s.SignUp(ctx, asked, NewUser{Name: "Eve", Password: goodPassword}); err != nil ||
			user.WaitingSince.IsZero() {
			t.Errorf("the visitor: %+v, error %v", user, err)
		}
	})
}

// Without email, what needs it is refused, and the only way to sign in stays.
func TestWithoutEmailAdministratorsSendNothing(t *testing.T) {
	stores.OnEachEngine(t, func(t *testing.T, store *storage.Store) {
		r := newRig(store, false)
		u := r.user(t, "ann@example.com")
		_, err := r.Invite(t.Context(), "bob@example.com")
		mustBe(t, err, ErrNoEmail)
		mustBe(t, r.SendReset(t.Context(), u.ID), ErrNoEmail)
		mustBe(t, r.RemoveMethod(t.Context(), u.ID, MethodPassword), ErrOnlyWay)
		mustBe(t, r.RemoveMethod(t.Context(), u.ID, "passkey"), storage.ErrNotFound)
		mustBe(t, r.ApproveUser(t.Context(), u.ID), ErrNotWaiting)
		mustBe(t, r.RefuseUser(t.Context(), u.ID), ErrNotWaiting)
		mustBe(t, r.ApproveUser(t.Context(), storage.NewID("user")), storage.ErrNotFound)
		mustBe(t, r.login(t.Context(), u.Email, goodPassword, home, false), nil)
	})
}
