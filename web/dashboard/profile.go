package dashboard

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"

	"doorward/locale"
	"doorward/management"
	"doorward/oauth/identity"
	"doorward/storage"
	"doorward/templates"
	"doorward/web/page"
)

// ProfilePage serves GET /settings/profile.
func (s *Account) ProfilePage(w http.ResponseWriter, r *http.Request, v *page.Visitor) error {
	head, err := s.PageWithNotice(w, r, v, templates.SectionProfile)
	if err != nil {
		return err
	}
	return s.showProfile(w, r, http.StatusOK, v, templates.ProfileView{Page: head, Name: v.User.Name})
}

func (s *Account) showProfile(
	w http.ResponseWriter, r *http.Request, status int, v *page.Visitor, view templates.ProfileView,
) error {
	view.Email, view.UserID, view.MemberSince = v.User.Email, v.User.ID, v.User.CreatedAt.Time()
	view.MayChange, view.Zones = s.SendsEmail(), zoneOptions(v.User.TimeZone)
	if list := s.Languages(); len(list) > 1 {
		view.Languages = []templates.Option{{Text: locale.New("As the browser asks"), Selected: v.User.Language == ""}}
		for _, l := range list {
			view.Languages = append(view.Languages, templates.Option{
				Value: l.Tag(), Text: templates.AsIs(l.Name()), Selected: l.Tag() == v.User.Language,
			})
		}
	}
	return s.Render(w, r, status, view.Nonce, templates.ProfilePage(view))
}

// Profile serves POST /settings/profile. A field that is not sent stays as it is.
func (s *Account) Profile(w http.ResponseWriter, r *http.Request, v *page.Visitor) error {
	form := r.PostForm
	language, zone := v.User.Language, v.User.TimeZone
	faults := map[string]locale.Text{}
	if form.Has("language") {
		language = form.Get("language")
		if language != "" && !slices.ContainsFunc(s.Languages(), func(l *locale.Language) bool { return l.Tag() == language }) {
			faults["language"] = locale.New("Choose a language from the list.")
		}
	}
	if form.Has("time_zone") {
		zone = form.Get("time_zone")
		if zone != "" && zone != v.User.TimeZone && !slices.Contains(zones, zone) {
			faults["time_zone"] = locale.New("Choose a time zone from the list.")
		}
	}
	var err error
	if len(faults) == 0 {
		err = s.identity.Rename(r.Context(), v.User.ID, form.Get("name"))
		if err == nil && (language != v.User.Language || zone != v.User.TimeZone) {
			err = s.identity.SetLocale(r.Context(), v.User.ID, language, zone)
		}
		faults = page.FieldErrors(err)
	}
	if len(faults) > 0 {
		return s.showProfile(w, r, http.StatusBadRequest, v, templates.ProfileView{
			Page: s.NewPage(v, templates.SectionProfile), Name: page.Clean(form.Get("name"), 300), Errors: faults,
		})
	}
	if err != nil {
		return err
	}
	v.User.Language, v.User.TimeZone = language, zone
	s.WriteFor(r, &v.User) // the notice is in the new language
	return s.RedirectWithNotice(w, r, v, "/settings/profile", locale.New("Saved."))
}

// AskAddress serves POST /settings/profile/address: it sends a link to a new address. The answer is the same for an
// address that has an account.
func (s *Account) AskAddress(w http.ResponseWriter, r *http.Request, v *page.Visitor) error {
	if !s.SendsEmail() {
		return page.NotFound()
	}
	if !s.Fresh(v) {
		return management.ErrStale
	}
	email := r.PostForm.Get("email")
	err := s.identity.AskAddress(r.Context(), v.User.ID, email)
	if faults := page.FieldErrors(err); faults != nil {
		return s.showProfile(w, r, http.StatusBadRequest, v, templates.ProfileView{
			Page: s.NewPage(v, templates.SectionProfile), Name: v.User.Name, NewEmail: page.Clean(email, 320), Errors: faults,
		})
	}
	if err != nil && !errors.Is(err, identity.ErrNotSent) {
		return err
	}
	return s.RedirectWithNotice(w, r, v, "/settings/profile", locale.New("If emails to %s can be sent, one is on its way. "+
		"Open its link within an hour to change your address.", page.Clean(strings.TrimSpace(email), 320)))
}

