package security

import (
	"net/http"
	"net/url"
	"testing"
	"time"

	"doorward/management"
	"doorward/oauth"
	"doorward/oauth/bearer"
	"doorward/storage"
	"doorward/test/rig"
)

// Refresh tokens at the token endpoint.

const reuseWindow = 10 * time.Second

func TestT20_ReuseAfterTheWindowRevokesTheFamily(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app, api := r.App(management.ClientSpec{}), r.ResourceServer()
	advance := stopClock(r)
	access0, refresh0 := r.Tokens(app, "read")
	access1, refresh1 := granted(t, r.Refresh(app, refresh0))
	access2, refresh2 := granted(t, r.Refresh(app, refresh1))
	advance(reuseWindow)
	refused(t, r.Refresh(app, refresh0), http.StatusBadRequest, oauth.InvalidGrant)
	// The revocation is committed although the response is an error.
	dead(t, r, app, api, access0, refresh0)
	dead(t, r, app, api, access1, refresh1)
	dead(t, r, app, api, access2, refresh2)
	if left := r.Grants(r.Alice.ID); len(left) != 0 {
		t.Errorf("%d families are active", len(left))
	}
}

func TestT20_ReuseOfAnyGenerationRevokesOnlyItsFamily(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app, api := r.App(management.ClientSpec{Public: true, RedirectURIs: []string{"https://app.example/cb"}}),
		r.ResourceServer()
	generations := make([]string, 4)
	_, generations[0] = r.Tokens(app, "read")
	otherAccess, otherRefresh := r.Tokens(app, "read")
	var access string
	for i := range generations[1:] {
		access, generations[i+1] = granted(t, r.Refresh(app, generations[i]))
	}
	r.Advance(reuseWindow + time.Second)
	refused(t, r.Refresh(app, generations[2]), http.StatusBadRequest, oauth.InvalidGrant)
	dead(t, r, app, api, access, generations[3])
	if !r.Alive(api, otherAccess) {
		t.Error("another family of the same user and client ended too")
	}
	granted(t, r.Refresh(app, otherRefresh))
}

// A request to narrow or widen the scope, or to name a resource, with a used token still counts as reuse.
func TestT20_ReuseCountsDespiteOtherErrors(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app, api := r.App(management.ClientSpec{}), r.ResourceServer()
	for name, pair := range map[string][2]string{
		"wider scope":      {"scope", "read delete"},
		"foreign resource": {"resource", "https://nowhere.example"},
	} {
		t.Run(name, func(t *testing.T) {
			_, first := r.Tokens(app, "read")
			access, second := granted(t, r.Refresh(app, first))
			r.Advance(reuseWindow + time.Second)
			refused(t, r.PostAs(app, "/oauth/token", with(refreshForm(first), pair[0], pair[1])),
				http.StatusBadRequest, oauth.InvalidGrant)
			dead(t, r, app, api, access, second)
		})
	}
}

func TestT21_RetryWithinTheWindowGetsTheSameSuccessor(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app, api := r.App(management.ClientSpec{}), r.ResourceServer()
	advance := stopClock(r)
	_, refresh := r.Tokens(app, "read")
	access1, successor := granted(t, r.Refresh(app, refresh))
	advance(reuseWindow - time.Microsecond)
	access2, same := granted(t, r.Refresh(app, refresh))
	if same != successor || access2 == access1 {
		t.Errorf("the retry gave another successor, or the same access token")
	}
	if !r.Alive(api, access1) || !r.Alive(api, access2) || !r.Alive(app, successor) || r.Alive(app, refresh) {
		t.Error("tokens are not active as they should be")
	}
	_, third := granted(t, r.Refresh(app, successor))
	// Also after the successor was used: the successor of the successor is not returned.
	_, same = granted(t, r.Refresh(app, refresh))
	if same != successor || third == successor {
		t.Error("a late retry gave another successor")
	}
	granted(t, r.Refresh(app, third))
}

func TestT21_RepeatsAreBoundedAndRevokeNothing(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app, api := r.App(management.ClientSpec{}), r.ResourceServer()
	stopClock(r)
	_, refresh := r.Tokens(app, "read")
	access, successor := granted(t, r.Refresh(app, refresh))
	for range storage.MaxRefreshRepeats {
		if _, same := granted(t, r.Refresh(app, refresh)); same != successor {
			t.Fatal("a repeat gave another successor")
		}
	}
	for range 3 {
		refused(t, r.Refresh(app, refresh), http.StatusBadRequest, oauth.InvalidGrant)
	}
	if !r.Alive(api, access) {
		t.Error("too many repeats revoked the family")
	}
	granted(t, r.Refresh(app, successor))
}

func TestT21_NoRetryOnceTheFamilyIsRevoked(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app, api := r.App(management.ClientSpec{}), r.ResourceServer()
	stopClock(r)
	_, refresh := r.Tokens(app, "read")
	access, successor := granted(t, r.Refresh(app, refresh))
	if a := r.PostAs(app, "/oauth/revoke", url.Values{"token": {refresh}}); a.Status != http.StatusOK {
		t.Fatalf("revocation answered %d %s", a.Status, a.Body)
	}
	dead(t, r, app, api, access, refresh)
	dead(t, r, app, api, "", successor)
}

