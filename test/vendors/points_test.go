package vendors

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// point is something that a vendor's page promises.
type point struct {
	number  int
	text    string
	outside string // why it is out of scope; empty if it is tested
}

// list numbers the points in order.
func list(texts ...string) []point {
	points := make([]point, len(texts))
	for i, text := range texts {
		text, outside, _ := strings.Cut(text, " || ")
		points[i] = point{i + 1, text, outside}
	}
	return points
}

// pointsOf holds the points of each vendor. The text after || says why a point is out of scope.
var pointsOf = map[string][]point{
	"sophosic": list(
		"an API key in `Authorization: Bearer` authenticates",
		"a session JWT of the vendor's Supabase project authenticates too, in the same header",
		"live keys begin with `sk_live_`",
		"Settings → API Keys has a button “Generate New Key”, which leads to a key that can be copied",
		"a user has several keys",
		"keys rotate without downtime: two are valid at once",
		"row-level security: as a user, an unfiltered SELECT returns only that user's rows",
		"row-level security isolates tenants; the database refuses to write a row of another tenant",
		"without user and tenant in the session there are no rows",
		"deleting an account deletes keys, tokens, grants and sessions, and its key gets 401 at once",
		"tier free: 100 requests an hour, burst 20",
		"tier pro: 1,000 requests an hour, burst 100",
		"tier enterprise: custom values",
		"each key is counted separately",
		"`X-RateLimit-Limit`, `-Remaining`, `-Reset` as integers, the last in Unix seconds",
		"remaining falls by one with each request and never below 0; reset is in the future",
		"the same 401 body for a missing, malformed, expired and revoked key",
		"the 403 body for another user's resource, a feature outside the tier, a suspended account",
		"the 429 body with `retryAfter`",
		"`Retry-After` is the same number",
		"after the reset the key works again",
		"`GET /oauth/authorize` without `state` and PKCE, scopes separated by `%20`",
		"`POST /oauth/token` as a form with the secret, without `redirect_uri` and `code_verifier`",
		"authorize and token are on the app's host, the API on another",
		"`GET /api/auth/me`: `id` (`user_…`), `email`, `tier`, `created_at`",
		"the same call with a wrong key gets the 401 of point 17",
	),
	"sophic": list(
		"two bearer credentials, a workspace key and a personal access token, are created under Settings → Developer",
		"only their SHA-256 is stored; a dump holds no token, and the digest finds the row",
		"the whole key is shown once",
		"a key belongs to one workspace and cannot reach another's content",
		"scopes `read`, `capture`, `admin`; a new workspace key cannot have `capture`",
		"`GET /documents`, `/search`, `/grep` need `read`",
		"`POST /api/ingest/cli` needs `capture` and a user's credential",
		"a workspace key with `capture` gets 403 there",
		"a personal access token with `capture` passes there, one without gets 403",
		"a personal access token acts in each workspace of its user",
		"`x-sophic-workspace` names the workspace; the header's case does not matter",
		"the effective role is the lower of membership and token: all pairs",
		"a removed member's token is refused there at once and works elsewhere; a lower role takes effect with the next "+
			"request",
		"a workspace that the user is not a member of is refused like one that does not exist",
		"a token without the header gets 400; a key with another workspace's header gets 403",
		"a key needs no header",
		"writes are attributed to the user and the token",
		"MCP: both kinds read, only a personal access token captures",
		"`SOPHIC_PAT`, `SOPHIC_WORKSPACE`, `SOPHIC_API_URL` drive a command-line program",
		"the API is told kind, workspace (id and slug), user, scopes and effective role",
		"an MCP client connects without a client id, and reads in the workspace that its user chooses",
	),
	"torvus": list(
		"a JWT in `Authorization: Bearer`, HS256 in the sample",
		"signing in by password or by an app's OAuth yields an access and a refresh token (by magic link: out of scope)",
		"each request is checked for signature, expiry, issuer, audience",
		"access tokens last 3,600 s",
		"refresh tokens last 7 days, which can be configured",
		"refreshing returns a new access token; after 7 days it fails",
		"several tabs that refresh at once stay signed in",
		"the 401 body for a missing or invalid token",
		"403 for a valid token without permission",
		"419 “Token Expired” for an expired one",
		"a client that refreshes on 419 and retries once succeeds",
		"1,000 requests an hour for users, 100 for others by address, API keys as agreed",
		"`X-RateLimit-*`; the first request of a window leaves 999 of 1,000",
		"answers without authentication have the headers with limit 100",
		"`GET /api/me`: `id` (a UUID), `email`, `created_at`",
		"a token in the URL is never accepted",
		"HTTPS only: `Secure` cookies, plain HTTP refused or redirected",
		"sessions are in HttpOnly cookies",
		"API keys for service accounts, OAuth for third parties",
	),
	"scopien": list(
		"a key `sk_live_…` as bearer on `/v1/*`",
		"the dashboard's form: name, test or live, permissions, rate limit, expiry or never; buttons “Create New Key” and "+
			"“Generate”",
		"a key is shown once",
		"`POST /v1/api-keys` with an admin key: 201 with `id`, `key`, `name`, `scopes`, `rateLimit`, `expiresAt`, "+
			"`createdAt`",
		"without admin it gets 403, and a key grants no more than it has",
		"ids begin with `key_`, times are RFC 3339 with `Z`",
		"test keys `sk_test_`: 100 requests an hour, test data only",
		"live keys `sk_live_`: from 1,000 requests an hour",
		"read is GET; write is POST, PUT and PATCH; delete is DELETE; admin is all",
		"`scopes` as an object of lists",
		"`accounts:[read]`: GET /v1/accounts passes, POST gets 403",
		"an object that is not in it gets 403",
		"the 403 body; `details` names permission and resource",
		"the 401 body; `details` says invalid or revoked",
		"the 429 body; `retryAfter` inside `error`, and in `details`",
		"plans starter, professional, enterprise",
		"every answer about a key has the three `X-RateLimit-*` (a path that is not normalised gets 400 before any key "+
			"is read)",
		"`GET /v1/auth/test` returns the same values as the headers of its answer",
		"`GET /v1/api-keys` lists, without secrets",
		"`DELETE /v1/api-keys/{id}`: the next use gets 401",
		"`PATCH /v1/api-keys/{id}` removes scopes: the next write gets 403",
		"immediate revocation, expiry, usage of each key, keys per application",
		"keys should be rotated every 90 days: their age is shown",
		"OAuth: authorize on the app's host, token on the API's with a JSON body, a refresh token without asking",
		"a wrong or used code is `invalid_grant`, 400, for JSON bodies too",
	),
	"generic": list(
		"a bearer key on all requests, such as `POST /v1/generate`",
		"many keys of an account, each with a purpose",
		"permissions `read`, `write`, `admin`, `webhook`",
		"`read` reads and generates",
		"`write` creates and updates, `webhook` manages webhooks, `admin` everything, deleting included",
		"an invalid key: `INVALID_API_KEY`, 401",
		"an expired key: `EXPIRED_API_KEY` with `expired_at`, 401",
		"no key: `MISSING_API_KEY` with `header`, 401",
		"403 `INSUFFICIENT_PERMISSIONS`, 429 `RATE_LIMIT_EXCEEDED`",
		"every answer other than 2xx has `error.message`",
		"rotation: create, switch, test, delete; both are valid in the meantime",
		"usage can be monitored",
		"`key_id` only for a value that once was a key",
	),
}

// TestEveryPointHasItsTest checks that the list and the tests match.
func TestEveryPointHasItsTest(t *testing.T) {
	packages := map[string]int{}
	entries, err := os.ReadDir(".")
	ok(t, err)
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), e.Name(), nil, 0)
		ok(t, err)
		for _, d := range file.Decls {
			if f, isFunc := d.(*ast.FuncDecl); isFunc {
				if m := pointName.FindStringSubmatch(f.Name.Name); m != nil {
					packages[strings.ToLower(m[1])+m[2]]++
				}
			}
		}
	}
	two := regexp.MustCompile(`^(.*?)([0-9]+)$`)
	for vendor, points := range pointsOf {
		for _, p := range points {
			name := vendor + strings.Repeat("0", 2-len(strconv.Itoa(p.number))) + strconv.Itoa(p.number)
			switch n := packages[name]; {
			case p.outside == "" && n != 1:
				t.Errorf("%s has %d tests", name, n)
			case p.outside != "" && n != 0:
				t.Errorf("%s is out of scope and has a test", name)
			}
			delete(packages, name)
		}
	}
	for name := range packages {
		t.Errorf("no point %v", two.FindStringSubmatch(name)[1:])
	}
}
