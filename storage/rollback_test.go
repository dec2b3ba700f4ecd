package storage_test

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"doorward/storage"
)

// findNothing are writes that also look for something to change that the world does not have.
var findNothing = []string{"RemoveMember", "RotateKey", "RotateSecret"}

// writes holds a call of every method that writes, each of which changes something in a new world.
var writes = map[string]func(ctx context.Context, s *storage.Store, w *world) error{
	"InsertUser": func(ctx context.Context, s *storage.Store, _ *world) error {
		return s.InsertUser(ctx, &storage.User{ID: storage.NewID("user"), Email: "new@example.com"})
	},
	"SetPasswordHash": func(ctx context.Context, s *storage.Store, w *world) error {
		return s.SetPasswordHash(ctx, w.user.ID, "new")
	},
	"RehashPassword": func(ctx context.Context, s *storage.Store, w *world) error {
		return s.RehashPassword(ctx, w.user.ID, "hash", "new")
	},
	"ReplacePasswordHash": func(ctx context.Context, s *storage.Store, w *world) error {
		return s.ReplacePasswordHash(ctx, w.user.ID, "hash", "new")
	},
	"CountPasswordFailure": func(ctx context.Context, s *storage.Store, w *world) error {
		return s.CountPasswordFailure(ctx, w.user.ID, 100)
	},
	"RecordPasswordSignIn": func(ctx context.Context, s *storage.Store, w *world) error {
		return s.RecordPasswordSignIn(ctx, w.user.ID, "hash", 100)
	},
	"AuditSignInFailure": func(ctx context.Context, s *storage.Store, w *world) error {
		return s.AuditSignInFailure(ctx, w.user.ID)
	},
	"InsertSignInLink": func(ctx context.Context, s *storage.Store, w *world) error {
		return s.InsertSignInLink(ctx, w.user.ID, storage.Digest("link"), s.Now().Add(time.Hour))
	},
	"TakeSignInLink": func(ctx context.Context, s *storage.Store, w *world) error {
		return errors.Join(s.InsertSignInLink(ctx, w.admin.ID, storage.Digest("link"), s.Now().Add(time.Hour)),
			s.TakeSignInLink(ctx, storage.Digest("link"), w.admin.ID))
	},
	"RenameUser": func(ctx context.Context, s *storage.Store, w *world) error {
		return s.RenameUser(ctx, w.user.ID, "new")
	},
	"DisableUser": func(ctx context.Context, s *storage.Store, w *world) error { return s.DisableUser(ctx, w.user.ID) },
	"EnableUser": func(ctx context.Context, s *storage.Store, w *world) error {
		if err := s.DisableUser(ctx, w.user.ID); err != nil {
			return err
		}
		return s.EnableUser(ctx, w.user.ID)
	},
	"SignOut": func(ctx context.Context, s *storage.Store, w *world) error {
		_, err := s.SignOut(ctx, w.user.ID)
		return err
	},
	"EndGrants": func(ctx context.Context, s *storage.Store, w *world) error {
		_, err := s.EndGrants(ctx, w.user.ID, storage.RevokedByAdministrator)
		return err
	},
	"ForgetConsents": func(ctx context.Context, s *storage.Store, w *world) error {
		return s.ForgetConsents(ctx, w.user.ID)
	},
	"RevokeTokensOf": func(ctx context.Context, s *storage.Store, w *world) error {
		_, err := s.RevokeTokensOf(ctx, w.user.ID)
		return err
	},
	"UpdateUser": func(ctx context.Context, s *storage.Store, w *world) error {
		email, name, admin := "another@example.com", "Another", true
		return s.UpdateUser(ctx, w.user.ID, storage.UserUpdate{Email: &email, Name: &name, Admin: &admin})
	},
	"DeleteUser": func(ctx context.Context, s *storage.Store, w *world) error { return s.DeleteUser(ctx, w.user.ID) },

	"InsertSession": func(ctx context.Context, s *storage.Store, w *world) error {
		x := w.session
		x.ID, x.Digest = storage.NewID("session"), storage.Digest("new")
		return s.InsertSession(ctx, x)
	},
	"SetSessionData": func(ctx context.Context, s *storage.Store, w *world) error {
		return s.SetSessionData(ctx, w.session.ID, `{"a":1}`)
	},
	"RenewSession": func(ctx context.Context, s *storage.Store, w *world) error {
		x := w.session
		x.Digest, x.AMR, x.ACR = []byte("another"), storage.List{"otp"}, "second"
		return s.RenewSession(ctx, x, w.session.Digest, s.Now().Add(time.Minute))
	},
	"ReplaceSession": func(ctx context.Context, s *storage.Store, w *world) error {
		x := w.session
		x.ID, x.Digest = storage.NewID("session"), storage.Digest("new")
		return s.ReplaceSession(ctx, w.session.ID, x)
	},
	"LockPassword": func(ctx context.Context, s *storage.Store, w *world) error {
		return s.LockPassword(ctx, w.user.ID, w.user.PasswordChangedAt)
	},
	"EndSession": func(ctx context.Context, s *storage.Store, w *world) error {
		return s.EndSession(ctx, w.user.ID, w.session.ID)
	},
	"EndOtherSessions": func(ctx context.Context, s *storage.Store, w *world) error {
		_, err := s.EndOtherSessions(ctx, w.user.ID, "")
		return err
	},

	"InsertWorkspace": func(ctx context.Context, s *storage.Store, w *world) error {
		return s.InsertWorkspace(ctx, storage.Workspace{ID: storage.NewID("ws"), Slug: "new", Name: "New"}, w.user.ID)
	},
	"UpdateWorkspace": func(ctx context.Context, s *storage.Store, w *world) error {
		name, plan := "New", "pro"
		return s.UpdateWorkspace(ctx, w.shared.ID, &name, &plan)
	},
	"LockWorkspace": func(ctx context.Context, s *storage.Store, w *world) error {
		return s.LockWorkspace(ctx, w.shared.ID)
	},
	"DisableWorkspace": func(ctx context.Context, s *storage.Store, w *world) error {
		return s.DisableWorkspace(ctx, w.shared.ID)
	},
	"EnableWorkspace": func(ctx context.Context, s *storage.Store, w *world) error {
		// As with EnableClient.
		return errors.Join(s.DisableWorkspace(ctx, w.shared.ID), s.EnableWorkspace(ctx, w.shared.ID), s.SetSetting(ctx,
			"enabled", "yes"))
	},
	"DeleteWorkspace": func(ctx context.Context, s *storage.Store, w *world) error {
		return s.DeleteWorkspace(ctx, w.shared.ID)
	},
	"AddMember": func(ctx context.Context, s *storage.Store, w *world) error {
		return s.AddMember(ctx, w.shared.ID, w.otherAdmin.ID, "admin")
	},
	"ChangeRole": func(ctx context.Context, s *storage.Store, w *world) error {
		return s.ChangeRole(ctx, w.shared.ID, w.admin.ID, "viewer")
	},
	"RemoveMember": func(ctx context.Context, s *storage.Store, w *world) error {
		return s.RemoveMember(ctx, w.shared.ID, w.admin.ID)
	},
	"LockRole": func(ctx context.Context, s *storage.Store, w *world) error {
		_, err := s.LockRole(ctx, w.shared.ID, w.user.ID, w.session.ID)
		return err
	},
	"InsertInvitation": func(ctx context.Context, s *storage.Store, w *world) error {
		return s.InsertInvitation(ctx, storage.Invitation{
			ID:     storage.NewID("invitation"),
			Digest: storage.Digest("new"), WorkspaceID: w.shared.ID, Email: "new@example.com", Role: "member",
			ExpiresAt: s.Now(),
		})
	},
	"DropInvitation": func(ctx context.Context, s *storage.Store, w *world) error {
		return s.DropInvitation(ctx, w.shared.ID, w.invitation.ID)
	},
	"TakeInvitation": func(ctx context.Context, s *storage.Store, w *world) error {
		_, err := s.TakeInvitation(ctx, w.invitation.Digest, w.otherAdmin.ID)
		return err
	},
	"InsertClient": func(ctx context.Context, s *storage.Store, w *world) error {
		c := w.client
		c.ID, c.Secrets = storage.NewID("app"), []storage.ClientSecret{{
			ID:     storage.NewID("secret"),
			Digest: storage.Digest("new"), CreatedAt: s.Now(),
		}}
		return s.InsertClient(ctx, &c, []string{"https://new.example"})
	},
	"UpdateClient": func(ctx context.Context, s *storage.Store, w *world) error {
		c := w.client
		c.Name, c.AuthMethod = "New", "private_key_jwt" // which also deletes its secrets
		return s.UpdateClient(ctx, &c, []string{"https://new.example"})
	},
	"DisableClient": func(ctx context.Context, s *storage.Store, w *world) error {
		return s.DisableClient(ctx, w.client.ID, "administrator")
	},
	"EnableClient": func(ctx context.Context, s *storage.Store, w *world) error {
		// The world's client is enabled: what changes is what DisableClient did in the same transaction, or nothing.
		return errors.Join(s.DisableClient(ctx, w.client.ID, "administrator"), s.EnableClient(ctx, w.client.ID),
			s.SetSetting(ctx, "enabled", "yes"))
	},
	"DeleteClient": func(ctx context.Context, s *storage.Store, w *world) error {
		return s.DeleteClient(ctx, w.client.ID)
	},
	"LockClient": func(ctx context.Context, s *storage.Store, w *world) error {
		s.SetClock(func() time.Time { return noon.Add(time.Second) })
		defer s.SetClock(func() time.Time { return noon })
		return s.LockClient(ctx, w.client.ID)
	},
	"VerifyClient": func(ctx context.Context, s *storage.Store, w *world) error {
		return s.VerifyClient(ctx, w.client.ID, true)
	},
	"RotateSecret": func(ctx context.Context, s *storage.Store, w *world) error {
		return s.RotateSecret(ctx, w.client.ID, storage.ClientSecret{
			ID:     storage.NewID("secret"),
			Digest: storage.Digest("new"), CreatedAt: s.Now(),
		}, time.Hour)
	},

	"InsertGrant": func(ctx context.Context, s *storage.Store, w *world) error {
		return s.InsertGrant(ctx, w.newGrant(s.Now()), storage.Code{
			Digest:    storage.Digest("new"),
			ExpiresAt: s.Now().Add(time.Minute),
		})
	},
	"ConsumeCode": func(ctx context.Context, s *storage.Store, w *world) error { return s.ConsumeCode(ctx, w.code) },
	"InsertAccessToken": func(ctx context.Context, s *storage.Store, w *world) error {
		return s.InsertAccessToken(ctx, storage.AccessToken{
			Digest: storage.Digest("new"), GrantID: w.grant.ID,
			ClientID: w.client.ID, CreatedAt: s.Now(), ExpiresAt: s.Now(),
		})
	},
	"InsertOwnAccessToken": func(ctx context.Context, s *storage.Store, w *world) error {
		return s.InsertOwnAccessToken(ctx, w.token(s, "new"))
	},
	"InsertOwnAccessTokenOnce": func(ctx context.Context, s *storage.Store, w *world) error {
		return s.InsertOwnAccessTokenOnce(ctx, w.token(s, "new"), w.assertion(s))
	},
	"UseAssertion": func(ctx context.Context, s *storage.Store, w *world) error {
		return s.UseAssertion(ctx, w.assertion(s))
	},
	"UseProof": func(ctx context.Context, s *storage.Store, _ *world) error {
		// Another one each time: in memory, one stays used if it is unknown whether the commit happened.
		return s.UseProof(ctx, "key", storage.NewID("proof"), s.Now().Add(time.Minute))
	},
	"InsertPushedRequest": func(ctx context.Context, s *storage.Store, w *world) error {
		return s.InsertPushedRequest(ctx, w.pushed(s, "new"))
	},
	"ConsumePushedRequest": func(ctx context.Context, s *storage.Store, w *world) error {
		return s.ConsumePushedRequest(ctx, w.request)
	},
	"ExtendRefreshToken": func(ctx context.Context, s *storage.Store, w *world) error {
		return s.ExtendRefreshToken(ctx, w.refresh, s.Now().Add(2*time.Hour))
	},
	"UseRefreshToken": func(ctx context.Context, s *storage.Store, w *world) error {
		return s.UseRefreshToken(ctx, w.refresh, 0)
	},
	"InsertRefreshToken": func(ctx context.Context, s *storage.Store, w *world) error {
		return s.InsertRefreshToken(ctx, storage.RefreshToken{
			Digest: storage.Digest("new"), GrantID: w.grant.ID,
			CreatedAt: s.Now(), ExpiresAt: s.Now(),
		})
	},
	"RevokeGrant": func(ctx context.Context, s *storage.Store, w *world) error {
		return s.RevokeGrant(ctx, w.grant.ID, "test")
	},
	"NarrowGrants": func(ctx context.Context, s *storage.Store, w *world) error {
		_, err := s.NarrowGrants(ctx, w.grant, func([]string) []string { return []string{"less"} })
		return err
	},
	"RevokeAccessToken": func(ctx context.Context, s *storage.Store, w *world) error {
		_, err := s.RevokeAccessToken(ctx, w.clientAccess)
		return err
	},
	"LockConsent": func(ctx context.Context, s *storage.Store, w *world) error {
		_, err := s.LockConsent(ctx, w.user.ID, w.client.ID, "https://api.example", w.workspace.ID)
		return err
	},
	"SaveConsent": func(ctx context.Context, s *storage.Store, w *world) error {
		return s.SaveConsent(ctx, storage.Consent{
			UserID: w.user.ID, ClientID: w.client.ID,
			Resource: "https://api.example", WorkspaceID: w.workspace.ID, Scopes: storage.List{"write"},
		})
	},
	"KeepFlowAnswer": func(ctx context.Context, s *storage.Store, _ *world) error {
		return errors.Join(s.DecideFlow(ctx, "flow", "allowed", time.Minute), s.KeepFlowAnswer(ctx, "flow", "sealed",
			s.Now().Add(time.Minute)))
	},
	"DecideFlow": func(ctx context.Context, s *storage.Store, _ *world) error {
		return s.DecideFlow(ctx, "flow", "allowed", time.Minute)
	},
	"RevokeAccess": func(ctx context.Context, s *storage.Store, w *world) error {
		_, err := s.RevokeAccess(ctx, w.user.ID, w.client.ID)
		return err
	},

	"SetSetting": func(ctx context.Context, s *storage.Store, _ *world) error {
		return s.SetSetting(ctx, "word", "new")
	},
	"SettingOr": func(ctx context.Context, s *storage.Store, _ *world) error {
		_, err := s.SettingOr(ctx, "new", "value")
		return err
	},
	"TakeSetting": func(ctx context.Context, s *storage.Store, _ *world) error {
		return s.TakeSetting(ctx, "word", "digest")
	},
	"DropSetting": func(ctx context.Context, s *storage.Store, _ *world) error { return s.DropSetting(ctx, "word") },

	"TakeLimit": func(ctx context.Context, s *storage.Store, _ *world) error {
		_, _, err := s.TakeLimit(ctx, "new", storage.LimitCharge{
			At: s.Now(), Cost: 1,
			ExpiresAt: s.Now().Add(time.Hour),
		})
		return err
	},
	"SaveLimits": func(ctx context.Context, s *storage.Store, _ *world) error {
		return s.SaveLimits(ctx, []storage.Limit{savedLimit("saved", s.Now(), time.Hour)})
	},

	"InsertKey": func(ctx context.Context, s *storage.Store, w *world) error {
		k := newKey(w.key.Owner(), "New")
		return s.InsertKey(ctx, &k, 10)
	},
	"UpdateKey": func(ctx context.Context, s *storage.Store, w *world) error {
		k := w.key
		k.Name = "New"
		return s.UpdateKey(ctx, &k)
	},
	"LockKey": func(ctx context.Context, s *storage.Store, w *world) error {
		_, err := s.LockKey(ctx, w.key.Owner(), w.key.ID)
		return err
	},
	"PauseKey": func(ctx context.Context, s *storage.Store, w *world) error {
		return s.PauseKey(ctx, w.key.Owner(), w.key.ID, "administrator")
	},
	"ResumeKey": func(ctx context.Context, s *storage.Store, w *world) error {
		// As with EnableClient.
		return errors.Join(s.PauseKey(ctx, w.key.Owner(), w.key.ID, "administrator"), s.ResumeKey(ctx, w.key.Owner(),
			w.key.ID), s.SetSetting(ctx, "resumed", "yes"))
	},
	"RevokeKey": func(ctx context.Context, s *storage.Store, w *world) error {
		return s.RevokeKey(ctx, w.personal.Owner(), w.personal.ID)
	},
	"RotateKey": func(ctx context.Context, s *storage.Store, w *world) error {
		k := newKey(w.key.Owner(), "New")
		return s.RotateKey(ctx, w.key, &k, s.Now().Add(time.Hour))
	},
	"Audit": func(ctx context.Context, s *storage.Store, w *world) error {
		return s.Audit(ctx, storage.AuditEvent{Action: "new"}, w.user.ID)
	},
	"KeepAnswer": func(ctx context.Context, s *storage.Store, w *world) error {
		a := w.answer
		a.Digest = storage.Digest("new")
		return s.KeepAnswer(ctx, a)
	},
	"ResealAnswer": func(ctx context.Context, s *storage.Store, w *world) error {
		return s.ResealAnswer(ctx, w.answer.Digest, w.answer.Answer, "new")
	},
	"InsertSigningKey": func(ctx context.Context, s *storage.Store, w *world) error {
		return errors.Join(s.DropSigningKey(ctx, w.active.ID), s.InsertSigningKey(ctx, newSigningKey(s,
			storage.SigningActive)))
	},
	"RetireSigningKey": func(ctx context.Context, s *storage.Store, w *world) error {
		return s.RetireSigningKey(ctx, w.active.ID, s.Now().Add(time.Hour))
	},
	"DropSigningKey": func(ctx context.Context, s *storage.Store, w *world) error {
		return s.DropSigningKey(ctx, w.active.ID)
	},
	"ActivateSigningKey": func(ctx context.Context, s *storage.Store, w *world) error {
		return errors.Join(s.DropSigningKey(ctx, w.active.ID), s.ActivateSigningKey(ctx, w.next.ID))
	},
	"ResealSigningKey": func(ctx context.Context, s *storage.Store, w *world) error {
		return s.ResealSigningKey(ctx, w.active.ID, w.active.Sealed, "new")
	},
	"FlushUsage": func(ctx context.Context, s *storage.Store, w *world) error {
		s.NoteUse(storage.Use{WorkspaceID: w.workspace.ID, CredentialID: w.key.ID, Credential: w.key.Kind})
		return s.FlushUsage(ctx)
	},
	"PurgeHistory": func(ctx context.Context, s *storage.Store, _ *world) error {
		s.SetClock(func() time.Time { return noon.AddDate(1, 0, 0) })
		defer stopped(s)
		_, err := s.PurgeHistory(ctx, time.Hour, time.Hour)
		return err
	},

	"LockUser": func(ctx context.Context, s *storage.Store, w *world) error {
		_, err := s.LockUser(ctx, w.user.ID)
		return err
	},
	"InsertPasskey": func(ctx context.Context, s *storage.Store, w *world) error {
		return s.InsertPasskey(ctx, w.passkey())
	},
	"UsePasskey": func(ctx context.Context, s *storage.Store, w *world) error {
		k := w.passkey()
		return errors.Join(s.InsertPasskey(ctx, k), s.UsePasskey(ctx, k.ID, k.Counter, k.Counter+1, true))
	},
	"RenamePasskey": func(ctx context.Context, s *storage.Store, w *world) error {
		k := w.passkey()
		return errors.Join(s.InsertPasskey(ctx, k), s.RenamePasskey(ctx, w.user.ID, k.ID, "new"))
	},
	"DeletePasskey": func(ctx context.Context, s *storage.Store, w *world) error {
		k := w.passkey()
		err := errors.Join(s.InsertPasskey(ctx, k), s.InsertPasskey(ctx, w.passkey()))
		return errors.Join(err, s.DeletePasskey(ctx, w.user.ID, k.ID, k.Domain))
	},
	"DeleteMethodsSince": func(ctx context.Context, s *storage.Store, w *world) error {
		n, err := s.DeleteMethodsSince(ctx, w.user.ID, "id.example", 0)
		if err != nil || n != 0 {
			return errors.Join(err, fmt.Errorf("%d methods", n))
		}
		if err := errors.Join(s.InsertPasskey(ctx, w.passkey()), s.InsertTOTP(ctx, w.totp())); err != nil {
			return err
		}
		if n, err = s.DeleteMethodsSince(ctx, w.user.ID, "id.example", s.Now()); n != 2 {
			return errors.Join(err, fmt.Errorf("%d methods", n))
		}
		return errors.Join(err, s.InsertTOTP(ctx, w.totp()))
	},
	"CountPasskeys": func(ctx context.Context, s *storage.Store, w *world) error {
		k := w.passkey()
		return errors.Join(s.InsertPasskey(ctx, k), s.CountPasskeys(ctx, "another.example"))
	},
	"DeleteOtherPasskeys": func(ctx context.Context, s *storage.Store, w *world) error {
		if err := errors.Join(s.InsertPasskey(ctx, w.passkey()), s.InsertTOTP(ctx, w.totp())); err != nil {
			return err
		}
		n, err := s.DeleteOtherPasskeys(ctx, w.user.ID, "another.example")
		if n != 1 {
			return errors.Join(err, fmt.Errorf("%d passkeys", n))
		}
		return err
	},
	"OfferPasskey": func(ctx context.Context, s *storage.Store, w *world) error {
		return s.OfferPasskey(ctx, w.user.ID, s.Now())
	},
	"UseChallenge": func(ctx context.Context, s *storage.Store, _ *world) error {
		return s.UseChallenge(ctx, "challenge", s.Now().Add(time.Minute))
	},
	"InsertTOTP": func(ctx context.Context, s *storage.Store, w *world) error { return s.InsertTOTP(ctx, w.totp()) },
	"TakeTOTPTry": func(ctx context.Context, s *storage.Store, w *world) error {
		_, err := s.TakeTOTPTry(ctx, w.user.ID, 1, time.Hour)
		mustFail := !errors.Is(err, storage.ErrConsumed)
		err = s.InsertTOTP(ctx, w.totp())
		if _, wrong := s.TakeTOTPTry(ctx, w.user.ID, 1, time.Hour); wrong != nil || mustFail {
			return errors.Join(err, fmt.Errorf("a try: %w", wrong))
		}
		return err
	},
	"UseTOTP": func(ctx context.Context, s *storage.Store, w *world) error {
		t := w.totp()
		return errors.Join(s.InsertTOTP(ctx, t), s.UseTOTP(ctx, w.user.ID, t.Sealed, t.Step+1))
	},
	"DeleteTOTP": func(ctx context.Context, s *storage.Store, w *world) error {
		return errors.Join(s.InsertTOTP(ctx, w.totp()), s.DeleteTOTP(ctx, w.user.ID), s.InsertTOTP(ctx, w.totp()))
	},
	"ResealTOTP": func(ctx context.Context, s *storage.Store, w *world) error {
		t := w.totp()
		return errors.Join(s.InsertTOTP(ctx, t), s.ResealTOTP(ctx, w.user.ID, t.Sealed, "new"))
	},
	"ReplaceRecoveryCodes": func(ctx context.Context, s *storage.Store, w *world) error {
		return s.ReplaceRecoveryCodes(ctx, w.user.ID, recoveryCodes)
	},
	"DeleteRecoveryCodes": func(ctx context.Context, s *storage.Store, w *world) error {
		return errors.Join(s.ReplaceRecoveryCodes(ctx, w.user.ID, recoveryCodes), s.DeleteRecoveryCodes(ctx, w.user.ID),
			s.ReplaceRecoveryCodes(ctx, w.user.ID, recoveryCodes[:1]))
	},
	"UseRecoveryCode": func(ctx context.Context, s *storage.Store, w *world) error {
		return errors.Join(s.ReplaceRecoveryCodes(ctx, w.user.ID, recoveryCodes),
			s.UseRecoveryCode(ctx, w.user.ID, recoveryCodes[0].Selector, recoveryCodes[0].Hash))
	},
	"InsertProviderAccount": func(ctx context.Context, s *storage.Store, w *world) error {
		return s.InsertProviderAccount(ctx, w.providerAccount())
	},
	"UseProviderAccount": func(ctx context.Context, s *storage.Store, w *world) error {
		p := w.providerAccount()
		return errors.Join(s.InsertProviderAccount(ctx, p), s.UseProviderAccount(ctx, p.ID, "new@example.com"))
	},
	"DeleteProviderAccount": func(ctx context.Context, s *storage.Store, w *world) error {
		p, other := w.providerAccount(), w.providerAccount()
		other.Subject = "another"
		err := errors.Join(s.InsertProviderAccount(ctx, p), s.InsertProviderAccount(ctx, other))
		return errors.Join(err, s.DeleteProviderAccount(ctx, w.user.ID, p.ID))
	},

	"InsertEmail": func(ctx context.Context, s *storage.Store, w *world) error { return s.InsertEmail(ctx, w.email(s)) },
	"ClaimEmails": func(ctx context.Context, s *storage.Store, w *world) error {
		return afterInsert(ctx, s, w, func(storage.Email) error { return nil })
	},
	"RetryEmail": func(ctx context.Context, s *storage.Store, w *world) error {
		return afterInsert(ctx, s, w, func(e storage.Email) error { return s.RetryEmail(ctx, e.ID, s.Now()) })
	},
	"FinishEmail": func(ctx context.Context, s *storage.Store, w *world) error {
		return afterInsert(ctx, s, w, func(e storage.Email) error { return s.FinishEmail(ctx, e.ID, true) })
	},
	"ResealEmail": func(ctx context.Context, s *storage.Store, w *world) error {
		return afterInsert(ctx, s, w, func(e storage.Email) error { return s.ResealEmail(ctx, e.ID, e.Sealed, "new") })
	},
	"CountEmail": func(ctx context.Context, s *storage.Store, _ *world) error {
		_, err := s.CountEmail(ctx, "network 192.0.2.1", 20, time.Hour)
		return err
	},
	"InsertEmailProof": func(ctx context.Context, s *storage.Store, w *world) error {
		return s.InsertEmailProof(ctx, w.proof(s))
	},
	"TakeCodeTry": func(ctx context.Context, s *storage.Store, w *world) error {
		if err := s.InsertEmailProof(ctx, w.proof(s)); err != nil {
			return err
		}
		_, err := s.TakeCodeTry(ctx, w.proof(s).ID)
		return err
	},
	"ProveEmail": func(ctx context.Context, s *storage.Store, w *world) error {
		return errors.Join(s.InsertEmailProof(ctx, w.proof(s)), s.ProveEmail(ctx, w.proof(s).ID, "", storage.Digest("browser")))
	},
	"UseEmailProof": func(ctx context.Context, s *storage.Store, w *world) error {
		return errors.Join(s.InsertEmailProof(ctx, w.proof(s)), s.UseEmailProof(ctx, w.proof(s).ID))
	},
	"EndEmailProofs": func(ctx context.Context, s *storage.Store, w *world) error {
		return errors.Join(s.InsertSignInLink(ctx, w.user.ID, storage.Digest("link"), s.Now().Add(time.Hour)),
			s.EndEmailProofs(ctx, w.user.ID, storage.ProofOperator))
	},
	"EndLaterUndos": func(ctx context.Context, s *storage.Store, w *world) error {
		p := w.proof(s)
		p.Kind = storage.ProofUndo
		other := w.proof(s)
		other.ID, other.Digest = "proof_2", storage.Digest("other")
		return errors.Join(s.InsertEmailProof(ctx, other), s.InsertEmailProof(ctx, p),
			s.EndLaterUndos(ctx, w.user.ID, s.Now()-1))
	},
	"SetUserLocale": func(ctx context.Context, s *storage.Store, w *world) error {
		return s.SetUserLocale(ctx, w.user.ID, "de", "Europe/Berlin")
	},
	"EndWaiting": func(ctx context.Context, s *storage.Store, w *world) error {
		u := storage.User{ID: storage.NewID("user"), Email: "waiting@example.com", WaitingSince: 1}
		return errors.Join(s.InsertUser(ctx, &u), s.EndWaiting(ctx, u.ID))
	},
	"SetEmailProven": func(ctx context.Context, s *storage.Store, w *world) error {
		return s.SetEmailProven(ctx, w.user.ID)
	},
	"ForgetPasswordFailures": func(ctx context.Context, s *storage.Store, w *world) error {
		return errors.Join(s.CountPasswordFailure(ctx, w.user.ID, 100), s.SetPasswordHash(ctx, w.user.ID, "new"),
			s.ForgetPasswordFailures(ctx, w.user.ID))
	},

	"FlushTouches": func(ctx context.Context, s *storage.Store, w *world) error {
		s.SetClock(func() time.Time { return noon.Add(time.Hour) })
		defer stopped(s)
		s.TouchGrant(w.grant.ID)
		s.TouchSession(w.session.ID)
		s.TouchSecret(w.client.Secrets[0].ID)
		s.TouchKey(w.key.ID, "192.0.2.2")
		return s.FlushTouches(ctx)
	},
	"Purge": func(ctx context.Context, s *storage.Store, w *world) error {
		c := w.registered()
		err := s.InsertClient(ctx, &c, nil)
		s.SetClock(func() time.Time { return noon.AddDate(1, 0, 0) })
		defer stopped(s)
		_, purged := s.Purge(ctx, storage.Retention{})
		return errors.Join(err, purged)
	},

	"SaveDocumentClient": func(ctx context.Context, s *storage.Store, w *world) error {
		c := w.described(s)
		_, err := s.SaveDocumentClient(ctx, &c, []string{"https://client.example"})
		c.Name, c.DocumentAt = "New", s.Now()+1
		_, updated := s.SaveDocumentClient(ctx, &c, []string{"https://new.example"})
		return errors.Join(err, updated)
	},
	"UpdateDocumentClient": func(ctx context.Context, s *storage.Store, w *world) error {
		c := w.described(s)
		if err := s.InsertClient(ctx, &c, nil); err != nil {
			return err
		}
		c.Name, c.DocumentAt = "New", s.Now()+1
		return s.UpdateDocumentClient(ctx, &c, []string{"https://new.example"})
	},
	"UseClient": func(ctx context.Context, s *storage.Store, w *world) error {
		return s.UseClient(ctx, w.client.ID)
	},
	"RotateRegistrationToken": func(ctx context.Context, s *storage.Store, w *world) error {
		c := w.registered()
		return errors.Join(s.InsertClient(ctx, &c, nil), s.RotateRegistrationToken(ctx, c.ID, c.RegistrationToken,
			storage.Digest("another registration access token")))
	},
	"PurgeUnusedClients": func(ctx context.Context, s *storage.Store, w *world) error {
		// What changes is that the client which is still used stays.
		unused, used := w.registered(), w.described(s)
		err := errors.Join(s.InsertClient(ctx, &unused, nil), s.InsertClient(ctx, &used, nil))
		s.SetClock(func() time.Time { return noon.Add(time.Hour) })
		defer stopped(s)
		err = errors.Join(err, s.UseClient(ctx, used.ID))
		n, purged := s.PurgeUnusedClients(ctx, s.Now())
		if purged == nil && n != 1 {
			purged = fmt.Errorf("%d clients are gone, want 1", n)
		}
		return errors.Join(err, purged)
	},
	"InsertRegistrationToken": func(ctx context.Context, s *storage.Store, w *world) error {
		x := w.registrationToken(s)
		return s.InsertRegistrationToken(ctx, &x)
	},
	"UseRegistrationToken": func(ctx context.Context, s *storage.Store, w *world) error {
		x := w.registrationToken(s)
		return errors.Join(s.InsertRegistrationToken(ctx, &x), s.UseRegistrationToken(ctx, x.Digest))
	},
	"DeleteRegistrationToken": func(ctx context.Context, s *storage.Store, w *world) error {
		x, other := w.registrationToken(s), w.registrationToken(s)
		other.ID, other.Digest = storage.NewID("regtoken"), storage.Digest("other")
		return errors.Join(s.InsertRegistrationToken(ctx, &x), s.InsertRegistrationToken(ctx, &other),
			s.DeleteRegistrationToken(ctx, x.ID))
	},
}