func TestT23_RefreshTokenIsBoundToItsClient(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app, api := r.App(management.ClientSpec{}), r.ResourceServer()
	others := []*rig.App{
		r.App(management.ClientSpec{Name: "Other"}), r.App(management.ClientSpec{Name: "Other public", Public: true}),
	}
	access, refresh := r.Tokens(app, "read")
	_, successor := granted(t, r.Refresh(app, refresh))
	r.Advance(reuseWindow + time.Second)
	// Also a used one (fosite checks the use before the client): a client that finds it in a log cannot revoke anything
	// with it.
	for _, other := range others {
		refused(t, r.Refresh(other, successor), http.StatusBadRequest, oauth.InvalidGrant)
		refused(t, r.Refresh(other, refresh), http.StatusBadRequest, oauth.InvalidGrant)
	}
	if !r.Alive(api, access) || !r.Alive(app, successor) {
		t.Error("another client revoked the family")
	}
	granted(t, r.Refresh(app, successor))
}

func TestT24_WiderScopeIsRefusedAndConsumesNothing(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app := r.App(management.ClientSpec{})
	_, refresh := r.Tokens(app, "read write")
	for _, scope := range []string{
		"read write delete", "delete", "admin", "openid", "READ", "read,write", "read write read delete",
	} {
		a := r.PostAs(app, "/oauth/token", with(refreshForm(refresh), "scope", scope))
		refused(t, a, http.StatusBadRequest, oauth.InvalidScope)
	}
	if !r.Alive(app, refresh) {
		t.Error("a refused request consumed the refresh token")
	}
	granted(t, r.Refresh(app, refresh))
}

func TestT25_NarrowerScopeIsForTheAccessTokenOnly(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app, api := r.App(management.ClientSpec{}), r.ResourceServer()
	_, refresh := r.Tokens(app, "read write")
	for _, want := range []struct{ asked, got string }{
		{"read", "read"}, {"write read write", "write read"}, {"", "read write"},
	} {
		a := r.PostAs(app, "/oauth/token", with(refreshForm(refresh), "scope", want.asked))
		access, next := granted(t, a)
		if seen := r.Introspect(api, access).Text("scope"); a.Text("scope") != want.got || seen != want.got {
			t.Errorf("asked %q: got %q, introspection says %q, want %q", want.asked, a.Text("scope"), seen, want.got)
		}
		refresh = next
	}
}

func TestT26_LostScopeIsDropped(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app, api := r.App(management.ClientSpec{}), r.ResourceServer()
	_, refresh := r.Tokens(app, "read write delete")
	next := func(want string) {
		t.Helper()
		a := r.Refresh(app, refresh)
		var access string
		access, refresh = granted(t, a)
		if seen := r.Introspect(api, access).Text("scope"); a.Text("scope") != want || seen != want {
			t.Errorf("got %q, introspection says %q, want %q", a.Text("scope"), seen, want)
		}
	}
	change(r, app, func(p *management.ClientSpec) { p.Scopes = []string{"read", "write"} })
	next("read write")
	refused(t, r.PostAs(app, "/oauth/token", with(refreshForm(refresh), "scope", "delete")),
		http.StatusBadRequest, oauth.InvalidScope)
	r.SQL(`UPDATE memberships SET role = 'viewer' WHERE user_id = $1`, r.Alice.ID)
	next("read")
	change(r, app, func(p *management.ClientSpec) { p.Scopes = []string{"write", "delete"} })
	refused(t, r.Refresh(app, refresh), http.StatusBadRequest, oauth.InvalidGrant)
}

func TestT28_RefreshTokenHasIdleAndAbsoluteExpiry(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	const day = 24 * time.Hour
	app := r.App(management.ClientSpec{})
	advance := stopClock(r)
	_, idle := r.Tokens(app, "read")
	_, busy := r.Tokens(app, "read")
	advance(7*day - time.Microsecond)
	_, busy = granted(t, r.Refresh(app, busy))
	advance(time.Microsecond)
	refused(t, r.Refresh(app, idle), http.StatusBadRequest, oauth.InvalidGrant)
	for range 22 { // days 8 to 29
		advance(day)
		_, busy = granted(t, r.Refresh(app, busy))
	}
	advance(day - time.Microsecond)
	_, busy = granted(t, r.Refresh(app, busy))
	advance(time.Microsecond) // 30 days after the authorization
	refused(t, r.Refresh(app, busy), http.StatusBadRequest, oauth.InvalidGrant)
	if r.Alive(app, busy) {
		t.Error("introspection reports the token as active")
	}
}

func TestT29_NearlyTheRefreshTokenIsNotIt(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app := r.App(management.ClientSpec{})
	_, refresh := r.Tokens(app, "read")
	_, another := r.Tokens(app, "read")
	_, used := granted(t, r.Refresh(app, refresh))
	r.Advance(reuseWindow + time.Second)
	for name, text := range misspellings(refresh, another) {
		t.Run(name, func(t *testing.T) {
			refused(t, r.Refresh(app, text), http.StatusBadRequest, oauth.InvalidGrant)
		})
	}
	// Nor did one of them count as the used token that it resembles.
	granted(t, r.Refresh(app, used))
}

