package web

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"time"

	"doorward/storage"
	"doorward/web/api"
)

// formDigest is one digest of several texts, wherever one ends and the next begins.
func formDigest(parts ...string) []byte {
	sum := sha256.New()
	for _, part := range parts {
		fmt.Fprintf(sum, "%d:%s", len(part), part)
	}
	return sum.Sum(nil)
}

// newSecret is a secret that was created and is shown once.
type newSecret struct {
	ID       string    `json:"id"` // of the key, app, invitation or user, or the slug of the workspace
	Secret   string    `json:"secret,omitempty"`
	OldUntil time.Time `json:"old_until,omitzero"` // the end of the one that it replaces
}

var errSentTwice = errors.New("the form was sent twice")

// createOnce creates what a form of ours asks for, in a transaction, once however often the form is sent, and keeps the secret, sealed, for
// the page that shows it to this session: view is its name, for takeSecret. For the form that was sent again, x has the ID
// alone. A form without its id, which no page of ours sends, creates one each time.
func (s *Server) createOnce(ctx context.Context, r *http.Request, v *visitor, workspaceID string, create func(ctx context.Context) (newSecret, error)) (x newSecret, view string, err error) {
	said := maps.Clone(r.PostForm)
	delete(said, "password")
	if len(said.Get("form")) != cookieLength {
		said.Set("form", rand.Text())
	}
	view = base64.RawURLEncoding.EncodeToString(formDigest("form", r.URL.Path, said.Encode()))
	digest := viewDigest(v, view)
	err = s.store.InTx(ctx, func(ctx context.Context) error {
		if x, err = create(ctx); err != nil {
			return err
		}
		text, err := json.Marshal(x) //nolint:gosec // it is sealed below
		if err != nil {
			return fmt.Errorf("keep the secret: %w", err)
		}
		err = s.store.KeepAnswer(ctx, storage.IdempotentAnswer{
			Digest: digest, WorkspaceID: workspaceID, UserID: v.user.ID, Request: digest, Status: http.StatusSeeOther, Answer: s.secrets.Seal(api.AnswerPurpose(digest), text),
		})
		if errors.Is(err, storage.ErrExists) {
			return errSentTwice
		}
		return err
	})
	if err != nil {
		// The same form may have been quicker, and created what this one stumbled over.
		if kept, _, lookup := s.keptSecret(storage.System(ctx), digest); lookup == nil {
			return newSecret{ID: kept.ID}, view, nil
		}
	}
	return x, view, err
}

// viewDigest binds the page of a secret to the session that created it.
func viewDigest(v *visitor, view string) []byte { return formDigest("secret", v.row.ID, view) }

// keptSecret is what createOnce kept, and how it is sealed. Sealed under a secret that is gone it is as if it were shown.
// storage.ErrNotFound: nothing is kept.
func (s *Server) keptSecret(ctx context.Context, digest []byte) (x newSecret, sealed string, err error) {
	kept, err := s.store.KeptAnswer(ctx, digest)
	if err != nil {
		return x, "", err
	}
	text, err := s.secrets.Open(api.AnswerPurpose(digest), kept.Answer)
	if err != nil {
		return x, kept.Answer, nil
	}
	if err := json.Unmarshal(text, &x); err != nil {
		return newSecret{}, "", fmt.Errorf("kept secret: %w", err)
	}
	return x, kept.Answer, nil
}

// takeSecret opens what createOnce kept, for this session and once. Later, and for everybody else, it has no Secret.
func (s *Server) takeSecret(r *http.Request, v *visitor) (x newSecret, err error) {
	ctx, digest := storage.System(r.Context()), viewDigest(v, r.URL.Query().Get("view"))
	x, sealed, err := s.keptSecret(ctx, digest)
	if errors.Is(err, storage.ErrNotFound) {
		return x, nil
	}
	if err != nil {
		return x, err
	}
	if x.Secret == "" || r.Method != http.MethodGet {
		x.Secret = ""
		return x, nil
	}
	shown := x
	shown.Secret = ""
	text, err := json.Marshal(shown) //nolint:gosec // the secret was taken out
	if err != nil {
		return newSecret{}, fmt.Errorf("kept secret: %w", err)
	}
	err = s.store.ResealAnswer(ctx, digest, sealed, s.secrets.Seal(api.AnswerPurpose(digest), text))
	if errors.Is(err, storage.ErrConsumed) {
		return shown, nil // another request was quicker
	}
	if err != nil {
		return newSecret{}, err
	}
	return x, nil
}

// alreadyShown is the page in the place of a secret that was shown before.
func alreadyShown(base string, x newSecret) *pageError {
	e := &pageError{
		Status: http.StatusGone, Heading: "This secret was already shown", BackURL: base, BackText: "Go on",
		Message: "It is shown once, and only where it was created. Nothing new was created. If you did not copy it, replace it with a new one.",
	}
	if x.ID != "" {
		e.BackURL = base + "/" + x.ID
	}
	return e
}

// shownKey serves GET …/shown of keys and tokens.
func (s *Server) shownKey(w http.ResponseWriter, r *http.Request, p keyPlace) error {
	x, err := s.takeSecret(r, p.v)
	if err != nil {
		return err
	}
	if x.Secret == "" {
		return alreadyShown(p.base, x)
	}
	var k storage.APIKey
	err = s.store.InTx(p.tenant(r.Context()), func(ctx context.Context) (err error) {
		k, err = s.store.Key(ctx, p.owner, x.ID)
		return err
	})
	if err != nil {
		return err
	}
	return s.showKeySecret(w, r, p, &k, x.Secret, x.OldUntil)
}

// shownSecret serves GET …/shown of apps.
func (s *Server) shownSecret(w http.ResponseWriter, r *http.Request, v *visitor, at appPlace) error {
	x, err := s.takeSecret(r, v)
	if err != nil {
		return err
	}
	if x.Secret == "" {
		return alreadyShown(at.base, x)
	}
	var c storage.Client
	err = s.store.InTx(at.context(r.Context(), v), func(ctx context.Context) (err error) {
		if c, err = s.store.ClientByID(ctx, x.ID); err == nil && at.workspaceID != "" && c.WorkspaceID != at.workspaceID {
			err = storage.ErrNotFound
		}
		return err
	})
	if err != nil {
		return err
	}
	return s.showSecret(w, r, v, at, c, x.Secret, x.OldUntil, at.base+"/"+c.ID)
}
