package dashboard

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"doorward/locale"
	"doorward/management"
	"doorward/oauth/apikey"
	"doorward/storage"
	"doorward/templates"
	"doorward/web/page"
)

// graces are the choices in the forms for how long the old secret keeps working after a rotation.
var graces = map[string]time.Duration{"now": 0, "1h": time.Hour, "24h": 24 * time.Hour, "7d": 7 * 24 * time.Hour}

// Confirm serves GET …/{id}/revoke and …/pause of a key or token. To revoke a live key, its name must be typed on the
// key's own page.
func (s *Keys) Confirm(w http.ResponseWriter, r *http.Request, p keyPlace) error {
	k, err := s.key(r, &p)
	if err != nil {
		return err
	}
	keyURL := p.base + "/" + k.ID
	pause := strings.HasSuffix(r.URL.Path, "/pause")
	if !pause && k.Environment == apikey.Live {
		return page.Redirect(w, keyURL+"#h-end")
	}
	s.flushUsage(r.Context())
	var n int64
	err = s.readUsage(r.Context(), &p, func(ctx context.Context, ids []string) (err error) {
		n, err = s.last24Hours(ctx, k.ID, ids)
		return err
	})
	if err != nil {
		return err
	}
	used := locale.New("It was never used.")
	if last := k.LastUsedAt.Time(); !k.LastUsedAt.IsZero() {
		at := timeOfDay(r.Context(), last)
		used = locale.New("It was used for %d requests in the last 24 hours, most recently on %s at %s.",
			n, locale.Day(last), at)
		if k.LastUsedFrom != "" {
			used = locale.New("It was used for %d requests in the last 24 hours, most recently on %s at %s from %s.",
				n, locale.Day(last), at, k.LastUsedFrom)
		}
	}
	view := templates.ConfirmView{
		Page: s.NewPage(p.v, p.section()), Workspace: p.view().Workspace, CancelURL: keyURL,
		Title: locale.New("Revoke %s?", k.Name), Button: locale.New("Revoke"), Stays: locale.New("This cannot be undone."),
		Ends: []locale.Text{locale.New("Requests with %s are refused immediately.", page.Masked(&k)), used},
	}
	if pause {
		view.Title, view.Button = locale.New("Pause %s?", k.Name), locale.New("Pause")
		view.Stays = locale.New("You can resume it at any time.")
		view.Ends[0] = locale.New("Requests with %s are refused until you resume it.", page.Masked(&k))
	}
	return s.AskFirst(w, r, view)
}

// Update serves POST …/{id}.
func (s *Keys) Update(w http.ResponseWriter, r *http.Request, p keyPlace) error {
	k, err := s.key(r, &p)
	if err != nil {
		return err
	}
	f := s.typedKey(r, &p)
	f.Scopes = slices.Compact(slices.Sorted(slices.Values(r.PostForm["scope-0"])))
	err = f.readRateLimit()
	if err == nil {
		change := management.KeyChange{Name: ptr(strings.TrimSpace(f.Name)), Note: ptr(strings.TrimSpace(f.Note))}
		if !slices.Equal(f.Scopes, slices.Sorted(slices.Values(k.Scopes))) {
			change.Scopes, change.ByObject = &f.Scopes, k.ScopesByObject
		}
		if !slices.Equal(f.Addresses, k.Addresses) {
			change.Addresses = &f.Addresses
		}
		if p.personal() {
			change.Role = &f.Role
		} else {
			change.RateLimit = &f.RateLimit
			if r.PostForm.Has("plan") {
				change.Plan = &f.Plan
			}
		}
		_, err = s.management.UpdateKey(p.tenant(r.Context()), p.by, p.owner, p.ws.Plan, k.ID, change)
	}
	if faults := keyFaults(err); faults != nil {
		return s.showKey(w, r, http.StatusBadRequest, p, &k, s.NewPage(p.v, p.section()), f, faults)
	}
	return s.changed(w, r, p.v, p.base+"/"+k.ID, locale.New("Saved."), err)
}

func ptr[T any](v T) *T { return &v }

