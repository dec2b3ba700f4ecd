package signin

import (
	"context"
	"errors"
	"net/http"

	"doorward/oauth"
	"doorward/storage"
	"doorward/templates"
	"doorward/web/page"
)

// SignInLinkPage serves GET /login/link: a button, since programs that look at links must not use one up.
func (s *Handlers) SignInLinkPage(w http.ResponseWriter, r *http.Request) error {
	word := r.URL.Query().Get("word")
	user, err := s.userOfLink(r, word)
	if err != nil {
		return err
	}
	view := templates.SignInLinkView{Page: s.NewPage(nil, ""), Word: word, Email: user.Email}
	return s.Render(w, r, http.StatusOK, view.Nonce, templates.SignInLinkPage(view))
}

// SignInLink serves POST /login/link.
func (s *Handlers) SignInLink(w http.ResponseWriter, r *http.Request) error {
	word := r.PostForm.Get("word")
	user, err := s.userOfLink(r, word)
	if err != nil {
		return err
	}
	old, err := s.Visitor(r)
	if err != nil {
		return err
	}
	v, err := s.StartSessionBy(w, r, old, user, "sign_in_link", func(ctx context.Context) error {
		return s.store.TakeSignInLink(ctx, storage.Digest(word), user.ID)
	})
	if errors.Is(err, storage.ErrConsumed) {
		return linkOver(err)
	}
	if err != nil {
		return err
	}
	oauth.LogFieldsOf(r.Context()).Subject = user.ID
	if err := s.SetNotice(w, r, v, "You are signed in. The link cannot be used again."); err != nil {
		return err
	}
	return page.Redirect(w, page.DefaultPage)
}

// userOfLink finds whom a sign-in link lets in.
func (s *Handlers) userOfLink(r *http.Request, word string) (storage.User, error) {
	user, err := s.store.UserOfSignInLink(storage.System(r.Context()), storage.Digest(word))
	if errors.Is(err, storage.ErrNotFound) {
		return user, linkOver(err)
	}
	return user, err
}

func linkOver(cause error) *page.Error {
	return &page.Error{
		Status: http.StatusForbidden, Heading: "This link no longer works",
		Message: "It was already used, is more than 15 minutes old, or was replaced by a newer link. Ask the server's " +
			"administrator for a new one.",
		BackURL: "/login", BackText: "Sign in", Cause: cause,
	}
}