// email is an email that is due.
func (w *world) email(s *storage.Store) storage.Email {
	return storage.Email{
		Kind: "sign_in", Recipient: w.user.Email, UserID: w.user.ID, Detail: map[string]string{"a": "b"}, Sealed: "sealed",
		ExpiresAt: s.Now().Add(time.Hour),
	}
}

// proof is a link for the user.
func (w *world) proof(s *storage.Store) storage.EmailProof {
	return storage.EmailProof{
		ID: "proof_1", Kind: storage.ProofSignIn, Subject: "ada@example.com", Digest: storage.Digest("token"), Code: "hash",
		Browser: storage.Digest("browser"), UserID: w.user.ID, Email: w.user.Email, ExpiresAt: s.Now().Add(time.Hour),
	}
}

// afterInsert inserts and claims an email, and calls do with it.
func afterInsert(ctx context.Context, s *storage.Store, w *world, do func(storage.Email) error) error {
	if err := s.InsertEmail(ctx, w.email(s)); err != nil {
		return err
	}
	list, err := s.ClaimEmails(ctx, time.Minute, 1)
	if err != nil || len(list) != 1 {
		return errors.Join(err, fmt.Errorf("%d emails are due", len(list)))
	}
	return do(list[0])
}

var errGivenUp = errors.New("given up")

