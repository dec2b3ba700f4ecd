package storage_test

import (
	"fmt"
	"go/ast"
	"slices"
	"testing"
	"time"

	"doorward/storage"
	"doorward/test/stores"
)

// announced lists the methods that alter what exists and what the answer for a credential may depend on, so that the
// generation grows, with what each of them alters.
var announced = map[string]string{
	"UpdateUser":  "a user's address, name and administration",
	"RenameUser":  "a user's name",
	"DisableUser": "the user, their grants, and the workspaces that stop with them",
	"EnableUser":  "the user, and the workspaces that start again with them",
	"DeleteUser":  "the user with their tokens, and the workspaces that go with them",

	"InsertWorkspace":  "its owner is a member by it: a personal access token for it was refused before",
	"UpdateWorkspace":  "its name, and the plan by which its credentials are limited",
	"DisableWorkspace": "the workspace, and with it its keys and apps",
	"EnableWorkspace":  "the workspace, and with it its keys and apps",
	"DeleteWorkspace":  "the workspace with its keys and apps",
	"AddMember":        "the roles of the user's personal access tokens",
	"ChangeRole":       "the role of the user's tokens, and the workspace without an enabled owner",
	"RemoveMember":     "the role of the user's tokens, and their grants in the workspace",
	"TakeInvitation":   "as AddMember",

	"InsertClient":  "the secrets of a client; a cache holds them with it",
	"UpdateClient":  "the client",
	"DisableClient": "the client",
	"EnableClient":  "the client",
	"DeleteClient":  "the client with its grants",
	"VerifyClient":  "the client",
	"RotateSecret":  "the secrets of a client",

	"SaveDocumentClient":   "as UpdateDocumentClient",
	"UpdateDocumentClient": "a client whose metadata document has changed",
	"PurgeUnusedClients":   "clients with their grants",
	"Purge":                "as PurgeUnusedClients; all else that it deletes has ended by time",

	"InsertGrant":       "the oldest grants of a user and client who have too many",
	"RevokeGrant":       "a grant with its tokens",
	"NarrowGrants":      "the scopes of grants",
	"EndGrants":         "grants with their tokens",
	"RevokeAccess":      "grants with their tokens, and consents",
	"RevokeAccessToken": "an access token",
	"SaveConsent":       "a consent that may take the place of another",
	"ForgetConsents":    "consents",

	"UpdateKey":      "a key",
	"PauseKey":       "a key",
	"ResumeKey":      "a key",
	"RevokeKey":      "a key",
	"RotateKey":      "the key that is replaced, and the one that it had replaced",
	"RevokeTokensOf": "the personal access tokens of a user",

	"InsertSigningKey":   "which keys tokens may be signed with: there was another set before",
	"RetireSigningKey":   "a signing key",
	"DropSigningKey":     "a signing key, and every token under it",
	"ActivateSigningKey": "a signing key",
}

// Why a method that writes does not make the generation grow.
const (
	onlyAdds     = "it only adds a credential or a user, and a cache does not keep that something is unknown"
	singleUse    = "it exchanges a credential that works once and that is read from the database each time"
	onlyLocks    = "it locks rows, and writes what is in them already"
	endedByTime  = "it deletes what has ended by time; a cache compares that time with the clock"
	ofSessions   = "sessions and sign-ins are read from the database each time"
	notDecisive  = "no answer for a credential depends on what it writes"
	limitsDecide = "limits are counted by their own statements each time"
	sameKey      = "the key is the same, sealed in another way"
)

