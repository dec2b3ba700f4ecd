package templates

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"doorward/locale"
)

// KeyPlace says which keys a page is about: the API keys of a workspace, or the viewer's personal access tokens.
type KeyPlace struct {
	Base      string // path of the list, and the beginning of all other paths
	Personal  bool
	NewText   string       // text of the button for a new API key; empty: "Create API key"
	Workspace WorkspaceBar // of API keys
}

// KeysView is the list of keys. It posts q, environment and state to Base/search; q may be a whole key.
type KeysView struct {
	Page
	KeyPlace
	Query       string // part of a name; empty: all
	Environment string // empty: all
	State       string // empty: all
	// Environments are the choices; the filter has them only if there is more than one.
	Environments []string
	// Missing says that the pasted key is not in this list.
	Missing bool
	Columns []Column // name, last_used, created and expires, and for API keys the charts
	Keys    []KeyRow
	NextURL string // empty on the last page
	PrevURL string // empty on the first page
	CallURL string // where to send the example request
	Prefix  string // of the key in the example request
	Reach   []Reach
}

// filtered reports whether the list is filtered.
func (v KeysView) filtered() bool {
	return v.Query != "" || v.Environment != "" || v.State != "" || v.Missing
}

// KeyRow is one key of a list.
type KeyRow struct {
	ID           string // part of the path of its page
	Name         string
	Masked       string // its first and last characters, to recognise it
	Environment  string // live or test; empty: a personal access token
	State        string // active, paused, rotating, expired or revoked
	Scopes       []string
	Role         locale.Text // maximum role of a personal access token; empty: none
	Creator      string      // empty: a program
	Created      time.Time
	LastUsed     time.Time // zero: never
	LastUsedFrom string
	Expires      time.Time // zero: never
	// Days is the usage of the last 30 days; none: no chart is shown.
	Days []UsageDay
}

// Reach is a workspace in which a personal access token works.
type Reach struct {
	Slug     string
	Name     string
	Disabled bool
	// Roles is the token's role there. On the form for a new token it has one entry for each maximum role, the first for
	// none.
	Roles []TokenRole
}

// TokenRole is the role of a token in a workspace: the lower of the user's role and the token's maximum.
type TokenRole struct {
	Token     string // maximum role of the token; empty: none
	Effective locale.Text
}

// KeyFields are the form fields of a key. Field names: name, note, resource, environment, scope-N (repeated; N is the
// index of the resource), plan, rate_limit, role, expires and addresses.
type KeyFields struct {
	Name string
	Note string
	// Resources are the APIs that it can be for. A single one is posted in a hidden field.
	Resources []KeyResource
	// Environments are the choices, shown if there is more than one.
	Environments []Option
	// Plans are the choices, shown if there is more than one. The first is the workspace's plan.
	Plans []Option
	// RateLimit is in requests per hour; empty: that of the plan.
	RateLimit string
	// PlanText is the hint for the rate limit: what the plan allows.
	PlanText locale.Text
	// Roles are the choices for the maximum role of a personal access token.
	Roles []Option
	// Expiries are the choices for when it expires.
	Expiries []Option
	// Addresses has one IP address or range per line; empty: any address.
	Addresses string
	// NeedPassword asks for the user's password, because the last sign-in is too old. Field: password.
	NeedPassword bool
	// Errors holds one sentence per field, by field name.
	Errors map[string]locale.Text
}

// Option is one choice of a form.
type Option struct {
	Value    string // posted
	Text     locale.Text
	Hint     locale.Text
	Selected bool
}

// KeyResource is an API that a key can be for.
type KeyResource struct {
	ID       string // posted
	Name     string
	Selected bool
	Scopes   []ScopeChoice
	// Objects are what a permission can be narrowed to; none: the API has no objects.
	Objects []ObjectChoice
}

// ObjectChoice is an object of an API with the scopes for it.
type ObjectChoice struct {
	Name   string
	Scopes []ScopeChoice // Text is the action, in the reader's language
}

