package page

import (
	"net/http"
)

// Value is what SetValue kept in the session under a key; empty where nothing was kept.
func (v *Visitor) Value(key string) string {
	text, _ := v.session.Values[key].(string)
	return text
}

// SetValue keeps a text in the session.
func (s *Pages) SetValue(w http.ResponseWriter, r *http.Request, v *Visitor, key, text string) error {
	v.session.Values[key] = text
	return s.sessions.Save(r, w, v.session)
}

// SetNotice keeps a sentence for the next page that this browser is shown.
func (s *Pages) SetNotice(w http.ResponseWriter, r *http.Request, v *Visitor, text string) error {
	return s.SetValue(w, r, v, valueNotice, text)
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