// unannounced lists the other methods that write, with the reason why a cache need not know of them.
var unannounced = map[string]string{
	"InsertUser":           onlyAdds,
	"InsertKey":            onlyAdds,
	"InsertAccessToken":    onlyAdds,
	"InsertOwnAccessToken": onlyAdds,
	"InsertRefreshToken":   onlyAdds,
	"InsertPushedRequest":  onlyAdds,

	"InsertOwnAccessTokenOnce": onlyAdds,
	"UseAssertion":             singleUse,
	"UseProof":                 singleUse,
	"ConsumePushedRequest":     singleUse,
	"ExtendRefreshToken":       notDecisive,

	"ConsumeCode":      singleUse,
	"UseRefreshToken":  singleUse,
	"InsertInvitation": singleUse,
	"DropInvitation":   singleUse,
	"LockClient":       onlyLocks,
	"LockConsent":      onlyLocks,
	"LockKey":          onlyLocks,
	"LockRole":         onlyLocks,
	"LockWorkspace":    onlyLocks,
	"PurgeHistory":     endedByTime,

	"UseClient":               notDecisive,
	"RotateRegistrationToken": "registration access tokens are read from the database each time",
	"InsertRegistrationToken": onlyAdds,
	"UseRegistrationToken":    singleUse,
	"DeleteRegistrationToken": "registration tokens are read from the database each time",

	"SetPasswordHash":      ofSessions,
	"RehashPassword":       ofSessions,
	"ReplacePasswordHash":  ofSessions,
	"CountPasswordFailure": ofSessions,
	"RecordPasswordSignIn": ofSessions,
	"LockPassword":         ofSessions,
	"AuditSignInFailure":   ofSessions,
	"InsertSignInLink":     ofSessions,
	"TakeSignInLink":       ofSessions,
	"InsertSession":        ofSessions,
	"SetSessionData":       ofSessions,
	"RenewSession":         ofSessions,
	"ReplaceSession":       ofSessions,
	"EndSession":           ofSessions,
	"EndOtherSessions":     ofSessions,
	"SignOut":              ofSessions,
	"DecideFlow":           ofSessions,
	"KeepFlowAnswer":       ofSessions,

	"InsertEmailProof":       ofSessions,
	"TakeCodeTry":            ofSessions,
	"ProveEmail":             ofSessions,
	"UseEmailProof":          ofSessions,
	"EndEmailProofs":         ofSessions,
	"EndLaterUndos":          ofSessions,
	"ForgetPasswordFailures": ofSessions,
	"SetEmailProven":         ofSessions,
	"EndWaiting":             notDecisive,
	"LockUser":               onlyLocks,

	"InsertPasskey":         ofSessions,
	"UsePasskey":            ofSessions,
	"RenamePasskey":         ofSessions,
	"DeletePasskey":         ofSessions,
	"DeleteMethodsSince":    ofSessions,
	"DeleteOtherPasskeys":   ofSessions,
	"CountPasskeys":         ofSessions,
	"OfferPasskey":          notDecisive,
	"UseChallenge":          ofSessions,
	"InsertTOTP":            ofSessions,
	"TakeTOTPTry":           ofSessions,
	"UseTOTP":               ofSessions,
	"DeleteTOTP":            ofSessions,
	"ResealTOTP":            ofSessions,
	"ReplaceRecoveryCodes":  ofSessions,
	"DeleteRecoveryCodes":   ofSessions,
	"UseRecoveryCode":       ofSessions,
	"InsertProviderAccount": ofSessions,
	"UseProviderAccount":    ofSessions,
	"DeleteProviderAccount": ofSessions,

	"SetUserLocale": notDecisive,
	"InsertEmail":   notDecisive,
	"ClaimEmails":   notDecisive,
	"RetryEmail":    notDecisive,
	"FinishEmail":   notDecisive,
	"CountEmail":    notDecisive,
	"ResealEmail":   notDecisive,

	"SetSetting":   "settings are about the server's own secrets and start; each is read from the database each time",
	"SettingOr":    "as SetSetting",
	"TakeSetting":  "as SetSetting",
	"DropSetting":  "as SetSetting",
	"Audit":        notDecisive,
	"FlushTouches": notDecisive,
	"FlushUsage":   notDecisive,
	"KeepAnswer":   notDecisive,
	"ResealAnswer": notDecisive,

	"ResealSigningKey": sameKey,

	"TakeLimit":  limitsDecide,
	"SaveLimits": limitsDecide,

	"Close":          "it writes through FlushTouches and FlushUsage",
	"CheckIsolation": "it rolls back what it writes",
}

