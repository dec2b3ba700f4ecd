package security

import (
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"doorward/management"
	"doorward/oauth"
	"doorward/test/rig"
)

// Authorization codes at the token endpoint.

func TestT01_CodeUsedTwiceRevokesItsTokens(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app, api := r.App(management.ClientSpec{}), r.ResourceServer()
	code := r.Browser().SignIn(r.Alice.Email).Code(app, "read")
	access, refresh := granted(t, r.Exchange(app, code))
	refused(t, r.Exchange(app, code), http.StatusBadRequest, oauth.InvalidGrant)
	dead(t, r, app, api, access, refresh)
}

func TestT01_CodeUsedTwiceRevokesTokensRefreshedSince(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app, api := r.App(management.ClientSpec{}), r.ResourceServer()
	code := r.Browser().SignIn(r.Alice.Email).Code(app, "read")
	first, refresh := granted(t, r.Exchange(app, code))
	second, successor := granted(t, r.Refresh(app, refresh))
	// A replay without the verifier or the redirect URI is still a replay.
	refused(t, r.PostAs(app, "/oauth/token", with(codeForm(app, code), "code_verifier", "")),
		http.StatusBadRequest, oauth.InvalidGrant)
	dead(t, r, app, api, first, refresh)
	dead(t, r, app, api, second, successor)
}

func TestT02_CodeUsedAgainHalfAMinuteLater(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app, api := r.App(management.ClientSpec{}), r.ResourceServer()
	code := r.Browser().SignIn(r.Alice.Email).Code(app, "read")
	access, refresh := granted(t, r.Exchange(app, code))
	r.Advance(30 * time.Second)
	refused(t, r.Exchange(app, code), http.StatusBadRequest, oauth.InvalidGrant)
	dead(t, r, app, api, access, refresh)
}

func TestT02_CodeUsedAgainAfterItExpired(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app, api := r.App(management.ClientSpec{}), r.ResourceServer()
	code := r.Browser().SignIn(r.Alice.Email).Code(app, "read")
	access, refresh := granted(t, r.Exchange(app, code))
	r.Advance(10 * time.Minute)
	refused(t, r.Exchange(app, code), http.StatusBadRequest, oauth.InvalidGrant)
	dead(t, r, app, api, access, refresh)
}

// Fosite reads a code and marks it later (its issue 778): the conditional write must decide, and the losers must get
// invalid_grant.
func TestT03_CodeIsRedeemedOnceAmongMany(t *testing.T) {
	rig.EachNodes(t, rig.Options{AtOnce: true}, func(t *testing.T, nodes []*rig.Rig) {
		r := nodes[0]
		app, api := r.App(management.ClientSpec{}), r.ResourceServer()
		code := r.Browser().SignIn(r.Alice.Email).Code(app, "read")
		answers := make([]*rig.Answer, crowd)
		rig.AtOnce(crowd, func(i int) { answers[i] = nodes[i%len(nodes)].Exchange(app, code) })
		winners := 0
		for _, a := range answers {
			if a.Status == http.StatusOK {
				winners++
				access, refresh := granted(t, a)
				dead(t, r, app, api, access, refresh)
				continue
			}
			refused(t, a, http.StatusBadRequest, oauth.InvalidGrant)
		}
		if winners != 1 {
			t.Errorf("%d redeemed the code, want 1", winners)
		}
		if left := r.Grants(r.Alice.ID); len(left) != 0 {
			t.Errorf("%d families are active after a code was used %d times", len(left), crowd)
		}
	})
}

// A wrong verifier uses up the code. So sending the correct one at the same moment must not yield both results for one
// code.
func TestT03_T06_WrongAndRightVerifierAtOnce(t *testing.T) {
	rig.EachNodes(t, rig.Options{AtOnce: true}, func(t *testing.T, nodes []*rig.Rig) {
		app := nodes[0].App(management.ClientSpec{})
		b := nodes[0].Browser().SignIn(nodes[0].Alice.Email)
		for range 20 {
			code := b.Code(app, "read")
			var winners atomic.Int64
			rig.AtOnce(8, func(i int) {
				form := codeForm(app, code)
				if i%2 == 0 {
					form = with(form, "code_verifier", strings.Repeat("x", 43))
				}
				a := nodes[i%len(nodes)].PostAs(app, "/oauth/token", form)
				if a.Status == http.StatusOK {
					winners.Add(1)
				} else {
					refused(t, a, http.StatusBadRequest, oauth.InvalidGrant)
				}
			})
			if winners.Load() > 1 {
				t.Fatalf("%d redeemed the code", winners.Load())
			}
		}
	})
}

