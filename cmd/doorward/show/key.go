package show

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"doorward/storage"
)

// Key is an API key or a personal access token, for scripts.
type Key struct {
	ID           string     `json:"id"`
	Key          string     `json:"key,omitempty"`   // the secret, only when it was just created
	Token        string     `json:"token,omitempty"` // likewise, of a personal access token
	Name         string     `json:"name"`
	Note         string     `json:"note,omitempty"`
	WorkspaceID  string     `json:"workspace_id,omitempty"`
	Workspace    string     `json:"workspace,omitempty"`
	UserID       string     `json:"user_id,omitempty"`
	Role         string     `json:"role,omitempty"`
	Resource     string     `json:"resource"`
	Environment  string     `json:"environment,omitempty"`
	Scope        string     `json:"scope"`
	Plan         string     `json:"plan,omitempty"`
	RateLimit    int64      `json:"rate_limit,omitempty"` // requests per hour
	Addresses    []string   `json:"addresses,omitempty"`
	Prefix       string     `json:"prefix"`
	Tail         string     `json:"tail"`
	State        string     `json:"state"`
	PausedBy     string     `json:"paused_by,omitempty"` // administrator, user, or a role in its workspace
	CreatedAt    time.Time  `json:"created_at"`
	ExpiresAt    *time.Time `json:"expires_at,omitempty"`
	LastUsedAt   *time.Time `json:"last_used_at,omitempty"`
	LastUsedFrom string     `json:"last_used_from,omitempty"`
	RotatedInto  string     `json:"rotated_into,omitempty"`
	Replaces     []Replaced `json:"replaces,omitempty"` // older keys that still work
	Requests     *Requests  `json:"requests,omitempty"` // nil: there were none
}

// Replaced is an older key that a rotation replaced.
type Replaced struct {
	ID        string    `json:"id"`
	Tail      string    `json:"tail"`
	ExpiresAt time.Time `json:"expires_at"`
}

// Requests is how often a key was used in the last 30 days, and its most recent requests.
type Requests struct {
	Allowed int64     `json:"allowed"`
	Limited int64     `json:"limited"` // refused by a rate limit
	Refused int64     `json:"refused"` // for any other reason
	Last    []Request `json:"last"`    // newest first
}

// Request is one request, and why it was refused.
type Request struct {
	At        time.Time `json:"at"`
	Action    string    `json:"action"`
	Status    int       `json:"status"`
	Reason    string    `json:"reason,omitempty"`
	RequestID string    `json:"request_id"`
	Address   string    `json:"address,omitempty"`
}

// NewKey describes a key. State is that of apikey.Keys.State.
func NewKey(k *storage.APIKey, state string) Key {
	return Key{
		ID:           k.ID,
		Name:         k.Name,
		Note:         k.Note,
		WorkspaceID:  k.WorkspaceID,
		UserID:       k.UserID,
		Role:         k.Role,
		Resource:     k.Resource,
		Environment:  k.Environment,
		Scope:        k.Scopes.String(),
		Plan:         k.Plan,
		RateLimit:    k.RateLimit,
		Addresses:    k.Addresses,
		Prefix:       k.Prefix,
		Tail:         k.Tail,
		State:        state,
		PausedBy:     k.PausedBy,
		CreatedAt:    Seconds(k.CreatedAt),
		ExpiresAt:    SecondsOrNil(k.ExpiresAt),
		LastUsedAt:   SecondsOrNil(k.LastUsedAt),
		LastUsedFrom: k.LastUsedFrom,
		RotatedInto:  k.RotatedInto,
	}
}

// Keys writes a table of keys.
func Keys(w io.Writer, keys []Key) {
	rows := [][]string{{"ID", "NAME", "KEY", "SCOPE", "STATE", "LAST USED", "EXPIRES"}}
	for _, k := range keys {
		rows = append(rows, []string{
			k.ID, k.Name, k.Prefix + "…" + k.Tail, k.Scope, k.State, date(k.LastUsedAt), date(k.ExpiresAt),
		})
	}
	Table(w, rows...)
}

// Write shows one key, with its secret if it was just created.
func (k Key) Write(w io.Writer) {
	var f fields
	f.add("id", k.ID)
	f.add("key", k.Key)
	f.add("token", k.Token)
	f.add("name", k.Name)
	f.add("note", strings.ReplaceAll(k.Note, "\n", " "))
	f.add("workspace", k.Workspace)
	f.add("user", k.UserID)
	f.add("role", k.Role)
	f.add("resource", k.Resource)
	f.add("environment", k.Environment)
	f.add("scope", k.Scope)
	f.add("plan", k.Plan)
	if k.RateLimit > 0 {
		f.add("rate limit", strconv.FormatInt(k.RateLimit, 10)+" per hour")
	}
	f.add("addresses", strings.Join(k.Addresses, " "))
	f.add("shown as", k.Prefix+"…"+k.Tail)
	state := k.State
	if k.PausedBy != "" {
		state += " by " + stoppedBy(k.PausedBy)
	}
	f.add("state", state)
	f.addTime("created", &k.CreatedAt)
	f.addTime("expires", k.ExpiresAt)
	f.addTime("last used", k.LastUsedAt)
	f.add("from", k.LastUsedFrom)
	f.add("rotated into", k.RotatedInto)
	for _, old := range k.Replaces {
		f.add("replaces", old.ID+" (…"+old.Tail+"), which works until "+old.ExpiresAt.Format(time.RFC3339))
	}
	if k.Requests != nil {
		k.Requests.addTo(&f)
	}
	Table(w, f...)
	switch {
	case k.Key != "":
		_, _ = fmt.Fprintln(w, "\nThe key is not shown again.")
	case k.Token != "":
		_, _ = fmt.Fprintln(w, "\nThe token is not shown again.")
	}
}

func (r *Requests) addTo(f *fields) {
	f.add("30 days", fmt.Sprintf("%d allowed, %d over the limit, %d denied", r.Allowed, r.Limited, r.Refused))
	for _, x := range r.Last {
		line := fmt.Sprintf("%s  %s  %d  %s  %s", x.At.Format(time.RFC3339), x.Action, x.Status, x.RequestID, x.Reason)
		f.add("request", strings.TrimSpace(line))
	}
}