// rollbacks are the ways in which a transaction ends without having happened.
var rollbacks = map[string]func(t *testing.T, s *storage.Store, write func(ctx context.Context) error){
	"error": func(t *testing.T, s *storage.Store, write func(ctx context.Context) error) {
		err := s.InTx(system(t), func(ctx context.Context) error {
			if err := write(ctx); err != nil {
				return err
			}
			return errGivenUp
		})
		mustBe(t, err, errGivenUp)
	},
	"panic": func(t *testing.T, s *storage.Store, write func(ctx context.Context) error) {
		defer func() {
			if got := recover(); got != errGivenUp { //nolint:errorlint // the very value
				t.Fatalf("recovered %v, want the panic of the function", got)
			}
		}()
		_ = s.InTx(system(t), func(ctx context.Context) error {
			if err := write(ctx); err != nil {
				return err
			}
			panic(errGivenUp)
		})
	},
	"context": func(t *testing.T, s *storage.Store, write func(ctx context.Context) error) {
		outer, cancel := context.WithCancel(system(t))
		err := s.InTx(outer, func(ctx context.Context) error {
			if err := write(ctx); err != nil {
				return err
			}
			cancel()
			return nil
		})
		mustBe(t, err, storage.ErrUnavailable)
	},
	"inner transaction": func(t *testing.T, s *storage.Store, write func(ctx context.Context) error) {
		err := s.InTx(system(t), func(ctx context.Context) error {
			if err := s.InTx(ctx, write); err != nil {
				return err
			}
			return errGivenUp
		})
		mustBe(t, err, errGivenUp)
	},
}