func TestT04_CodeIsBoundToItsClient(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app, api := r.App(management.ClientSpec{}), r.ResourceServer()
	others := []*rig.App{
		r.App(management.ClientSpec{Name: "Other"}), r.App(management.ClientSpec{Name: "Other public", Public: true}),
	}
	code := r.Browser().SignIn(r.Alice.Email).Code(app, "read")
	for _, other := range others {
		refused(t, r.PostAs(other, "/oauth/token", codeForm(app, code)), http.StatusBadRequest, oauth.InvalidGrant)
		refused(t, r.PostAs(other, "/oauth/token", with(codeForm(app, code), "code_verifier", "wrong")),
			http.StatusBadRequest, oauth.InvalidGrant)
	}
	access, refresh := granted(t, r.Exchange(app, code))
	// Used codes remain in histories and logs: another client that sends one revokes nothing (fosite checks the use
	// before the client).
	for _, other := range others {
		refused(t, r.PostAs(other, "/oauth/token", codeForm(app, code)), http.StatusBadRequest, oauth.InvalidGrant)
	}
	if !r.Alive(api, access) || !r.Alive(app, refresh) {
		t.Error("another client's replay revoked the family")
	}
}

func TestT05_OtherRedirectURIIsRefusedAMissingOneIsNot(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app := r.App(management.ClientSpec{})
	b := r.Browser().SignIn(r.Alice.Email)
	code := b.Code(app, "read")
	for _, uri := range []string{
		app.RedirectURIs[1], app.Redirect + "/", app.Redirect + "?", "https://APP.example/cb", "https://attacker.example/cb",
		" ",
	} {
		a := r.PostAs(app, "/oauth/token", with(codeForm(app, code), "redirect_uri", uri))
		refused(t, a, http.StatusBadRequest, oauth.InvalidGrant)
		if !strings.Contains(a.Text("error_description"), "redirect_uri") {
			t.Errorf("%q does not say what is wrong", a.Text("error_description"))
		}
	}
	granted(t, r.Exchange(app, code))
	granted(t, r.PostAs(app, "/oauth/token", with(codeForm(app, b.Code(app, "read")), "redirect_uri", "")))
}

func TestT05_LoopbackRedirectKeepsItsPort(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app := r.App(management.ClientSpec{})
	app.Redirect = "http://127.0.0.1:49152/cb"
	code := r.Browser().SignIn(r.Alice.Email).Code(app, "read")
	for _, uri := range []string{"http://127.0.0.1:49153/cb", "http://127.0.0.1/cb"} {
		refused(t, r.PostAs(app, "/oauth/token", with(codeForm(app, code), "redirect_uri", uri)),
			http.StatusBadRequest, oauth.InvalidGrant)
	}
	granted(t, r.Exchange(app, code))
}

// bothPKCEClients are a client that must use PKCE and one that an administrator has excepted: a challenge, once sent,
// binds both.
func bothPKCEClients(r *rig.Rig) []*rig.App {
	return []*rig.App{
		r.App(management.ClientSpec{}), r.App(management.ClientSpec{Name: "Older than PKCE", PKCEOptional: true}),
		r.App(management.ClientSpec{Name: "Public", Public: true}),
	}
}

func TestT06_WrongVerifierConsumesCode(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	b := r.Browser().SignIn(r.Alice.Email)
	for _, app := range bothPKCEClients(r) {
		code := b.Code(app, "read")
		a := r.PostAs(app, "/oauth/token", with(codeForm(app, code), "code_verifier", strings.Repeat("x", 43)))
		refused(t, a, http.StatusBadRequest, oauth.InvalidGrant)
		if !strings.Contains(a.Text("error_description"), "code_verifier") {
			t.Errorf("%q does not say what is wrong", a.Text("error_description"))
		}
		refused(t, r.Exchange(app, code), http.StatusBadRequest, oauth.InvalidGrant)
	}
}

// The defect of fosite 0.46.1 and later: the challenge is deleted before the verifier is checked, so a second attempt
// without one gets tokens.
func TestT06_T08_PKCECannotBeStrippedByAFailedAttempt(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	b := r.Browser().SignIn(r.Alice.Email)
	for _, app := range bothPKCEClients(r) {
		for _, first := range []string{strings.Repeat("x", 43), "short", rig.Verifier + "x"} {
			code := b.Code(app, "read")
			refused(t, r.PostAs(app, "/oauth/token", with(codeForm(app, code), "code_verifier", first)),
				http.StatusBadRequest, oauth.InvalidGrant)
			refused(t, r.PostAs(app, "/oauth/token", with(codeForm(app, code), "code_verifier", "")),
				http.StatusBadRequest, oauth.InvalidGrant)
		}
	}
}

func TestT08_MissingVerifierConsumesCode(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	b := r.Browser().SignIn(r.Alice.Email)
	for _, app := range bothPKCEClients(r) {
		code := b.Code(app, "read")
		refused(t, r.PostAs(app, "/oauth/token", with(codeForm(app, code), "code_verifier", "")),
			http.StatusBadRequest, oauth.InvalidGrant)
		refused(t, r.Exchange(app, code), http.StatusBadRequest, oauth.InvalidGrant)
	}
}

