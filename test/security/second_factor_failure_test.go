package security

import (
	"net/http"
	"net/url"
	"testing"
	"time"

	"doorward/oauth/identity"
	"doorward/test/authenticator"
	"doorward/test/rig"
)

// writes names statements that are to fail: a verb and a table.
type writes [][2]string

// failEach sends a form while each of some statements fails, which is 503 and changes nothing, and then once more. That
// works: a challenge, code or set-up is as it was (T-83).
func failEach(
	t *testing.T, r *rig.Rig, owner func(string), name string, list writes, state string, send func() *rig.Answer,
	done func(*rig.Answer) bool,
) {
	t.Helper()
	for _, w := range list {
		before := count(t, r, state)
		restore := breakWrites(r, owner, w[0], w[1])
		a := send()
		restore()
		if a.Status != http.StatusServiceUnavailable || a.Header.Get("Retry-After") == "" {
			t.Errorf("%s without %s %s is answered %d %v", name, w[0], w[1], a.Status, a.Location)
		}
		if after := count(t, r, state); after != before {
			t.Errorf("%s without %s %s has changed %d to %d rows", name, w[0], w[1], before, after)
			return
		}
	}
	if a := send(); !done(a) {
		t.Errorf("%s after the failures is answered %d %v: %s", name, a.Status, a.Location, rig.Plain(a.Body))
	}
}

// rows counts what signing in and second factors write.
const rows = `SELECT (SELECT count(*) FROM passkeys) + (SELECT count(*) FROM totp) + (SELECT count(*) FROM sessions) +
	(SELECT count(*) FROM used_challenges) + (SELECT count(*) FROM recovery_codes WHERE used_at IS NOT NULL) +
	(SELECT COALESCE(sum(counter), 0) FROM passkeys) + (SELECT count(*) FROM email_proofs) +
	(SELECT count(*) FROM audit_events)`

// While a statement fails, a sign-in with a passkey or a second factor and a proof are 503, and use up nothing (T-83).
func TestT83_AFailureUsesUpNoFactor(t *testing.T) {
	eachWithOwner(t, withPasskeys(), func(t *testing.T, r *rig.Rig, owner func(string)) {
		a := authenticator.New()
		a.Counter = 1
		u := r.User("owner@example.com", "Owner", false)
		b := r.Browser().SignIn(u.Email)
		addPasskey(b, a)
		secret, recovery := addTOTP(b)
		nextStep(r)
		ends := writes{{"INSERT", "sessions"}, {"INSERT", "audit_events"}}

		login := r.Browser()
		form := answeredPasskey(login, a)
		failEach(t, r, owner, "sign-in with a passkey", append(ends[:2:2], writes{
			{"INSERT", "used_challenges"}, {"UPDATE", "passkeys"},
		}...), rows, func() *rig.Answer { return login.PostForm("/login/passkey", form) }, isRedirect)

		for name, x := range map[string]struct {
			code  string
			fails writes
		}{
			"one-time password": {otpOf(r, secret, 0), append(ends[:2:2], [2]string{"UPDATE", "totp"})},
			"recovery code": {recovery[0], append(ends[:2:2], writes{
				{"UPDATE", "recovery_codes"}, {"INSERT", "emails"},
			}...)},
		} {
			asking := r.Browser()
			form := halfway(asking, u.Email)
			failEach(t, r, owner, name, x.fails, rows, func() *rig.Answer { return second(asking, form, x.code) }, isRedirect)
		}

		const action = "/settings/profile/export"
		r.Advance(6 * time.Minute)
		form, options := mustForm(login, login.PostForm(action, nil), action)
		form.Set("current_passkey", use(login, a, options))
		failEach(t, r, owner, "proof by passkey", writes{
			{"UPDATE", "sessions"}, {"INSERT", "used_challenges"}, {"UPDATE", "passkeys"}, {"INSERT", "audit_events"},
		}, rows, func() *rig.Answer { return login.PostForm(action, form) }, isPage)
		r.Advance(6 * time.Minute)
		form = with(nil, "current_password", rig.Password, "current_code", otpOf(r, secret, 0))
		failEach(t, r, owner, "proof by code", writes{{"UPDATE", "sessions"}, {"UPDATE", "totp"}}, rows,
			func() *rig.Answer { return login.PostForm(action, form) }, isPage)
	})
}

