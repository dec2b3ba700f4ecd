package show

import (
	"fmt"
	"io"
	"strconv"
	"time"

	"doorward/oauth/bearer"
	"doorward/storage"
)

// RegistrationToken is a token with which apps register themselves (initial access token, RFC 7591, section 3), for
// scripts.
type RegistrationToken struct {
	ID         string     `json:"id"`
	Token      string     `json:"token,omitempty"` // only when it was just created
	Tail       string     `json:"tail"`
	Uses       int64      `json:"uses"` // how many apps can register with it
	Used       int64      `json:"used"` // how many have
	CreatedBy  string     `json:"created_by,omitempty"`
	CreatedAt  time.Time  `json:"created_at"`
	LastUsedAt *time.Time `json:"last_used_at,omitempty"`
	ExpiresAt  time.Time  `json:"expires_at"`
}

// NewRegistrationToken describes a registration token.
func NewRegistrationToken(x *storage.RegistrationToken) RegistrationToken {
	return RegistrationToken{
		ID:         x.ID,
		Tail:       x.Tail,
		Uses:       x.MaxUses,
		Used:       x.Uses,
		CreatedBy:  x.CreatedBy,
		CreatedAt:  Seconds(x.CreatedAt),
		LastUsedAt: SecondsOrNil(x.LastUsedAt),
		ExpiresAt:  Seconds(x.ExpiresAt),
	}
}

// RegistrationTokens writes a table of registration tokens.
func RegistrationTokens(w io.Writer, tokens []RegistrationToken) {
	rows := [][]string{{"ID", "TOKEN", "USED", "CREATED", "LAST USED", "EXPIRES"}}
	for _, x := range tokens {
		rows = append(rows, []string{
			x.ID, bearer.PrefixRegistration + "…" + x.Tail, fmt.Sprintf("%d of %d", x.Used, x.Uses), date(&x.CreatedAt),
			date(x.LastUsedAt), x.ExpiresAt.Format(time.RFC3339),
		})
	}
	Table(w, rows...)
}

// Write shows a registration token that was just created.
func (x RegistrationToken) Write(w io.Writer) {
	var f fields
	f.add("id", x.ID)
	f.add("token", x.Token)
	f.add("uses", strconv.FormatInt(x.Uses, 10))
	f.addTime("expires", &x.ExpiresAt)
	Table(w, f...)
	_, _ = fmt.Fprintln(w, "\nThe token is not shown again.")
}
