package page

import (
	"net/http"

	"doorward/locale"
)

// SetNotice stores a sentence, in the reader's language, to show on the next page in this browser.
func (s *Pages) SetNotice(w http.ResponseWriter, r *http.Request, v *Visitor, text locale.Text) error {
	v.session.Values[valueNotice] = locale.From(r.Context()).Of(text)
	return s.sessions.Save(r, w, v.session)
}

// takeOffer reports whether the page should suggest creating a passkey: it is the first one after a sign-in for which
// StartSession has recorded that.
func (s *Pages) takeOffer(w http.ResponseWriter, r *http.Request, v *Visitor) (bool, error) {
	if _, ok := v.session.Values[valueOffer]; !ok {
		return false, nil
	}
	delete(v.session.Values, valueOffer)
	return true, s.sessions.Save(r, w, v.session)
}

// takeNotice returns the sentence that SetNotice stored, once, and the path that undoes the change, if there is one.
func (s *Pages) takeNotice(w http.ResponseWriter, r *http.Request, v *Visitor) (text, undo string, err error) {
	text, ok := v.session.Values[valueNotice].(string)
	if !ok {
		return "", "", nil
	}
	undo, _ = v.session.Values[valueUndo].(string)
	delete(v.session.Values, valueNotice)
	delete(v.session.Values, valueUndo)
	return text, undo, s.sessions.Save(r, w, v.session)
}

// RedirectWithNotice redirects to a page after a change, and shows a sentence about the change there.
func (s *Pages) RedirectWithNotice(
	w http.ResponseWriter, r *http.Request, v *Visitor, to string, text locale.Text,
) error {
	if err := s.SetNotice(w, r, v, text); err != nil {
		return err
	}
	return Redirect(w, to)
}