// RFC 9700, section 2.1.1: a verifier without a challenge is a sign of a downgrade attack.
func TestT08_VerifierWithoutChallengeIsRefused(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app := r.App(management.ClientSpec{PKCEOptional: true})
	b := r.Browser().SignIn(r.Alice.Email)
	code := func() string {
		a := b.Authorize(with(app.Params("read"), "code_challenge", "", "code_challenge_method", ""))
		if a.Location == nil {
			a = b.Decide(a, "approve")
		}
		return a.Param("code")
	}
	one := code()
	refused(t, r.Exchange(app, one), http.StatusBadRequest, oauth.InvalidGrant)
	refused(t, r.PostAs(app, "/oauth/token", with(codeForm(app, one), "code_verifier", "")),
		http.StatusBadRequest, oauth.InvalidGrant)
	granted(t, r.PostAs(app, "/oauth/token", with(codeForm(app, code()), "code_verifier", "")))
	// The exception ends between authorize and token: a code issued without PKCE is invalid then.
	late := code()
	change(r, app, func(p *management.ClientSpec) { p.PKCEOptional = false })
	refused(t, r.PostAs(app, "/oauth/token", with(codeForm(app, late), "code_verifier", "")),
		http.StatusBadRequest, oauth.InvalidGrant)
}

func TestT09_MalformedVerifierIsRefused(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app := r.App(management.ClientSpec{})
	b := r.Browser().SignIn(r.Alice.Email)
	for name, verifier := range map[string]string{
		"42 characters":   rig.Verifier[:42],
		"129 characters":  strings.Repeat("a", 129),
		"a space inside":  rig.Verifier[:20] + " " + rig.Verifier[21:],
		"a space after":   rig.Verifier + " ",
		"a newline after": rig.Verifier + "\n",
		"padded":          rig.Verifier + "=",
		"its challenge":   rig.Challenge,
		"other case":      strings.ToUpper(rig.Verifier), "not ASCII": rig.Verifier[:42] + "é",
	} {
		t.Run(name, func(t *testing.T) {
			refused(t, r.PostAs(app, "/oauth/token", with(codeForm(app, b.Code(app, "read")), "code_verifier", verifier)),
				http.StatusBadRequest, oauth.InvalidGrant)
		})
	}
}

func TestT10_CodeLivesAMinute(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app := r.App(management.ClientSpec{})
	b := r.Browser().SignIn(r.Alice.Email)
	advance := stopClock(r)
	in, out := b.Code(app, "read"), b.Code(app, "read")
	advance(time.Minute - time.Microsecond)
	granted(t, r.Exchange(app, in))
	advance(time.Microsecond)
	refused(t, r.Exchange(app, out), http.StatusBadRequest, oauth.InvalidGrant)
	advance(time.Second)
	refused(t, r.Exchange(app, out), http.StatusBadRequest, oauth.InvalidGrant)
}

func TestCodeSurvivesAFailedExchange(t *testing.T) {
	for _, step := range []struct{ verb, table string }{
		{"UPDATE", "codes"}, {"INSERT", "access_tokens"}, {"INSERT", "refresh_tokens"},
	} {
		t.Run(step.verb+" "+step.table, func(t *testing.T) {
			eachWithOwner(t, rig.Options{}, func(t *testing.T, r *rig.Rig, owner func(string)) {
				app, api := r.App(management.ClientSpec{}), r.ResourceServer()
				code := r.Browser().SignIn(r.Alice.Email).Code(app, "read")
				restore := breakWrites(r, owner, step.verb, step.table)
				refused(t, r.Exchange(app, code), http.StatusServiceUnavailable, oauth.TemporarilyUnavailable)
				restore()
				access, refresh := granted(t, r.Exchange(app, code))
				if !r.Alive(api, access) || !r.Alive(app, refresh) {
					t.Error("tokens after the retry are inactive")
				}
			})
		})
	}
}

// A family that could not be revoked must not look as if it had been: the client would take the incident as closed.
func TestReplayThatCouldNotRevokeSaysSo(t *testing.T) {
	eachWithOwner(t, rig.Options{}, func(t *testing.T, r *rig.Rig, owner func(string)) {
		app, api := r.App(management.ClientSpec{}), r.ResourceServer()
		code := r.Browser().SignIn(r.Alice.Email).Code(app, "read")
		access, refresh := granted(t, r.Exchange(app, code))
		second, successor := granted(t, r.Refresh(app, refresh))
		r.Advance(time.Minute)
		restore := breakWrites(r, owner, "UPDATE", "grants")
		refused(t, r.Exchange(app, code), http.StatusServiceUnavailable, oauth.TemporarilyUnavailable)
		refused(t, r.Refresh(app, refresh), http.StatusServiceUnavailable, oauth.TemporarilyUnavailable)
		refused(t, r.PostAs(app, "/oauth/revoke", url.Values{"token": {access}}), http.StatusServiceUnavailable,
			oauth.TemporarilyUnavailable)
		if !r.Alive(api, access) {
			t.Fatal("the family was revoked after all")
		}
		restore()
		refused(t, r.Refresh(app, refresh), http.StatusBadRequest, oauth.InvalidGrant)
		dead(t, r, app, api, access, "")
		dead(t, r, app, api, second, successor)
	})
}