func TestT30_AccessAndRefreshTokensAreNotEachOther(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app, api := r.App(management.ClientSpec{}), r.ResourceServer()
	b := r.Browser().SignIn(r.Alice.Email)
	code := b.Code(app, "read")
	access, refresh := granted(t, r.Exchange(app, b.Code(app, "read")))
	for name, text := range map[string]string{
		"access token": access, "code": code, "client secret": app.Secret, "client id": app.ID,
		"access token under the other prefix": bearer.PrefixRefreshToken + access[len(bearer.PrefixAccessToken):],
	} {
		t.Run(name, func(t *testing.T) {
			refused(t, r.Refresh(app, text), http.StatusBadRequest, oauth.InvalidGrant)
		})
	}
	if !r.Alive(api, access) || r.Alive(api, refresh) {
		t.Error("a resource server accepts a refresh token, or the access token was revoked by being shown")
	}
	refused(t, r.Post("/oauth/introspect", url.Values{"token": {access}}, "Authorization", "Bearer "+refresh),
		http.StatusUnauthorized, oauth.InvalidClient)
}

func TestT31_ReuseAfterARestartRevokesTheFamily(t *testing.T) {
	eachURL(t, func(t *testing.T, url string) {
		r := restart(t, url, nil, rig.Options{})
		app, api := r.App(management.ClientSpec{}), r.ResourceServer()
		_, first := r.Tokens(app, "read")
		access, second := granted(t, r.Refresh(app, first))
		r = restart(t, url, r, rig.Options{})
		r.Store.SetClock(func() time.Time { return time.Now().Add(time.Minute) })
		if !r.Alive(api, access) {
			t.Fatal("the restart revoked the family")
		}
		refused(t, r.Refresh(app, first), http.StatusBadRequest, oauth.InvalidGrant)
		dead(t, r, app, api, access, second)
		// And it stays revoked.
		r = restart(t, url, r, rig.Options{})
		dead(t, r, app, api, access, second)
	})
}

// The client's grant types decide; offline_access is not needed.
func TestT32_RefreshTokenComesWithTheGrantType(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	with := r.App(management.ClientSpec{})
	without := r.App(management.ClientSpec{
		Grants: []string{oauth.GrantAuthorizationCode}, RedirectURIs: []string{"https://app.example/cb"},
	})
	b := r.Browser().SignIn(r.Alice.Email)
	if _, refresh := granted(t, r.Exchange(with, b.Code(with, "read"))); refresh == "" {
		t.Error("no refresh token")
	}
	a := r.Exchange(without, b.Code(without, "read"))
	granted(t, a)
	if _, has := a.JSON()["refresh_token"]; has {
		t.Errorf("a client without the grant type got a refresh token: %s", a.Body)
	}
	_, refresh := granted(t, r.Exchange(with, b.Code(with, "read")))
	change(r, with, func(p *management.ClientSpec) { p.Grants = []string{oauth.GrantAuthorizationCode} })
	refused(t, r.Refresh(with, refresh), http.StatusBadRequest, oauth.UnauthorizedClient)
}

func TestRefreshTokenSurvivesAFailedRefresh(t *testing.T) {
	for _, step := range []struct{ verb, table string }{
		{"UPDATE", "refresh_tokens"}, {"INSERT", "access_tokens"}, {"INSERT", "refresh_tokens"},
	} {
		t.Run(step.verb+" "+step.table, func(t *testing.T) {
			eachWithOwner(t, rig.Options{Lifetimes: oauth.Lifetimes{RefreshReuseWindow: -1}},
				func(t *testing.T, r *rig.Rig, owner func(string)) {
					app, api := r.App(management.ClientSpec{}), r.ResourceServer()
					_, refresh := r.Tokens(app, "read")
					restore := breakWrites(r, owner, step.verb, step.table)
					refused(t, r.Refresh(app, refresh), http.StatusServiceUnavailable, oauth.TemporarilyUnavailable)
					restore()
					// Without a reuse window, a token that counted as used would revoke its family now.
					access, next := granted(t, r.Refresh(app, refresh))
					if !r.Alive(api, access) || !r.Alive(app, next) {
						t.Error("tokens after the retry are inactive")
					}
				})
		})
	}
}

func TestRefreshStopsWithTheUserAndComesBack(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app, api := r.App(management.ClientSpec{}), r.ResourceServer()
	access, refresh := r.Tokens(app, "read")
	r.SQL(`UPDATE users SET disabled_at = 1 WHERE id = $1`, r.Alice.ID)
	refused(t, r.Refresh(app, refresh), http.StatusBadRequest, oauth.InvalidGrant)
	if r.Alive(api, access) {
		t.Error("the access token of a disabled user is active")
	}
	r.SQL(`UPDATE users SET disabled_at = NULL WHERE id = $1`, r.Alice.ID)
	granted(t, r.Refresh(app, refresh))
}
