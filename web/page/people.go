package page

import (
	"context"
	"errors"

	"doorward/locale"
	"doorward/storage"
)

// People finds the names of users, and looks up each user once.
type People struct {
	s     *Pages
	known map[string]string
}

// NewPeople returns a People that has looked up no users yet.
func (s *Pages) NewPeople() *People { return &People{s: s, known: map[string]string{}} }

// Name returns the name of a user, or the email address if there is no name. It is "a deleted user", in the reader's
// language, if the account is gone, and empty for an empty id.
func (p *People) Name(ctx context.Context, id string) (string, error) {
	if id == "" {
		return "", nil
	}
	if name, ok := p.known[id]; ok {
		return name, nil
	}
	u, err := p.s.store.UserByID(storage.System(ctx), id)
	name := u.Name
	switch {
	case errors.Is(err, storage.ErrNotFound):
		name = locale.From(ctx).Text("a deleted user")
	case err != nil:
		return "", err
	case name == "":
		name = u.Email
	}
	p.known[id] = name
	return name, nil
}

// Masked returns the first and last characters of a key, by which users recognise it.
func Masked(k *storage.APIKey) string { return k.Prefix + "…" + k.Tail }
