package templates

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// WorkspaceBar is what each page about one workspace begins with: its name, a
// way to the same page of another one, and the pages about it.
type WorkspaceBar struct {
	Slug     string // part of the paths below /settings/workspaces/
	Name     string
	Role     string // of the viewer in it
	Personal bool   // came with the viewer's account
	// Tab is the current page: one of the Tab constants.
	Tab string
	All []WorkspaceLink
}

// WorkspaceLink is one of the viewer's workspaces.
type WorkspaceLink struct {
	Slug     string
	Name     string
	Current  bool
	Disabled bool
}

// The values of WorkspaceBar.Tab, which are also what the page's path has after
// the slug.
const (
	TabKeys = "api-keys"
)

// NoRoleView is shown instead of a page of a workspace that takes a higher role
// than the viewer's.
type NoRoleView struct {
	Page
	Workspace WorkspaceBar
	Message   string // who may see the page, and what to do
}

// KeyPlace is whose keys a page is about: a workspace's API keys, or the
// viewer's own personal access tokens.
type KeyPlace struct {
	// Base is the path of the list and the start of all others.
	Base     string
	Personal bool
	// NewText is the text of the button that leads to a new API key; empty: "Create API key".
	NewText string
	// Workspace is that of API keys.
	Workspace WorkspaceBar
}

// KeysView is the list of keys. It posts q, environment and state to
// Base/search, which a whole key may be pasted into.
type KeysView struct {
	Page
	KeyPlace
	Query       string // part of a name; empty: none
	Environment string // empty: all
	State       string // empty: all
	// Environments are those to choose from; the question is shown only when
	// there is more than one.
	Environments []string
	// Missing says that what was pasted is a key, and none of these.
	Missing bool
	Columns []Column // name, last_used, created and expires, and for API keys the charts
	Keys    []KeyRow
	NextURL string // empty on the last page
	PrevURL string // empty on the first page
	// CallURL is where a first request can be sent to.
	CallURL string
	// Prefix is what a key begins with, for the first request.
	Prefix string
	// Reach is where personal access tokens work.
	Reach []Reach
}

// filtered reports whether only some of the keys are wanted.
func (v KeysView) filtered() bool {
	return v.Query != "" || v.Environment != "" || v.State != "" || v.Missing
}

// KeyRow is one key of a list.
type KeyRow struct {
	ID           string // part of the path of its page
	Name         string
	Masked       string // what its text begins and ends with
	Environment  string // live or test; empty: a personal access token
	State        string // live, paused, rotating, expired or revoked
	Scopes       []string
	Role         string // the most that a personal access token may be; empty: what its user is
	Creator      string // empty: a program
	Created      time.Time
	LastUsed     time.Time // zero: never
	LastUsedFrom string
	Expires      time.Time // zero: never
	// Days are the last 30; none: no chart is shown.
	Days []UsageDay
}

// Reach is a workspace in which a personal access token works.
type Reach struct {
	Slug     string
	Name     string
	Disabled bool
	// As is what it is there. Where the role that it is held to is still to be
	// chosen, what it would be for each, without one first.
	As []RoleAs
}

// RoleAs is the lower of the user's role and the one that the token is held to,
// which is empty where it is not.
type RoleAs struct{ Token, Effective string }

// KeyFields are the fields of a key that can be typed. Field names: name, note,
// resource, environment, scope-N (repeated; N counts the resources from 0),
// plan, rate_limit, role, expires and addresses.
type KeyFields struct {
	Name string
	Note string
	// Resources are the APIs that it may be for. One alone is posted unseen.
	Resources []KeyResource
	// Environments are shown when there is more than one.
	Environments []Option
	// Plans are those it may have instead of the workspace's; shown when there
	// is more than one.
	Plans []Option
	// RateLimit is how many requests an hour; empty: what the plan says.
	RateLimit string
	// PlanText says what the plan allows.
	PlanText string
	// Roles are what a personal access token may be held to.
	Roles []Option
	// Expiries are the choices for its end.
	Expiries []Option
	// Addresses are one range or address per line.
	Addresses string
	// NeedPassword asks for the user's password, because the last sign-in is
	// too old. Field: password.
	NeedPassword bool
	// Errors is one sentence by field name.
	Errors map[string]string
}