// empty deletes everything that a world and the writes leave behind.
func empty(t *testing.T, s *storage.Store) {
	t.Helper()
	for _, table := range []string{
		"settings", "users", "workspaces", "reserved_slugs", "clients", "decided_flows",
		"access_tokens", "audit_events", "signing_keys", "emails", "email_limits", "email_proofs", "passkeys",
		"totp", "recovery_codes", "provider_accounts", "used_challenges", "used_assertions", "pushed_requests",
		"registration_tokens",
	} {
		if _, err := s.SystemPool().ExecContext(t.Context(), "DELETE FROM "+table); err != nil {
			t.Fatal(err)
		}
	}
}

func TestEveryWriteIsGoneAfterARollback(t *testing.T) {
	onEachEngine(t, func(t *testing.T, s *storage.Store) {
		for name, write := range writes {
			t.Run(name, func(t *testing.T) {
				empty(t, s)
				w := newWorld(t, s)
				before, generation := dump(t, s), s.Generation()
				for way, rollBack := range rollbacks {
					rollBack(t, s, func(ctx context.Context) error { return write(ctx, s, w) })
					if diff := cmp.Diff(before, dump(t, s)); diff != "" {
						t.Fatalf("%s: what was written is still there (-before +after):\n%s", way, diff)
					}
					// A commit that was broken off may have happened, so that caches must be dropped. What a write looks for
					// to change and does not find may have been changed by others.
					if way != "context" && s.Generation() != generation && !slices.Contains(findNothing, name) {
						t.Errorf("%s: the generation moved without a change", way)
					}
					generation = s.Generation()
				}
				if err := write(system(t), s, w); err != nil {
					t.Fatal(err)
				}
				inMemory := name == "UseProof" && s.Engine() == "sqlite" // TestP05_… is for that
				if name != "FlushTouches" && !inMemory && !strings.HasPrefix(name, "Lock") && cmp.Equal(before, dump(t, s)) {
					t.Error("the write changes nothing even when it is committed, so this test proves nothing")
				}
			})
		}
	})
}

func TestEveryWriteHasARollbackTest(t *testing.T) {
	methods := storeMethods(t)
	for name := range methods {
		if name == "Close" || name == "CheckIsolation" {
			// Close writes through FlushTouches and FlushUsage, after everything else; what CheckIsolation writes it
			// rolls back, as its own test shows.
			continue
		}
		if writes := writes[name] != nil; ast.IsExported(name) && methods.reach(name, writing) != writes {
			t.Errorf("%s: writes %v, but is in the table of rollback tests: %v", name, !writes, writes)
		}
	}
	for name := range writes {
		if methods[name] == nil {
			t.Errorf("%s is in the table of rollback tests and nowhere else", name)
		}
	}
}