// While a statement fails, setting up and removing a second factor is 503 and changes nothing; after it, the same form
// works (T-83).
func TestT83_AFailureSetsUpAndRemovesNoFactor(t *testing.T) {
	eachWithOwner(t, withPasskeys(), func(t *testing.T, r *rig.Rig, owner func(string)) {
		u := r.User("owner@example.com", "Owner", false)
		b := r.Browser().SignIn(u.Email)
		told := writes{{"INSERT", "audit_events"}, {"INSERT", "emails"}}
		form := newPasskey(b, authenticator.New())
		failEach(t, r, owner, "new passkey", append(told[:2:2], writes{
			{"INSERT", "used_challenges"}, {"INSERT", "passkeys"}, {"UPDATE", "users"},
		}...), rows, func() *rig.Answer { return b.PostForm(newPasskeyPath, form) }, isRedirect)

		page := b.PostForm(securityPath+"/totp", nil)
		form = with(b.Form(page, securityPath+"/totp/confirm"), "code", otpOf(r, secretOn(b, page), 0))
		failEach(t, r, owner, "authenticator app", append(told[:2:2], writes{
			{"INSERT", "totp"}, {"INSERT", "recovery_codes"}, {"UPDATE", "users"},
		}...), rows, func() *rig.Answer { return b.PostForm(securityPath+"/totp/confirm", form) }, isPage)
		failEach(t, r, owner, "recovery codes", append(told[:2:2], writes{
			{"INSERT", "recovery_codes"}, {"DELETE", "recovery_codes"},
		}...), rows, func() *rig.Answer { return b.PostForm(securityPath+"/recovery-codes", nil) }, isPage)

		confirmed := url.Values{"confirmed": {"yes"}}
		for _, x := range []struct {
			method string
			fails  writes
		}{
			{"totp", append(told[:2:2], writes{{"DELETE", "totp"}, {"UPDATE", "users"}}...)},
			{passkeys(t, r, u.ID)[0].ID, append(told[:2:2], writes{
				{"DELETE", "passkeys"}, {"UPDATE", "users"}, {"DELETE", "recovery_codes"},
			}...)},
		} {
			path := securityPath + "/methods/" + x.method + "/remove"
			failEach(t, r, owner, "removal of "+x.method, x.fails, rows,
				func() *rig.Answer { return b.PostForm(path, confirmed) }, isRedirect)
		}
	})
}

// A factor that was set up, and whose session could not be written, is not set up: otherwise its recovery codes would
// never be shown (T-83).
func TestT83_AFactorAndItsSessionAreSetUpTogether(t *testing.T) {
	for name, policy := range map[string]string{
		"in the settings": identity.SecondFactorOptional, "at the sign-in": identity.SecondFactorEveryone,
	} {
		t.Run(name, func(t *testing.T) {
			eachWithOwner(t, withPolicy(policy), func(t *testing.T, r *rig.Rig, owner func(string)) {
				for _, kind := range []string{"passkey", "authenticator app"} {
					u := r.User(kind[:4]+"@example.com", "Owner", false)
					b := r.Browser()
					var form url.Values
					path, table, verb := "/login/enrol", "sessions", "INSERT"
					var page *rig.Answer
					switch {
					case policy == identity.SecondFactorEveryone:
						page = enrolPage(b, u.Email)
					case kind == "passkey":
						verb, path = "UPDATE", newPasskeyPath
						page = b.SignIn(u.Email).PostForm(newPasskeyPath+"/new", nil)
					default:
						verb, path = "UPDATE", securityPath+"/totp/confirm"
						page = b.SignIn(u.Email).PostForm(securityPath+"/totp", nil)
					}
					if kind == "passkey" {
						var options []byte
						form, options = mustForm(b, page, path)
						answer, err := authenticator.New().Create(r.Issuer, options)
						ok(t, err)
						form.Set("credential", string(answer))
					} else {
						form = with(b.Form(page, path), "code", otpOf(r, secretOn(b, page), 0))
					}
					failEach(t, r, owner, kind, writes{{verb, table}}, rows,
						func() *rig.Answer { return b.PostForm(path, form) },
						func(a *rig.Answer) bool { return isPage(a) || isRedirect(a) })
				}
			})
		})
	}
}
