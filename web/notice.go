package web

import (
	"net/http"
)

// value is what setValue kept in the session under a key; empty where nothing was kept.
func (v *visitor) value(key string) string {
	text, _ := v.session.Values[key].(string)
	return text
}

// setValue keeps a text in the session.
func (s *Pages) setValue(w http.ResponseWriter, r *http.Request, v *visitor, key, text string) error {
	v.session.Values[key] = text
	return s.sessions.Save(r, w, v.session)
}

// setNotice keeps a sentence for the next page that this browser is shown.
func (s *Pages) setNotice(w http.ResponseWriter, r *http.Request, v *visitor, text string) error {
	return s.setValue(w, r, v, valueNotice, text)
}

// takeNotice gives the sentence that setNotice kept, once, and the path that undoes what it says.
func (s *Pages) takeNotice(w http.ResponseWriter, r *http.Request, v *visitor) (text, undo string, err error) {
	text, ok := v.session.Values[valueNotice].(string)
	if !ok {
		return "", "", nil
	}
	undo, _ = v.session.Values[valueUndo].(string)
	delete(v.session.Values, valueNotice)
	delete(v.session.Values, valueUndo)
	return text, undo, s.sessions.Save(r, w, v.session)
}

// changed goes on after a change, with a sentence about it.
func (s *Pages) changed(w http.ResponseWriter, r *http.Request, v *visitor, to, text string) error {
	if err := s.setNotice(w, r, v, text); err != nil {
		return err
	}
	return redirect(w, to)
}