// KeyFormView creates a key. It posts KeyFields to Base.
type KeyFormView struct {
	Page
	KeyPlace
	KeyFields
	Reach []Reach
}

// KeyView is the page of one key. It posts name, note, scope-0, addresses and rate_limit, plan or role to Base/ID;
// grace ("now", "1h", "24h", "7d"), and password if NeedPassword is set, to Base/ID/rotate; nothing to Base/ID/pause
// and Base/ID/resume; confirm, for a live key, to Base/ID/revoke.
type KeyView struct {
	Page
	KeyPlace
	KeyFields
	// KeyRow is the key as it is stored. Its name is what confirm must equal.
	KeyRow
	Resource     string      // name of the API
	Includes     []string    // scopes that its own scopes include
	Final        bool        // revoked, so that it cannot be changed
	WhyNotResume locale.Text // why the viewer cannot resume a paused key; empty: they can
	CanRotate    bool
	Confirm      bool        // its name must be typed to revoke it
	Revoked      time.Time   // zero: not revoked
	Ranges       []string    // allowed IP addresses; none: any
	LimitText    locale.Text // its rate limit; empty: none
	Left         locale.Text // how much of the rate limit is left now; empty: unlimited
	OldDays      int         // its age in days; zero: it is not old enough to suggest rotating it
	Replaces     []RelatedKey
	ReplacedBy   *RelatedKey // nil: it was not rotated
	LastDay      int64       // requests in the last 24 hours
	Requests     Requests
	Events       []KeyEvent // the newest first
	Reach        []Reach
}

// RelatedKey is a key that replaces another one in a rotation, or that is replaced.
type RelatedKey struct {
	ID           string
	Masked       string
	State        string
	Ends         time.Time // when it stops working; zero: never
	LastUsed     time.Time // zero: never
	LastUsedFrom string
	LastDay      int64 // requests in the last 24 hours
}

// Requests are the last requests with a key or an app.
type Requests struct {
	Path  string       // of the page, for the search
	Last  []KeyRequest // the newest first
	Asked string       // request id that was searched for; empty: none
	Found []KeyRequest
}

// KeyRequest is one of the last requests with a key or an app.
type KeyRequest struct {
	At        time.Time
	Action    string // what was requested, in the reader's language
	Status    int
	Reason    string // why it was refused, in the reader's language; empty: it was allowed
	RequestID string
	Address   string // IP address; empty for an app, whose users' addresses are not shown
}

// KeyEvent is an entry in the history of a key.
type KeyEvent struct {
	At      time.Time
	Text    locale.Text // what was done
	Who     string      // name of a user; empty: a program
	Address string
}

// KeySecretView shows a key, once.
type KeySecretView struct {
	Page
	KeyPlace
	Name string
	Key  string
	// CallURL is where to send the example request.
	CallURL string
	// Header is the request header that names the workspace for a personal access token, and Slug the one in the example.
	Header, Slug string
	// OldUntil is when the previous key stops working; zero: there is none, or it no longer works.
	OldUntil time.Time
	NextURL  string // the page of the key
}

// soon is how long before its expiry a key is marked.
const soon = 14 * 24 * time.Hour

// shownRequests is how many of the last requests are shown unfolded.
const shownRequests = 8

// keyStates are the choices of the filter.
var keyStates = []string{"active", "paused", "expired", "revoked"}

func stateText(ctx context.Context, state string) string {
	switch state {
	case "active":
		return tr(ctx, "Active")
	case "paused":
		return tr(ctx, "Paused")
	case "rotating":
		return tr(ctx, "Being replaced")
	case "expired":
		return tr(ctx, "Expired")
	}
	return tr(ctx, "Revoked")
}

func stateTone(state string) string {
	switch state {
	case "paused", "rotating":
		return "warn"
	case "expired", "revoked":
		return "bad"
	}
	return ""
}

func environmentText(ctx context.Context, environment string) string {
	if environment == "test" {
		return tr(ctx, "environment: Test")
	}
	return tr(ctx, "environment: Live")
}

