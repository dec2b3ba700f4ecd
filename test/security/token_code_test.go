package security

import (
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"doorward/management"
	"doorward/oauth"
	"doorward/oauth/catalog"
	"doorward/storage"
	"doorward/test/rig"
)

// Authorization codes at the token endpoint.

func TestT01_CodeUsedTwiceRevokesItsTokens(t *testing.T) {
	rig.Each(t, rig.Options{}, func(t *testing.T, r *rig.Rig) {
		app, api := r.App(management.ClientSpec{}), r.ResourceServer()
		code := r.Browser().SignIn(r.Alice.Email).Code(app, "read")
		access, refresh := granted(t, r.Exchange(app, code))
		refused(t, r.Exchange(app, code), http.StatusBadRequest, oauth.InvalidGrant)
		dead(t, r, app, api, access, refresh)
	})
}

func TestT01_CodeUsedTwiceRevokesTokensRefreshedSince(t *testing.T) {
	rig.Each(t, rig.Options{}, func(t *testing.T, r *rig.Rig) {
		app, api := r.App(management.ClientSpec{}), r.ResourceServer()
		code := r.Browser().SignIn(r.Alice.Email).Code(app, "read")
		first, refresh := granted(t, r.Exchange(app, code))
		second, successor := granted(t, r.Refresh(app, refresh))
		// A replay without the verifier or the redirect URI is still a replay.
		refused(t, r.PostAs(app, "/oauth/token", with(codeForm(app, code), "code_verifier", "")),
			http.StatusBadRequest, oauth.InvalidGrant)
		dead(t, r, app, api, first, refresh)
		dead(t, r, app, api, second, successor)
	})
}

func TestT02_CodeUsedAgainHalfAMinuteLater(t *testing.T) {
	rig.Each(t, rig.Options{}, func(t *testing.T, r *rig.Rig) {
		app, api := r.App(management.ClientSpec{}), r.ResourceServer()
		code := r.Browser().SignIn(r.Alice.Email).Code(app, "read")
		access, refresh := granted(t, r.Exchange(app, code))
		r.Advance(30 * time.Second)
		refused(t, r.Exchange(app, code), http.StatusBadRequest, oauth.InvalidGrant)
		dead(t, r, app, api, access, refresh)
	})
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
			t.Errorf("%d families are alive after a code was used %d times", len(left), crowd)
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
	rig.Each(t, rig.Options{}, func(t *testing.T, r *rig.Rig) {
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
			t.Error("another client's replay ended the family")
		}
	})
}

func TestT05_OtherRedirectURIIsRefusedAMissingOneIsNot(t *testing.T) {
	rig.Each(t, rig.Options{}, func(t *testing.T, r *rig.Rig) {
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
	})
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
	rig.Each(t, rig.Options{}, func(t *testing.T, r *rig.Rig) {
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
	})
}

// The defect of fosite 0.46.1 and later: the challenge is deleted before the verifier is checked, so a second attempt
// without one gets tokens.
func TestT06_T08_PKCECannotBeStrippedByAFailedAttempt(t *testing.T) {
	rig.Each(t, rig.Options{}, func(t *testing.T, r *rig.Rig) {
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
	})
}

func TestT08_MissingVerifierConsumesCode(t *testing.T) {
	rig.Each(t, rig.Options{}, func(t *testing.T, r *rig.Rig) {
		b := r.Browser().SignIn(r.Alice.Email)
		for _, app := range bothPKCEClients(r) {
			code := b.Code(app, "read")
			refused(t, r.PostAs(app, "/oauth/token", with(codeForm(app, code), "code_verifier", "")),
				http.StatusBadRequest, oauth.InvalidGrant)
			refused(t, r.Exchange(app, code), http.StatusBadRequest, oauth.InvalidGrant)
		}
	})
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
	rig.Each(t, rig.Options{}, func(t *testing.T, r *rig.Rig) {
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
	})
}

// misspellings returns texts that differ only slightly from a credential.
func misspellings(text, another string) map[string]string {
	body := len("dw_xx_")
	flipped := []byte(text)
	flipped[len(flipped)-1] ^= 1
	flippedBody := []byte(text)
	flippedBody[body] ^= 1
	return map[string]string{
		"last bit flipped":       string(flipped),
		"first bit flipped":      string(flippedBody),
		"newline inside":         text[:20] + "\n" + text[20:],
		"newline after":          text + "\n",
		"space before":           " " + text,
		"space after":            text + " ",
		"prefix cut":             text[body:],
		"prefix in capitals":     strings.ToUpper(text[:body]) + text[body:],
		"prefix twice":           text[:body] + text,
		"two halves of two":      text[:len(text)/2] + another[len(another)/2:],
		"checksum of another":    text[:len(text)-6] + another[len(another)-6:],
		"one short":              text[:len(text)-1],
		"one long":               text + "0",
		"its digest":             hex.EncodeToString(storage.Digest(text)),
		"full-width digits":      text[:len(text)-1] + "９",
		"something before a dot": "x." + text,
	}
}

