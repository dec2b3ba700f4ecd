package vendors

import (
	"net/http"
	"strings"
	"testing"
)

var roles = []string{"viewer", "member", "admin", "owner"}

func TestSophic12_TheLowerRoleCounts(t *testing.T) {
	v := running(t)
	w := &way{vendor: v, t: t, base: v.api}
	// One user for each role in a workspace of the owner's, with a personal access token for each lower role; created once
	// for both ways.
	slug := w.another()
	tokens := map[string]map[string]string{}
	for _, role := range roles {
		email := role + w.next() + "@example.com"
		w.command(t, password, "user", "create", "--email", email, "--name", role, "--password-stdin")
		w.command(t, "", "workspace", "member", "add", slug, email, "--role", role)
		p, err := v.signIn(email)
		ok(t, err)
		tokens[role] = map[string]string{}
		for _, down := range append([]string{""}, roles...) {
			member := ""
			if down != "" {
				member = `,"role":"` + down + `"`
			}
			tokens[role][down] = (&way{vendor: v, t: t, base: v.api, as: p}).token(capture + member).text
		}
	}
	each(t, func(t *testing.T, w *way) {
		for i, role := range roles {
			for j, down := range append([]string{""}, roles...) {
				want := role
				if j > 0 && j-1 < i {
					want = down
				}
				a := w.get(documents, tokens[role][down], header("x-sophic-workspace", slug))
				if got := w.told(a).Get("X-Auth-Role"); a.status != http.StatusOK || got != want {
					t.Errorf("%s with a token for %q acts as %q, want %s: %s", role, down, got, want, a)
				}
				status := http.StatusCreated
				if want == "viewer" {
					status = http.StatusForbidden
				}
				w.want(role+" with a token for "+down+" captures",
					w.request(http.MethodPost, ingest, tokens[role][down], note1, header("x-sophic-workspace", slug)), status)
			}
		}
	})
}

func TestSophic13_RolesCountAtOnce(t *testing.T) {
	each(t, func(t *testing.T, w *way) {
		one, two := w.another(), w.another()
		email := "mover" + w.next() + "@example.com"
		w.command(t, password, "user", "create", "--email", email, "--name", "Mo", "--password-stdin")
		for _, slug := range []string{one, two} {
			w.command(t, "", "workspace", "member", "add", slug, email, "--role", "member")
		}
		token, _ := w.command(t, "", "token", "create", "--user", email, "--name", "T", "--scope",
			"read capture")["token"].(string)
		add := func(slug string) *answer {
			return w.request(http.MethodPost, ingest, token, note1, header("x-sophic-workspace", slug))
		}
		w.want("as member", add(one), http.StatusCreated)
		w.command(t, "", "workspace", "member", "role", one, email, "viewer")
		w.want("as viewer", add(one), http.StatusForbidden)
		w.want("reading as viewer", w.get(documents, token, header("x-sophic-workspace", one)), http.StatusOK)
		w.command(t, "", "workspace", "member", "remove", one, email)
		w.want("removed", w.get(documents, token, header("x-sophic-workspace", one)), http.StatusForbidden)
		w.want("elsewhere", add(two), http.StatusCreated)
	})
}

func TestSophic14_ForeignAndMissingWorkspacesLookAlike(t *testing.T) {
	each(t, func(t *testing.T, w *way) {
		email, slug := "stranger"+w.next()+"@example.com", "strangers-"+w.next()
		w.command(t, password, "user", "create", "--email", email, "--name", "Str", "--password-stdin")
		w.command(t, "", "workspace", "create", "--name", "Strangers", "--slug", slug, "--owner", email)
		token := w.token(readOnly)
		var first *answer
		for _, named := range []string{slug, "there-is-none-" + w.next(), "No Slug!", strings.Repeat("x", 300)} {
			a := w.get(documents, token.text, header("x-sophic-workspace", named))
			w.want(named, a, http.StatusForbidden)
			if first == nil {
				first = a
			}
			if a.body != first.body || a.header.Get("WWW-Authenticate") != first.header.Get("WWW-Authenticate") {
				t.Errorf("%.40s: answered %s, where another foreign one is %s", named, a, first)
			}
		}
	})
}

func TestSophic15_WithoutAndWithAWrongHeader(t *testing.T) {
	each(t, func(t *testing.T, w *way) {
		a := w.get(documents, w.token(readOnly).text)
		if a.status != http.StatusBadRequest || !strings.Contains(a.text("message"), "sophic-workspace") {
			t.Errorf("a token without the header: %s", a)
		}
		w.want("a key with another's",
			w.get(documents, w.key(team, readOnly).text, header("x-sophic-workspace", w.another())), http.StatusForbidden)
	})
}
