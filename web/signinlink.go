package web

import (
	"context"
	"errors"
	"net/http"

	"doorward/oauth"
	"doorward/storage"
	"doorward/templates"
)

// signInLinkPage serves GET /login/link: a button, since programs that look at links must not use one up.
func (s *Server) signInLinkPage(w http.ResponseWriter, r *http.Request) error {
	word := r.URL.Query().Get("word")
	user, err := s.userOfLink(r, word)
	if err != nil {
		return err
	}
	view := templates.SignInLinkView{Page: s.page(nil, ""), Word: word, Email: user.Email}
	return s.render(w, r, http.StatusOK, view.Nonce, templates.SignInLinkPage(view))
}

// signInLink serves POST /login/link.
func (s *Server) signInLink(w http.ResponseWriter, r *http.Request) error {
	word := r.PostForm.Get("word")
	user, err := s.userOfLink(r, word)
	if err != nil {
		return err
	}
	old, err := s.visitor(r)
	if err != nil {
		return err
	}
	v, err := s.startSessionBy(w, r, old, user, "sign_in_link", func(ctx context.Context) error {
		return s.store.TakeSignInLink(ctx, storage.Digest(word), user.ID)
	})
	if errors.Is(err, storage.ErrConsumed) {
		return linkOver(err)
	}
	if err != nil {
		return err
	}
	oauth.LogFieldsOf(r.Context()).Subject = user.ID
	if err := s.setNotice(w, r, v, "You are signed in. The link cannot be used again."); err != nil {
		return err
	}
	return redirect(w, defaultPage)
}

// userOfLink finds whom a sign-in link lets in.
func (s *Server) userOfLink(r *http.Request, word string) (storage.User, error) {
	user, err := s.store.UserOfSignInLink(storage.System(r.Context()), storage.Digest(word))
	if errors.Is(err, storage.ErrNotFound) {
		return user, linkOver(err)
	}
	return user, err
}

func linkOver(cause error) *pageError {
	return &pageError{
		Status: http.StatusForbidden, Heading: "This link no longer works", Message: "It was used before, is older than 15 minutes, or was replaced by a newer one. Ask the person who runs this server for another one.",
		BackURL: "/login", BackText: "Sign in", Cause: cause,
	}
}
