package seal

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"

	"doorward/locale"
	"doorward/storage"
)

// EmailSecrets are the parts of an email that are secrets until it is sent.
type EmailSecrets struct {
	URL  string `json:"url,omitempty"`  // the link with its token
	Code string `json:"code,omitempty"` // as it is written in the email
}

// EmailPurpose is the purpose of Seal for the secrets of an email: it binds them to it.
func EmailPurpose(id string) string { return "email " + id }

// SealEmail gives an email an id and seals its secrets.
func (s *Secrets) SealEmail(e *storage.Email, x EmailSecrets) {
	e.ID = storage.NewID("email")
	text, _ := json.Marshal(x) // two strings
	e.Sealed = s.Seal(EmailPurpose(e.ID), text)
}

// NewEmail returns an email of a kind to a user, in their language, else that of the page that caused it, and in their
// time zone, to be tried until it expires. to is the address; the user may have another one by now, or no account yet,
// and then only their ID is empty.
func (s *Secrets) NewEmail(
	ctx context.Context, kind string, u *storage.User, to string, x EmailSecrets, detail map[string]string,
	expires storage.Time,
) storage.Email {
	values := map[string]string{"time_zone": u.TimeZone}
	maps.Copy(values, detail)
	e := storage.Email{
		Kind: kind, Recipient: to, UserID: u.ID, Language: cmp.Or(u.Language, locale.TagOf(ctx)), Detail: values,
		ExpiresAt: expires,
	}
	if x != (EmailSecrets{}) {
		s.SealEmail(&e, x)
	}
	return e
}

// OpenEmail returns the secrets of an email; none if nothing is sealed.
func (s *Secrets) OpenEmail(e *storage.Email) (x EmailSecrets, err error) {
	if e.Sealed == "" {
		return x, nil
	}
	text, err := s.Open(EmailPurpose(e.ID), e.Sealed)
	if err == nil {
		err = json.Unmarshal(text, &x)
	}
	if err != nil {
		return x, fmt.Errorf("email %s: %w", e.ID, err)
	}
	return x, nil
}