// Option is one answer to a question.
type Option struct {
	Value    string // posted
	Text     string
	Hint     string
	Selected bool
}

// KeyResource is an API that a key can be for.
type KeyResource struct {
	ID       string // the value that is posted
	Name     string
	Selected bool
	Scopes   []ScopeChoice
	// Objects are what a right may be narrowed to; none: it has none.
	Objects []ObjectChoice
}

// ObjectChoice is one object with what may be done to it.
type ObjectChoice struct {
	Name   string
	Scopes []ScopeChoice // Text is the action
}

// KeyFormView makes a key. It posts KeyFields to Base.
type KeyFormView struct {
	Page
	KeyPlace
	KeyFields
	Reach []Reach
}

// KeyView is the page of one key. It posts name, note, scope-0, addresses and
// rate_limit, plan or role to Base/ID; grace ("now", "1h", "24h", "7d"), and
// password when NeedPassword is set, to Base/ID/rotate; nothing to Base/ID/pause
// and Base/ID/resume; confirm, for a live key, to Base/ID/revoke.
type KeyView struct {
	Page
	KeyPlace
	KeyFields
	// KeyRow is the key as it is stored. Its name is what confirm must equal.
	KeyRow
	// Resource is the name of the API.
	Resource string
	// Includes are the scopes that come with the key's own.
	Includes []string
	// Final says that the key is revoked: nothing about it can change.
	Final bool
	// Held says why whoever looks at a paused key cannot resume it; empty: they
	// can.
	Held string
	// CanRotate says that another may take its place.
	CanRotate bool
	// Confirm asks for the name before it is revoked.
	Confirm   bool
	Revoked   time.Time
	Ranges    []string // that it may come from; none: any
	LimitText string   // what its plan allows; empty: nothing is limited
	// Left is how much of the plan is left now; empty: nothing is limited.
	Left string
	// OldDays is for how long keys are better replaced than kept; zero: it is
	// younger.
	OldDays int
	// Replaces are the keys whose place it took, ReplacedBy the one that took
	// its own.
	Replaces   []RelatedKey
	ReplacedBy *RelatedKey
	// Lately is how many requests came with it in the last 24 hours.
	Lately   int64
	Requests Requests
	Events   []KeyEvent
	Reach    []Reach
}

// RelatedKey is a key that took another's place, or whose place was taken.
type RelatedKey struct {
	ID           string
	Masked       string
	State        string
	Ends         time.Time // when it stops working; zero: it does not, or has
	LastUsed     time.Time // zero: never
	LastUsedFrom string
	Lately       int64 // requests in the last 24 hours
}

// Requests are the last requests with a key or an app.
type Requests struct {
	Path  string       // of the page, to which the search comes back
	Last  []KeyRequest // the newest first
	Asked string       // id of a request that was looked for; empty: none was
	Found []KeyRequest
}

// KeyRequest is one of the last requests with a key or an app.
type KeyRequest struct {
	At        time.Time
	Action    string
	Status    int
	Reason    string // why it was refused; empty: it was not
	RequestID string
	Address   string // empty: an app's, which is not told
}

// KeyEvent is something that was done to a key.
type KeyEvent struct {
	At      time.Time
	Text    string // what was done
	Who     string // empty: a program
	Address string
}

// KeySecretView shows a key, once.
type KeySecretView struct {
	Page
	KeyPlace
	Name string
	Key  string // the text
	// CallURL is where it can be tried.
	CallURL string
	// Header names the workspace for a personal access token, and Slug is one.
	Header, Slug string
	// OldUntil is until when the key before this one works; zero when there is
	// none or it has ended.
	OldUntil time.Time
	NextURL  string // the page of the key
}

// soon is how long before its end a key is marked.
const soon = 14 * 24 * time.Hour

// shownRequests is how many of the last requests are shown at once.
const shownRequests = 8