func TestT11_NearlyTheCodeIsNotTheCode(t *testing.T) {
	rig.Each(t, rig.Options{}, func(t *testing.T, r *rig.Rig) {
		app := r.App(management.ClientSpec{})
		b := r.Browser().SignIn(r.Alice.Email)
		code, another := b.Code(app, "read"), b.Code(app, "read")
		for name, text := range misspellings(code, another) {
			t.Run(name, func(t *testing.T) {
				refused(t, r.Exchange(app, text), http.StatusBadRequest, oauth.InvalidGrant)
			})
		}
		granted(t, r.Exchange(app, code))
	})
}

func TestT12_OtherSecretsAreNotCodes(t *testing.T) {
	rig.Each(t, rig.Options{}, func(t *testing.T, r *rig.Rig) {
		app, api := r.App(management.ClientSpec{}), r.ResourceServer()
		access, refresh := r.Tokens(app, "read")
		b := r.Browser()
		page := b.Get("/oauth/authorize?" + app.Params("read").Encode())
		flow := page.Param("flow")
		if flow == "" {
			t.Fatalf("no flow in %v", page.Location)
		}
		b.SignIn(r.Alice.Email)
		texts := map[string]string{
			"refresh token": refresh,
			"access token":  access,
			"client secret": app.Secret,
			"state":         app.Params("").Get("state"),
			"flow":          flow,
			"client id":     app.ID,
		}
		for _, c := range b.Cookies() {
			texts["cookie "+c.Name] = c.Value
		}
		for name, text := range texts {
			t.Run(name, func(t *testing.T) {
				refused(t, r.Exchange(app, text), http.StatusBadRequest, oauth.InvalidGrant)
			})
		}
		if !r.Alive(api, access) || !r.Alive(app, refresh) {
			t.Error("a token shown as a code died of it")
		}
	})
}

func TestT13_CodeIsRevokedWithItsClientUserOrGrant(t *testing.T) {
	cases := map[string]struct {
		end  func(t *testing.T, r *rig.Rig, app *rig.App)
		want string
	}{
		"user disabled": {func(_ *testing.T, r *rig.Rig, _ *rig.App) {
			r.SQL(`UPDATE users SET disabled_at = 1 WHERE id = $1`, r.Alice.ID)
		}, oauth.InvalidGrant},
		"user deleted": {
			func(_ *testing.T, r *rig.Rig, _ *rig.App) { r.SQL(`DELETE FROM users WHERE id = $1`, r.Alice.ID) },
			oauth.InvalidGrant,
		},
		"removed from the workspace": {func(_ *testing.T, r *rig.Rig, _ *rig.App) {
			r.SQL(`DELETE FROM memberships WHERE user_id = $1`, r.Alice.ID)
		}, oauth.InvalidGrant},
		"workspace disabled": {
			func(_ *testing.T, r *rig.Rig, _ *rig.App) { r.SQL(`UPDATE workspaces SET disabled_at = 1`) },
			oauth.InvalidGrant,
		},
		"consent withdrawn": {func(_ *testing.T, r *rig.Rig, app *rig.App) { endAccess(r, app) }, oauth.InvalidGrant},
		"client lost every scope of it": {func(_ *testing.T, r *rig.Rig, app *rig.App) {
			change(r, app, func(p *management.ClientSpec) { p.Scopes = []string{"delete"} })
		}, oauth.InvalidGrant},
		"client lost the grant type": {func(_ *testing.T, r *rig.Rig, app *rig.App) {
			change(r, app, func(p *management.ClientSpec) {
				p.RedirectURIs, p.Grants = nil, []string{oauth.GrantClientCredentials}
			})
		}, oauth.UnauthorizedClient},
		"client disabled": {func(t *testing.T, r *rig.Rig, app *rig.App) {
			if err := r.Store.DisableClient(r.System(), app.ID, "administrator"); err != nil {
				t.Fatal(err)
			}
		}, oauth.InvalidClient},
		"client deleted": {func(t *testing.T, r *rig.Rig, app *rig.App) {
			if err := r.Store.DeleteClient(r.System(), app.ID); err != nil {
				t.Fatal(err)
			}
		}, oauth.InvalidClient},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			rig.Each(t, rig.Options{}, func(t *testing.T, r *rig.Rig) {
				app := r.App(management.ClientSpec{})
				b := r.Browser().SignIn(r.Alice.Email)
				fresh := b.Code(app, "read")
				_, refresh := granted(t, r.Exchange(app, b.Code(app, "read")))
				c.end(t, r, app)
				status := http.StatusBadRequest
				if c.want == oauth.InvalidClient {
					status = http.StatusUnauthorized
				}
				refused(t, r.Exchange(app, fresh), status, c.want)
				if c.want != oauth.UnauthorizedClient {
					refused(t, r.Refresh(app, refresh), status, c.want)
				}
			})
		})
	}
}

