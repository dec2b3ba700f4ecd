package web

import (
	"net/http"
)

// setNotice keeps a sentence for the next page that this browser is shown.
func (s *Server) setNotice(w http.ResponseWriter, r *http.Request, v *visitor, text string) error {
	v.session.Values[valueNotice] = text
	return s.sessions.Save(r, w, v.session)
}

// takeNotice gives the sentence that setNotice kept, once, and the path that undoes what it says.
func (s *Server) takeNotice(w http.ResponseWriter, r *http.Request, v *visitor) (text, undo string, err error) {
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
func (s *Server) changed(w http.ResponseWriter, r *http.Request, v *visitor, to, text string) error {
	if err := s.setNotice(w, r, v, text); err != nil {
		return err
	}
	return redirect(w, to)
}