// keyStates are the states to filter by.
var keyStates = []string{"active", "paused", "expired", "revoked"}

func stateText(state string) string {
	switch state {
	case "active":
		return "Active"
	case "paused":
		return "Paused"
	case "rotating":
		return "Being replaced"
	case "expired":
		return "Expired"
	}
	return "Revoked"
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

func environmentText(environment string) string {
	if environment == "test" {
		return "Test"
	}
	return "Live"
}

// statusTone is the tone of a request's status.
func statusTone(r KeyRequest) string {
	switch {
	case r.Reason == "":
		return "good"
	case r.Status == 429:
		return "warn"
	}
	return "bad"
}

// roleClass is a role as part of a class; the empty one is the user's own.
func roleClass(role string) string {
	switch role {
	case "viewer", "member", "admin", "owner":
		return role
	}
	return "own"
}

// creatorText is who did something.
func creatorText(name string) string {
	if name == "" {
		return "a program"
	}
	return name
}

// scopeSummary is the first few scopes and how many more there are.
func scopeSummary(scopes []string) string {
	const shown = 4
	if len(scopes) <= shown {
		return strings.Join(scopes, ", ")
	}
	return strings.Join(scopes[:shown], ", ") + " and " + count(len(scopes)-shown, "more", "more")
}

// The words of the pages for API keys and for personal access tokens.

func (p KeyPlace) title() string {
	if p.Personal {
		return "Personal access tokens"
	}
	return "API keys"
}

func (p KeyPlace) noun() string {
	if p.Personal {
		return "personal access tokens"
	}
	return "API keys"
}

func (p KeyPlace) one() string {
	if p.Personal {
		return "Token"
	}
	return "Key"
}

func (p KeyPlace) short() string { return strings.ToLower(p.one()) }

func (p KeyPlace) makeText() string {
	if p.Personal {
		return "Create personal access token"
	}
	return cmp.Or(p.NewText, "Create API key")
}

func (p KeyPlace) newTitle() string {
	if p.Personal {
		return "Create a personal access token"
	}
	return "Create an API key"
}

func (p KeyPlace) missingText() string {
	if p.Personal {
		return "None of your tokens matches. What you pasted was not stored."
	}
	return "No key in this workspace matches. What you pasted was not stored."
}

// narrowed reports whether a right to some objects only is chosen.
func (r KeyResource) narrowed() bool {
	return slices.ContainsFunc(r.Objects, func(o ObjectChoice) bool {
		return slices.ContainsFunc(o.Scopes, func(s ScopeChoice) bool { return s.Checked })
	})
}

// settingsFaulty reports whether the settings were refused, so that they are shown.
func (v KeyView) settingsFaulty() bool {
	for field, text := range v.Errors {
		if text != "" && field != "grace" && field != "password" && field != "confirm" {
			return true
		}
	}
	return false
}

func requestCount(n int64) string {
	if n == 1 {
		return "1 request"
	}
	return Number(n) + " requests"
}

// keyFieldOrder is the order of the fields on the pages, for the summary.
var keyFieldOrder = []string{
	"name", "note", "environment", "resource", "scope", "role", "plan", "rate_limit", "expires", "addresses", "grace",
	"password", "confirm",
}

// curlLine is a first request with a key. header names the workspace where that is needed.
func curlLine(url, key, header, slug string) string {
	line := "curl " + shellQuote(url) + " \\\n  -H " + doubleQuote("Authorization: Bearer "+key)
	if header != "" {
		line += " \\\n  -H " + doubleQuote(header+": "+slug)
	}
	return line
}

// doubleQuote is shellQuote as people write headers, where nothing in the text is special.
func doubleQuote(s string) string {
	if strings.ContainsAny(s, "\"\\$`!") {
		return shellQuote(s)
	}
	return `"` + s + `"`
}

// env is the key as lines of a .env file.
func (v KeySecretView) env() string {
	if v.Personal {
		return "PERSONAL_ACCESS_TOKEN=" + v.Key
	}
	return "API_KEY=" + v.Key
}