// statusTone is the tone of the badge with a request's status.
func statusTone(r KeyRequest) string {
	switch {
	case r.Reason == "":
		return "good"
	case r.Status == 429:
		return "warn"
	}
	return "bad"
}

// roleClass is the part of a CSS class that names a maximum role; "own": there is none.
func roleClass(role string) string {
	switch role {
	case "viewer", "member", "admin", "owner":
		return role
	}
	return "own"
}

// creatorText is the name of the user who did something, or "API or CLI".
func creatorText(ctx context.Context, name string) string {
	if name == "" {
		return tr(ctx, "API or CLI")
	}
	return name
}

// scopeSummary lists the first few scopes, and counts the others.
func scopeSummary(ctx context.Context, scopes []string) string {
	const shown = 4
	if len(scopes) <= shown {
		return strings.Join(scopes, ", ")
	}
	return tr(ctx, "%s and %d more", strings.Join(scopes[:shown], ", "), len(scopes)-shown)
}

// What API keys and personal access tokens are called on their pages. Messages about both are written for each of
// them: in most languages the words around the noun depend on it.

// keyOrToken returns key on pages about API keys, and token on those about personal access tokens.
func keyOrToken[T any](p KeyPlace, key, token T) T {
	if p.Personal {
		return token
	}
	return key
}

func (p KeyPlace) title(ctx context.Context) string {
	return keyOrToken(p, tr(ctx, "API keys"), tr(ctx, "Personal access tokens"))
}

func (p KeyPlace) one(ctx context.Context) string {
	return keyOrToken(p, tr(ctx, "Key"), tr(ctx, "Token"))
}

func (p KeyPlace) createText(ctx context.Context) string {
	return keyOrToken(p, cmp.Or(p.NewText, tr(ctx, "Create API key")), tr(ctx, "Create personal access token"))
}

func (p KeyPlace) newTitle(ctx context.Context) string {
	return keyOrToken(p, tr(ctx, "Create an API key"), tr(ctx, "Create a personal access token"))
}

func (p KeyPlace) missingText(ctx context.Context) string {
	return keyOrToken(p,
		tr(ctx, "No matching key in this workspace. The pasted key was not stored."),
		tr(ctx, "No matching token. The pasted token was not stored."))
}

// narrowed reports whether a scope for an object is checked.
func (r KeyResource) narrowed() bool {
	return slices.ContainsFunc(r.Objects, func(o ObjectChoice) bool {
		return slices.ContainsFunc(o.Scopes, func(s ScopeChoice) bool { return s.Checked })
	})
}

// settingsFaulty reports whether the settings form has errors, so that it is unfolded.
func (v KeyView) settingsFaulty() bool {
	for field, text := range v.Errors {
		if !text.IsZero() && field != "grace" && field != "password" && field != "confirm" {
			return true
		}
	}
	return false
}

// keyFieldOrder is the order of the fields on the pages, for the error summary.
var keyFieldOrder = []string{
	"name", "note", "environment", "resource", "scope", "role", "plan", "rate_limit", "expires", "addresses", "grace",
	"password", "confirm",
}

// curlLine is an example request with a key. If header is not empty, it names the workspace.
func curlLine(url, key, header, slug string) string {
	line := "curl " + shellQuote(url) + " \\\n  -H " + doubleQuote("Authorization: Bearer "+key)
	if header != "" {
		line += " \\\n  -H " + doubleQuote(header+": "+slug)
	}
	return line
}

// doubleQuote quotes a shell argument with double quotes, as people write headers, or like shellQuote if it contains
// special characters.
func doubleQuote(s string) string {
	if strings.ContainsAny(s, "\"\\$`!") {
		return shellQuote(s)
	}
	return `"` + s + `"`
}

// env is the key as a line of a .env file.
func (v KeySecretView) env() string {
	if v.Personal {
		return "PERSONAL_ACCESS_TOKEN=" + v.Key
	}
	return "API_KEY=" + v.Key
}
