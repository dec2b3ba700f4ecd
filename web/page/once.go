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

	"doorward/locale"
	"doorward/oauth/seal"
	"doorward/storage"
)

// Digest returns one digest of several strings. Strings that are split differently have different digests.
func Digest(parts ...string) []byte {
	sum := sha256.New()
	for _, part := range parts {
		fmt.Fprintf(sum, "%d:%s", len(part), part)
	}
	return sum.Sum(nil)
}

// OneTimeSecret is a new secret, to be shown once.
type OneTimeSecret struct {
	ID       string    `json:"id"` // of the key, app, invitation or user, or the slug of the workspace
	Secret   string    `json:"secret,omitempty"`
	OldUntil time.Time `json:"old_until,omitzero"` // when the secret that it replaces stops working; zero: there is none
}

var errSentTwice = errors.New("the form was sent twice")

// CreateOnce runs create in a transaction, once even if the same form is sent several times. It stores the secret,
// sealed, for the page that shows it to this session; view is the name by which TakeSecret finds it. If the form was
// sent before, x has only the ID. A form without an id, which our pages do not send, creates something each time.
func (s *Pages) CreateOnce(
	ctx context.Context, r *http.Request, v *Visitor, workspaceID string,
	create func(ctx context.Context) (OneTimeSecret, error),
) (x OneTimeSecret, view string, err error) {
	form := maps.Clone(r.PostForm)
	delete(form, "password")
	if len(form.Get("form")) != cookieLength {
		form.Set("form", rand.Text())
	}
	view = base64.RawURLEncoding.EncodeToString(Digest("form", r.URL.Path, form.Encode()))
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
		// The error may come from the same form, which was faster.
		if kept, _, lookup := s.keptSecret(storage.System(ctx), digest); lookup == nil {
			return OneTimeSecret{ID: kept.ID}, view, nil
		}
	}
	return x, view, err
}

// viewDigest binds the page of a secret to the session that created it.
func viewDigest(v *Visitor, view string) []byte { return Digest("secret", v.Row.ID, view) }

// keptSecret returns what CreateOnce stored, opened and as it is sealed. If the master secret it was sealed under is
// gone, x is empty, as if the secret had been shown. storage.ErrNotFound: nothing is stored.
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

// TakeSecret returns what CreateOnce stored for this session. The second time, and in any other session, it comes
// without the Secret.
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
		return shown, nil // another request was faster
	}
	if err != nil {
		return OneTimeSecret{}, err
	}
	return x, nil
}

// AlreadyShown is the page for a secret that was shown before. base is the path of the list that x belongs to.
func AlreadyShown(base string, x OneTimeSecret) *Error {
	e := &Error{
		Status: http.StatusGone, Heading: locale.New("This secret was already shown"),
		Message: locale.New("It is shown only once, in the browser where it was created. Nothing new was created. If you " +
			"did not copy it, create a new one."),
		BackURL: base, BackText: locale.New("Continue"),
	}
	if x.ID != "" {
		e.BackURL = base + "/" + x.ID
	}
	return e
}
