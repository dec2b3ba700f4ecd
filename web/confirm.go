package web

import (
	"net/http"
	"strings"

	"doorward/templates"
)

// confirmed serves act to the form of a confirmation page, and ask, which is that page, to any other form: it changes
// nothing, and is refused to those whom act would refuse.
func confirmed(ask, act memberHandler) memberHandler {
	return func(w http.ResponseWriter, r *http.Request, v *visitor) error {
		// The name of a key, typed, is as good; revokeKey compares it.
		typed := strings.HasSuffix(r.URL.Path, "/revoke") && r.PostForm.Has("confirm")
		if r.PostForm.Get("confirmed") != "yes" && !typed {
			return ask(w, r, v)
		}
		for end, undo := range map[string]string{"/disable": "/enable", "/pause": "/resume"} {
			if base, ok := strings.CutSuffix(r.URL.EscapedPath(), end); ok {
				v.session.Values[valueUndo] = base + undo // kept with the notice of what was done
			}
		}
		return act(w, r, v)
	}
}

func (s *Server) askFirst(w http.ResponseWriter, r *http.Request, view templates.ConfirmView) error {
	view.Action = r.URL.EscapedPath()
	return s.render(w, r, http.StatusOK, view.Nonce, templates.ConfirmPage(view))
}