// Rotate serves POST …/{id}/rotate.
func (s *Keys) Rotate(w http.ResponseWriter, r *http.Request, p keyPlace) error {
	v, fault, status, err := s.StepUp(w, r, p.v, r.PostForm.Get("password"))
	if err != nil {
		return err
	}
	p.v, p.by.Fresh = v, s.Fresh(v)
	k, err := s.key(r, &p)
	if err != nil {
		return err
	}
	grace, known := graces[r.PostForm.Get("grace")]
	if !fault.IsZero() || !known {
		faults := map[string]locale.Text{"password": fault}
		if fault.IsZero() {
			status = http.StatusBadRequest
			faults = map[string]locale.Text{"grace": p.either(
				locale.New("Choose when the current key expires."), locale.New("Choose when the current token expires."),
			)}
		}
		return s.showKey(w, r, status, p, &k, s.NewPage(p.v, p.section()), formOf(&k), faults)
	}
	var oldUntil time.Time
	if grace > 0 {
		if oldUntil = s.Now().Add(grace); !k.ExpiresAt.IsZero() && k.ExpiresAt.Time().Before(oldUntil) {
			oldUntil = k.ExpiresAt.Time()
		}
	}
	_, view, err := s.CreateOnce(p.tenant(r.Context()), r, p.v, p.ws.ID,
		func(ctx context.Context) (x page.OneTimeSecret, err error) {
			var fresh storage.APIKey
			fresh, x.Secret, err = s.management.RotateKey(ctx, p.by, p.owner, k.ID, grace)
			x.ID, x.OldUntil = fresh.ID, oldUntil
			return x, err
		})
	if errors.Is(err, apikey.ErrRotated) {
		return &page.Error{
			Status: http.StatusConflict, Heading: locale.New("No key was created"), Cause: err, BackURL: p.base + "/" + k.ID,
			BackText: locale.New("Go back"),
			Message:  locale.New("It was already rotated or revoked, or has expired. Create a new one instead."),
		}
	}
	if faults := page.FieldErrors(err); faults != nil {
		return &page.Error{
			Status: http.StatusBadRequest, Heading: locale.New("No key was created"), Cause: err,
			BackURL: p.base + "/" + k.ID, BackText: locale.New("Go back"), Message: page.Joined(faults),
		}
	}
	if err != nil {
		return err
	}
	return page.Redirect(w, p.base+"/shown?view="+view)
}

// SetPaused serves POST …/{id}/pause and …/resume.
func (s *Keys) SetPaused(w http.ResponseWriter, r *http.Request, p keyPlace) error {
	k, err := s.key(r, &p)
	if err != nil {
		return err
	}
	act, text := s.management.ResumeKey, p.either(locale.New("Key resumed."), locale.New("Token resumed."))
	if strings.HasSuffix(r.URL.Path, "/pause") {
		act, text = s.management.PauseKey, p.either(
			locale.New("Key paused. Requests that use it are refused."),
			locale.New("Token paused. Requests that use it are refused."),
		)
	}
	_, err = act(p.tenant(r.Context()), p.by, p.owner, k.ID)
	return s.changed(w, r, p.v, p.base+"/"+k.ID, text, err)
}

// Revoke serves POST …/{id}/revoke. For a live key, the name must be typed to confirm.
func (s *Keys) Revoke(w http.ResponseWriter, r *http.Request, p keyPlace) error {
	k, err := s.key(r, &p)
	if err != nil {
		return err
	}
	if (k.Environment == apikey.Live || r.PostForm.Get("confirmed") != "yes") &&
		strings.TrimSpace(r.PostForm.Get("confirm")) != k.Name {
		return s.showKey(w, r, http.StatusBadRequest, p, &k, s.NewPage(p.v, p.section()), formOf(&k),
			map[string]locale.Text{"confirm": locale.New("Type the name exactly as shown. Nothing was revoked.")})
	}
	_, err = s.management.RevokeKey(p.tenant(r.Context()), p.by, p.owner, k.ID)
	return s.changed(w, r, p.v, p.base, p.either(locale.New("Key revoked."), locale.New("Token revoked.")), err)
}