// ConfirmDelete serves GET /settings/profile/delete: what is deleted with the account.
func (s *Account) ConfirmDelete(w http.ResponseWriter, r *http.Request, v *page.Visitor) error {
	ctx := storage.System(r.Context())
	gone, err := s.store.SolelyOwnedBy(ctx, v.User.ID)
	if err != nil {
		return err
	}
	apps, err := s.AppNames(ctx, v.User.ID, "")
	if err != nil {
		return err
	}
	tokens, err := s.ActiveKeyNames(ctx, storage.KeyOwner{UserID: v.User.ID}, storage.KeyFilter{})
	if err != nil {
		return err
	}
	view := templates.ConfirmView{
		Page: s.NewPage(v, templates.SectionProfile), Title: locale.New("Delete your account?"),
		Button: locale.New("Delete my account"), CancelURL: "/settings/profile",
		Stays: locale.New("This cannot be undone. Workspaces that have another owner stay, without you."),
		Ends: page.NonEmpty(
			locale.New("You cannot sign in any more: every browser is signed out, and your profile is deleted."),
			ifAny(len(apps), locale.New("%d apps will lose their access: %s.", len(apps), page.Listed(apps))),
			ifAny(len(tokens), locale.New("%d personal access tokens will stop working: %s.", len(tokens),
				page.Listed(tokens))),
		),
		Fields: []templates.FormField{{Name: "workspaces", Value: idsOf(gone)}},
	}
	for _, ws := range gone {
		keys, err := s.ActiveKeyNames(ctx, storage.KeyOwner{WorkspaceID: ws.ID}, storage.KeyFilter{})
		if err != nil {
			return err
		}
		text := locale.New("The workspace %s is deleted, with its apps, keys and usage.", ws.Name)
		if ws.Personal {
			text = locale.New("Your personal workspace is deleted, with its apps, keys and usage.")
		}
		view.Ends = append(view.Ends, text)
		if len(keys) > 0 {
			view.Ends = append(view.Ends, locale.New("%d API keys of %s stop working: %s.", len(keys), ws.Name,
				page.Listed(keys)))
		}
	}
	return s.AskFirst(w, r, view)
}

// idsOf joins the ids of workspaces, to compare what a page has shown with what there is.
func idsOf(list []storage.Workspace) string {
	var ids []string
	for _, ws := range list {
		ids = append(ids, ws.ID)
	}
	slices.Sort(ids)
	return strings.Join(ids, " ")
}

// Delete serves POST /settings/profile/delete.
func (s *Account) Delete(w http.ResponseWriter, r *http.Request, v *page.Visitor) error {
	gone, err := s.store.SolelyOwnedBy(storage.System(r.Context()), v.User.ID)
	if err != nil {
		return err
	}
	if r.PostForm.Get("workspaces") != idsOf(gone) {
		return s.ConfirmDelete(w, r, v) // other workspaces would be deleted than the page has said
	}
	if !s.Fresh(v) {
		return management.ErrStale
	}
	err = s.identity.DeleteUser(r.Context(), v.User.ID)
	if errors.Is(err, storage.ErrConflict) {
		return &page.Error{
			Status: http.StatusConflict, Heading: locale.New("Nothing was changed"),
			Message: locale.New("You are the last administrator of this server. Make another user an administrator first."),
			BackURL: "/settings/profile", BackText: locale.New("Go to your profile"), Cause: err,
		}
	}
	if err != nil {
		return err
	}
	if err := s.EndSession(w, r, v); err != nil { // the session is gone; this removes the cookie
		return err
	}
	view := templates.DoneView{
		Page: s.NewPage(nil, ""), Heading: locale.New("Your account was deleted"),
		Message: locale.New("You are signed out everywhere."), BackURL: "/login", BackText: locale.New("Sign in"),
	}
	return s.Render(w, r, http.StatusOK, view.Nonce, templates.DonePage(view))
}

// Export serves POST /settings/profile/export: a file with the user's data.
func (s *Account) Export(w http.ResponseWriter, r *http.Request, v *page.Visitor) error {
	if !s.Fresh(v) {
		return management.ErrStale
	}
	data, err := s.export(r, v)
	if err != nil {
		return err
	}
	text, err := json.MarshalIndent(data, "", "  ")
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Disposition", `attachment; filename="account.json"`)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	_, _ = w.Write(append(text, '\n')) // the browser may be gone
	return nil
}