// twoResources is a configuration with two APIs that have scopes of the same name.
func twoResources() []catalog.Resource {
	scopes := []catalog.Scope{
		{Name: "read", Text: "Read"},
		{Name: "write", Text: "Write", Implies: []string{"capture"}},
		{Name: "capture", Text: "Add as you", UserOnly: true},
		{Name: "me", Text: "Know you", UserOnly: true},
	}
	return []catalog.Resource{
		{ID: "https://one.example", Name: "One", Scopes: scopes},
		{ID: "https://two.example", Name: "Two", Scopes: scopes},
		{ID: "https://three.example", Name: "Three", Scopes: []catalog.Scope{{Name: "other", Text: "Other"}}},
	}
}

func TestT14_ExchangeCannotWidenTheGrant(t *testing.T) {
	rig.Each(t, rig.Options{Resources: twoResources()}, func(t *testing.T, r *rig.Rig) {
		app := r.App(management.ClientSpec{
			Scopes: []string{"read", "write"}, Resources: []string{"https://one.example", "https://two.example"},
		})
		api := r.App(management.ClientSpec{Name: "Two", ResourceServer: true, Resources: []string{"https://two.example"}})
		b := r.Browser().SignIn(r.Alice.Email)
		params := with(app.Params("read"), "resource", "https://two.example")
		a := b.Decide(b.Authorize(params), "approve")
		code := a.Param("code")
		for _, resource := range []string{
			"https://one.example", "https://three.example", "https://two.example/x", "https://nowhere.example", r.Issuer,
		} {
			refused(t, r.PostAs(app, "/oauth/token", with(codeForm(app, code), "resource", resource)),
				http.StatusBadRequest, oauth.InvalidTarget)
		}
		tokens := r.PostAs(app, "/oauth/token",
			with(codeForm(app, code), "resource", "https://two.example", "scope", "read write me capture",
				"audience", "https://one.example"))
		access, refresh := granted(t, tokens)
		seen := r.Introspect(api, access)
		if tokens.Text("scope") != "read" || seen.Text("scope") != "read" || seen.Text("aud") != "https://two.example" {
			t.Errorf("granted %q; introspection says %s", tokens.Text("scope"), seen.Body)
		}
		for _, resource := range []string{"https://one.example", "https://three.example"} {
			refused(t, r.PostAs(app, "/oauth/token", with(refreshForm(refresh), "resource", resource)),
				http.StatusBadRequest, oauth.InvalidTarget)
		}
		again, _ := granted(t,
			r.PostAs(app, "/oauth/token",
				with(refreshForm(refresh), "resource", "https://two.example", "audience", "https://one.example")))
		if seen := r.Introspect(api, again); seen.Text("scope") != "read" || seen.Text("aud") != "https://two.example" {
			t.Errorf("after the refresh introspection says %s", seen.Body)
		}
	})
}

// There are no ID tokens: the subject is taken from introspection.
func TestT15_EveryCodeGivesItsOwnUsersTokens(t *testing.T) {
	rig.EachNodes(t, rig.Options{AtOnce: true}, func(t *testing.T, nodes []*rig.Rig) {
		r := nodes[0]
		app, api := r.App(management.ClientSpec{FirstParty: true}), r.ResourceServer()
		people := crowd
		if len(nodes) == 1 || testing.Short() {
			people = 8 // each needs two password hashes
		}
		users, browsers := make([]storage.User, people), make([]*rig.Browser, people)
		for i := range people {
			users[i] = r.User(fmt.Sprintf("user%d@example.com", i), fmt.Sprint("User ", i), false)
			// Before the rush: only a few passwords are checked at a time, and users who wait too long are turned away.
			browsers[i] = nodes[i%len(nodes)].Browser().SignIn(users[i].Email)
		}
		rig.AtOnce(people, func(i int) {
			b := browsers[i]
			a := b.Get("/oauth/authorize?" + app.Params("read").Encode())
			code := a.Param("code")
			if code == "" {
				t.Errorf("no code: %d %s", a.Status, rig.Plain(a.Body))
				return
			}
			other := nodes[(i+1)%len(nodes)]
			tokens := other.Exchange(app, code)
			for range 2 {
				if tokens.Status != http.StatusOK {
					t.Errorf("answered %d %s", tokens.Status, tokens.Body)
					return
				}
				if sub := b.Introspect(api, tokens.Text("access_token")).Text("sub"); sub != users[i].ID {
					t.Errorf("the token of %s is for %q", users[i].ID, sub)
				}
				tokens = other.Refresh(app, tokens.Text("refresh_token"))
			}
		})
	})
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
					t.Error("tokens after the retry are dead")
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
