package page

import (
	"context"
	"errors"

	"doorward/storage"
)

// People finds the names of users, each once.
type People struct {
	s     *Pages
	known map[string]string
}

// NewPeople returns an empty People.
func (s *Pages) NewPeople() *People { return &People{s: s, known: map[string]string{}} }

// Name is how to call a user; empty where there is none any more.
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
		name = "a deleted user"
	case err != nil:
		return "", err
	case name == "":
		name = u.Email
	}
	p.known[id] = name
	return name, nil
}

// Masked is a key as it may be shown.
func Masked(k *storage.APIKey) string { return k.Prefix + "…" + k.Tail }
