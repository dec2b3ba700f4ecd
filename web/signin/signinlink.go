package signin

import (
	"context"
	"errors"
	"net/http"

	"doorward/locale"
	"doorward/oauth"
	"doorward/oauth/identity"
	"doorward/storage"
	"doorward/templates"
	"doorward/web/page"
)

// SignInLinkPage serves GET /login/link: a page with a button, because programs that check links must not use one up.
func (s *Handlers) SignInLinkPage(w http.ResponseWriter, r *http.Request) error {
	token := r.URL.Query().Get("word")
	proof, err := s.identity.Link(r.Context(), token, storage.ProofSignIn)
	view := templates.SignInLinkView{Page: s.NewPage(nil, ""), Token: token, Email: proof.Email}
	switch {
	case errors.Is(err, identity.ErrLink):
		user, err := s.userOfLink(r, token)
		if err != nil {
			return err
		}
		view.Email = user.Email
	case err != nil:
		return err
	default:
		view.Elsewhere = !proof.AskedBy(storage.Digest(s.browser(r)))
	}
	return s.Render(w, r, http.StatusOK, view.Nonce, templates.SignInLinkPage(view))
}

// SignInLink serves POST /login/link. In the browser that asked for the link, what it asked for goes on; in another
// one, an app's flow does not.
func (s *Handlers) SignInLink(w http.ResponseWriter, r *http.Request) error {
	token := r.PostForm.Get("word")
	proof, err := s.identity.Link(r.Context(), token, storage.ProofSignIn)
	switch {
	case errors.Is(err, identity.ErrLink):
		return s.operatorLink(w, r, token)
	case err != nil:
		return err
	}
	same := proof.AskedBy(storage.Digest(s.browser(r)))
	sealed := ""
	if same {
		sealed = proof.Detail["flow"]
	}
	return s.signInByProof(w, r, proof, "", "email_link", sealed, func(v *page.Visitor) error {
		if same {
			return s.continueAfter(w, r, v, sealed)
		}
		return s.RedirectWithNotice(
			w, r, v, page.DefaultPage, locale.New("You are signed in. The link cannot be used again."),
		)
	})
}

// operatorLink signs a user in with a link that an operator created. It stands for every factor.
func (s *Handlers) operatorLink(w http.ResponseWriter, r *http.Request, token string) error {
	user, err := s.userOfLink(r, token)
	if err != nil {
		return err
	}
	old, err := s.Visitor(r)
	if err != nil {
		return err
	}
	proof := identity.NewProof(user, "sign_in_link", func(ctx context.Context) error {
		return s.store.TakeSignInLink(ctx, storage.Digest(token), user.ID)
	}, identity.ByRecoveryCode, identity.ByTwoFactors)
	v, err := s.StartSession(w, r, old, &proof)
	if errors.Is(err, storage.ErrConsumed) {
		return s.linkInvalid(err)
	}
	if err != nil {
		return err
	}
	oauth.LogFieldsOf(r.Context()).Subject = user.ID
	return s.RedirectWithNotice(
		w, r, v, page.DefaultPage, locale.New("You are signed in. The link cannot be used again."),
	)
}

// userOfLink finds the user whom a sign-in link is for.
func (s *Handlers) userOfLink(r *http.Request, token string) (storage.User, error) {
	user, err := s.store.UserOfSignInLink(storage.System(r.Context()), storage.Digest(token))
	if errors.Is(err, storage.ErrNotFound) {
		return user, s.linkInvalid(err)
	}
	return user, err
}

// linkInvalid is the page for a sign-in link that does not work: where there is email, users ask for another one
// themselves.
func (s *Handlers) linkInvalid(cause error) error {
	if s.accounts.Links {
		return errors.Join(identity.ErrLink, cause)
	}
	return &page.Error{
		Status: http.StatusBadRequest, Heading: locale.New("This link no longer works"),
		Message: locale.New("It was already used, is more than 15 minutes old, or was replaced by a newer link. Ask the " +
			"server's administrator for a new one."),
		BackURL: "/login", BackText: locale.New("Sign in"), Cause: cause,
	}
}
