package page

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"doorward/locale"
	"doorward/oauth/apikey"
	"doorward/storage"
	"doorward/templates"
)

// Confirmed returns a handler for a form whose effect must be confirmed. The form of the confirmation page is handled
// by act. Any other form is answered with ask, which is that page; ask changes nothing, and checks the same permissions
// as act.
func Confirmed(ask, act UserHandler) UserHandler {
	return func(w http.ResponseWriter, r *http.Request, v *Visitor) error {
		// For a key, its typed name confirms as well; Keys.Revoke compares it.
		typed := strings.HasSuffix(r.URL.Path, "/revoke") && r.PostForm.Has("confirm")
		if r.PostForm.Get("confirmed") != "yes" && !typed {
			return ask(w, r, v)
		}
		for end, undo := range map[string]string{"/disable": "/enable", "/pause": "/resume"} {
			if base, ok := strings.CutSuffix(r.URL.EscapedPath(), end); ok {
				v.session.Values[valueUndo] = base + undo // shown with the notice that act sets
			}
		}
		return act(w, r, v)
	}
}

// AskFirst answers with a page that asks for confirmation. The page sends its form to the path of the request.
func (s *Pages) AskFirst(w http.ResponseWriter, r *http.Request, view templates.ConfirmView) error {
	view.Action = r.URL.EscapedPath()
	return s.Render(w, r, http.StatusOK, view.Nonce, templates.ConfirmPage(view))
}

// AppNames returns the names of the apps that hold active grants of a user in a workspace, each once. An empty
// workspaceID means all workspaces.
func (s *Pages) AppNames(ctx context.Context, userID, workspaceID string) (names []string, err error) {
	grants, err := s.store.LiveGrantsOf(ctx, userID)
	if err != nil {
		return nil, err
	}
	var seen []string
	for _, g := range grants {
		if workspaceID != "" && g.WorkspaceID != workspaceID || slices.Contains(seen, g.ClientID) {
			continue
		}
		seen = append(seen, g.ClientID)
		c, err := s.store.ClientByID(ctx, g.ClientID)
		if err != nil {
			return nil, err
		}
		names = append(names, AppName(&c))
	}
	return names, nil
}

// ActiveKeyNames returns the names of the keys or tokens that match f and are neither revoked nor expired.
func (s *Pages) ActiveKeyNames(
	ctx context.Context, owner storage.KeyOwner, f storage.KeyFilter,
) (names []string, err error) {
	f.Limit = apikey.MaxKeys
	list, err := s.store.Keys(ctx, owner, f)
	if err != nil {
		return nil, err
	}
	for i := range list {
		if state := s.apikey.State(&list[i]); state != "revoked" && state != "expired" {
			names = append(names, list[i].Name)
		}
	}
	return names, nil
}

// Listed returns the first few of a list of names, for the end of a sentence.
func Listed(names []string) string {
	const most = 5
	listed := strings.Join(names[:min(most, len(names))], ", ")
	if len(names) > most {
		listed += ", …"
	}
	return listed
}

// NonEmpty returns the list without its empty texts.
func NonEmpty(list ...locale.Text) []locale.Text {
	return slices.DeleteFunc(list, locale.Text.IsZero)
}
