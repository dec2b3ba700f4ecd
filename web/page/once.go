package page

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

	"doorward/oauth/seal"
	"doorward/storage"
)

// Digest is one digest of several texts, wherever one ends and the next begins.
func Digest(parts ...string) []byte {
	sum := sha256.New()
	for _, part := range parts {
		fmt.Fprintf(sum, "%d:%s", len(part), part)
	}
	return sum.Sum(nil)
}

// OneTimeSecret is a secret that was created and is shown once.
type OneTimeSecret struct {
	ID       string    `json:"id"` // of the key, app, invitation or user, or the slug of the workspace
	Secret   string    `json:"secret,omitempty"`
	OldUntil time.Time `json:"old_until,omitzero"` // the end of the one that it replaces
}

var errSentTwice = errors.New("the form was sent twice")

// CreateOnce creates what a form of ours asks for, in a transaction, once however often the form is sent, and keeps the
// secret, sealed, for
// the page that shows it to this session: view is its name, for TakeSecret. For the form that was sent again, x has the
// ID
// alone. A form without its id, which no page of ours sends, creates one each time.
func (s *Pages) CreateOnce(
	ctx context.Context, r *http.Request, v *Visitor, workspaceID string,
	create func(ctx context.Context) (OneTimeSecret, error),
) (x OneTimeSecret, view string, err error) {
	said := maps.Clone(r.PostForm)
	delete(said, "password")
	if len(said.Get("form")) != cookieLength {
		said.Set("form", rand.Text())
	}
	view = base64.RawURLEncoding.EncodeToString(Digest("form", r.URL.Path, said.Encode()))
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
			Digest: digest, WorkspaceID: workspaceID, UserID: v.User.ID, Request: digest, Status: http.StatusSeeOther,
			Answer: s.secrets.Seal(seal.AnswerPurpose(digest), text),
		})
		if errors.Is(err, storage.ErrExists) {
			return errSentTwice
		}
		return err
	})
	if err != nil {
		// The same form may have been quicker, and created what this one stumbled over.
		if kept, _, lookup := s.keptSecret(storage.System(ctx), digest); lookup == nil {
			return OneTimeSecret{ID: kept.ID}, view, nil
		}
	}
	return x, view, err
}

// viewDigest binds the page of a secret to the session that created it.
func viewDigest(v *Visitor, view string) []byte { return Digest("secret", v.Row.ID, view) }

// keptSecret is what CreateOnce kept, and how it is sealed. Sealed under a secret that is gone it is as if it were
// shown.
// storage.ErrNotFound: nothing is kept.
func (s *Pages) keptSecret(ctx context.Context, digest []byte) (x OneTimeSecret, sealed string, err error) {
	kept, err := s.store.KeptAnswer(ctx, digest)
	if err != nil {
		return x, "", err
	}
	text, err := s.secrets.Open(seal.AnswerPurpose(digest), kept.Answer)
	if err != nil {
		return x, kept.Answer, nil
	}
	if err := json.Unmarshal(text, &x); err != nil {
		return OneTimeSecret{}, "", fmt.Errorf("kept secret: %w", err)
	}
	return x, kept.Answer, nil
}

// TakeSecret opens what CreateOnce kept, for this session and once. Later, and for everybody else, it has no Secret.
func (s *Pages) TakeSecret(r *http.Request, v *Visitor) (x OneTimeSecret, err error) {
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
		return OneTimeSecret{}, fmt.Errorf("kept secret: %w", err)
	}
	err = s.store.ResealAnswer(ctx, digest, sealed, s.secrets.Seal(seal.AnswerPurpose(digest), text))
	if errors.Is(err, storage.ErrConsumed) {
		return shown, nil // another request was quicker
	}
	if err != nil {
		return OneTimeSecret{}, err
	}
	return x, nil
}

// AlreadyShown is the page in the place of a secret that was shown before.
func AlreadyShown(base string, x OneTimeSecret) *Error {
	e := &Error{
		Status: http.StatusGone, Heading: "This secret was already shown", BackURL: base, BackText: "Go on",
		Message: "It is shown only once, in the browser where it was created. Nothing new was created. If you did not copy " +
			"it, create a new one.",
	}
	if x.ID != "" {
		e.BackURL = base + "/" + x.ID
	}
	return e
}
