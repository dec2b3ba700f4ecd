package page

import (
	"net/http"
)

// SetNotice keeps a sentence for the next page that this browser is shown.
func (s *Pages) SetNotice(w http.ResponseWriter, r *http.Request, v *Visitor, text string) error {
	v.session.Values[valueNotice] = text
	return s.sessions.Save(r, w, v.session)
}

// takeNotice gives the sentence that SetNotice kept, once, and the path that undoes what it says.
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

// RedirectWithNotice goes on after a change, with a sentence about it.
func (s *Pages) RedirectWithNotice(w http.ResponseWriter, r *http.Request, v *Visitor, to, text string) error {
	if err := s.SetNotice(w, r, v, text); err != nil {
		return err
	}
	return Redirect(w, to)
}
