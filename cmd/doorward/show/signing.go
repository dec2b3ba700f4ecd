package show

import (
	"io"
	"time"

	"doorward/oauth/bearer"
	"doorward/storage"
)

// SigningKey is a signing key, for scripts, without the key itself.
type SigningKey struct {
	KeyID       string     `json:"kid"`
	Algorithm   string     `json:"alg"`
	State       string     `json:"state"`
	CreatedAt   time.Time  `json:"created_at"`
	ActivatedAt *time.Time `json:"activated_at,omitempty"`
	RetiredAt   *time.Time `json:"retired_at,omitempty"`
	ExpiresAt   *time.Time `json:"expires_at,omitempty"` // when the last token that it signed has expired
}

// NewSigningKey describes a signing key.
func NewSigningKey(k *storage.SigningKey) SigningKey {
	return SigningKey{
		KeyID:       k.ID,
		Algorithm:   bearer.SigningAlgorithm,
		State:       k.State,
		CreatedAt:   Seconds(k.CreatedAt),
		ActivatedAt: SecondsOrNil(k.ActivatedAt),
		RetiredAt:   SecondsOrNil(k.RetiredAt),
		ExpiresAt:   SecondsOrNil(k.ExpiresAt),
	}
}

// SigningKeys writes a table of signing keys.
func SigningKeys(w io.Writer, keys []SigningKey) {
	rows := [][]string{{"KID", "STATE", "CREATED", "SIGNS SINCE", "SIGNED UNTIL"}}
	for _, k := range keys {
		rows = append(rows, []string{
			k.KeyID, k.State, k.CreatedAt.Format(time.DateOnly), moment(k.ActivatedAt), moment(k.RetiredAt),
		})
	}
	Table(w, rows...)
}

// moment is a time in a table; empty for nil.
func moment(t *time.Time) string {
	if t == nil {
		return ""
	}
	return t.Format(time.RFC3339)
}
