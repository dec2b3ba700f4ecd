package seal

import (
	"encoding/json"
	"fmt"

	"doorward/storage"
)

// EmailSecrets are the parts of an email that are secrets until it is sent.
type EmailSecrets struct {
	URL  string `json:"url,omitempty"`  // the link with its token
	Code string `json:"code,omitempty"` // as it is written in the email
}

// emailPurpose binds what is sealed to its email.
func emailPurpose(id string) string { return "email " + id }

// SealEmail gives an email an id and seals its secrets.
func (s *Secrets) SealEmail(e *storage.Email, x EmailSecrets) {
	e.ID = storage.NewID("email")
	text, _ := json.Marshal(x) // two strings
	e.Sealed = s.Seal(emailPurpose(e.ID), text)
}

// OpenEmail returns the secrets of an email; none if nothing is sealed.
func (s *Secrets) OpenEmail(e *storage.Email) (x EmailSecrets, err error) {
	if e.Sealed == "" {
		return x, nil
	}
	text, err := s.Open(emailPurpose(e.ID), e.Sealed)
	if err == nil {
		err = json.Unmarshal(text, &x)
	}
	if err != nil {
		return x, fmt.Errorf("email %s: %w", e.ID, err)
	}
	return x, nil
}

// ResealEmail is Reseal for an email.
func (s *Secrets) ResealEmail(e *storage.Email) (after string, changed bool, err error) {
	return s.Reseal(emailPurpose(e.ID), e.Sealed)
}