// Every method that writes is in one of the two lists, and in the one that its statements say. Migrate is not looked
// at: a server migrates before it answers.
func TestEveryWriteIsAnnouncedOrHasAReason(t *testing.T) {
	methods := storeMethods(t)
	alters := func(m *method) bool { return m.altering }
	for name := range methods {
		if !ast.IsExported(name) || !methods.reach(name, writing) {
			continue
		}
		is, reason := announced[name] != "", unannounced[name]
		switch found := methods.reach(name, alters); {
		case is && reason != "":
			t.Errorf("%s is in both lists", name)
		case !is && reason == "":
			t.Errorf("%s writes: add it to announced, and its statement is altering, or to unannounced, with a reason",
				name)
		case is && !found:
			t.Errorf("%s is announced, but runs no altering statement", name)
		case !is && found && name != "CheckIsolation":
			t.Errorf("%s is not announced, but runs an altering statement", name)
		}
	}
	for _, list := range []map[string]string{announced, unannounced} {
		for name := range list {
			if methods[name] == nil || !methods.reach(name, writing) {
				t.Errorf("%s is listed and does not write", name)
			}
		}
	}
}

// decidingColumns are the columns that the answer for a credential may depend on. What is not in them may change
// unannounced.
var decidingColumns = map[string]string{
	"users":       "id, disabled_at",
	"workspaces":  "id, slug, plan, disabled_at",
	"memberships": "workspace_id, user_id, role",
	"clients": `id, workspace_id, name, site, public, pkce_optional, first_party, resource_server, verified, manages,
		redirect_uris, grant_types, scopes, resources, disabled_at, auth_method, auth_algorithm, jwks, jwks_uri,
		token_endpoint_audience, pushed_requests_only, dpop_bound, fapi, registration`,
	"client_secrets": "id, client_id, digest, expires_at",
	"grants":         "id, client_id, user_id, workspace_id, resource, scopes, auth_time, expires_at, revoked_at",
	"access_tokens":  "digest, grant_id, client_id, resource, scopes, created_at, expires_at, revoked_at",
	"consents":       "user_id, client_id, resource, workspace_id, scopes, described",
	"api_keys": `id, digest, kind, workspace_id, user_id, resource, environment, scopes, scopes_by_object, role, plan,
		rate_limit, addresses, counter, rotated_into, expires_at, paused_at, revoked_at`,
	"signing_keys": "id, state, public, expires_at",
}

func TestWhatDecidesAboutACredentialChangesAnnounced(t *testing.T) {
	stores.Alone(t)
	rows := func(s *storage.Store) (all []string) {
		for table, columns := range decidingColumns {
			all = append(all, dumpColumns(t, s, table, columns)...)
		}
		return all
	}
	for name, write := range writes {
		t.Run(name, func(t *testing.T) {
			s := stopped(stores.Open(t, "sqlite::memory:"))
			w := newWorld(t, s)
			if name == "InsertGrant" { // it alters something only at the bound
				for i := range storage.MaxLiveGrants - 1 {
					code := storage.Code{Digest: storage.Digest(fmt.Sprint(i)), ExpiresAt: s.Now().Add(time.Minute)}
					must(t, s.InsertGrant(system(t), w.newGrant(s.Now()), code))
				}
			}
			before, generation := rows(s), s.Generation()
			must(t, write(system(t), s, w))
			grew, after := s.Generation() != generation, rows(s)
			if want := announced[name] != ""; grew != want {
				t.Errorf("the generation grew: %v, want %v", grew, want)
			}
			if grew || unannounced[name] == endedByTime {
				return
			}
			for _, row := range before {
				if !slices.Contains(after, row) {
					t.Errorf("it changes or deletes this, unannounced: %s", row)
				}
			}
		})
	}
}
