package dashboard

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"doorward/locale"
	"doorward/oauth/apikey"
	"doorward/oauth/catalog"
	"doorward/storage"
	"doorward/templates"
	"doorward/web/page"
)

// Create serves POST …/api-keys and …/personal-access-tokens. It redirects to a page that shows the key, once, and is
// not cached by the browser.
func (s *Keys) Create(w http.ResponseWriter, r *http.Request, p keyPlace) error {
	f := s.typedKey(r, &p)
	v, fault, status, err := s.StepUp(w, r, p.v, r.PostForm.Get("password"))
	if err != nil {
		return err
	}
	p.v, p.by.Fresh = v, s.Fresh(v)
	refuse := func(status int, faults map[string]locale.Text) error {
		fields := s.keyFields(r.Context(), &p, f)
		fields.Errors = faults
		return s.showKeyForm(w, r, status, p, fields)
	}
	if !fault.IsZero() {
		return refuse(status, map[string]locale.Text{"password": fault})
	}
	err = errors.Join(f.readRateLimit(), s.readExpiry(&f))
	if err == nil {
		res, _ := s.catalog.Resource(f.Resource)
		f.ByObject = res != nil && len(f.Scopes) > 0 && !slices.ContainsFunc(f.Scopes, func(name string) bool {
			_, _, ok := catalog.SplitScope(name, res.Objects)
			return !ok
		})
		var view string
		_, view, err = s.CreateOnce(p.tenant(r.Context()), r, p.v, p.ws.ID,
			func(ctx context.Context) (x page.OneTimeSecret, err error) {
				var k storage.APIKey
				if p.personal() {
					k, x.Secret, err = s.management.CreatePersonalToken(ctx, p.by, f.Spec)
				} else {
					k, x.Secret, err = s.management.CreateKey(ctx, p.by, p.ws.Plan, f.Spec)
				}
				x.ID = k.ID
				return x, err
			})
		if err == nil {
			return page.Redirect(w, p.base+"/shown?view="+view)
		}
	}
	if faults := keyFaults(err); faults != nil {
		return refuse(http.StatusBadRequest, faults)
	}
	if errors.Is(err, apikey.ErrTooMany) {
		return &page.Error{
			Status: http.StatusConflict, Heading: locale.New("No key was created"), Cause: err, BackURL: p.base,
			BackText: locale.New("Back to the list"),
			Message: p.either(
				locale.New("You have reached the limit of %d active keys. Revoke some that you no longer use.", apikey.MaxKeys),
				locale.New("You have reached the limit of %d active tokens. Revoke some that you no longer use.", apikey.MaxKeys),
			),
		}
	}
	return err
}

// key finds the key with the id in the path, among those of the place.
func (s *Keys) key(r *http.Request, p *keyPlace) (k storage.APIKey, err error) {
	id := r.PathValue("id")
	if !storage.IsID("key", id) && !storage.IsID("token", id) {
		return k, page.NotFound()
	}
	err = s.store.InTx(p.tenant(r.Context()), func(ctx context.Context) (err error) {
		k, err = s.store.Key(ctx, p.owner, id)
		return err
	})
	return k, err
}

// KeyPage serves GET …/{id}.
func (s *Keys) KeyPage(w http.ResponseWriter, r *http.Request, p keyPlace) error {
	s.flushUsage(r.Context())
	k, err := s.key(r, &p)
	if err != nil {
		return err
	}
	head, err := s.PageWithNotice(w, r, p.v, p.section())
	if err != nil {
		return err
	}
	return s.showKey(w, r, http.StatusOK, p, &k, head, formOf(&k), nil)
}

// formOf returns the form of a key's settings, filled in with the key as it is stored.
func formOf(k *storage.APIKey) keyForm {
	f := keyForm{
		Spec: apikey.Spec{
			Name: k.Name, Note: k.Note, Resource: k.Resource, Scopes: k.Scopes, Role: k.Role, Plan: k.Plan,
		},
		addresses: strings.Join(k.Addresses, "\n"),
	}
	if k.RateLimit > 0 {
		f.rateLimit = strconv.FormatInt(k.RateLimit, 10)
	}
	return f
}

// oldAge is the age from which a key's page suggests rotating it.
const oldAge = 90 * 24 * time.Hour

func (s *Keys) showKey(
	w http.ResponseWriter, r *http.Request, status int, p keyPlace, k *storage.APIKey, head templates.Page, f keyForm,
	faults map[string]locale.Text,
) error {
	names := s.NewPeople()
	creator, err := names.Name(r.Context(), k.CreatedBy)
	if err != nil {
		return err
	}
	view := templates.KeyView{
		Page: head, KeyPlace: p.view(), KeyRow: s.keyRow(k, creator), Resource: k.Resource, Ranges: k.Addresses,
		Revoked: k.RevokedAt.Time(),
	}
	view.Final = view.State == "revoked"
	view.CanRotate = k.Live(s.store.Now()) && k.RotatedInto == "" && k.PausedAt.IsZero()
	if !k.PausedAt.IsZero() {
		view.WhyNotResume = page.WhyNotResume(p.by.MayResume(k))
	}
	view.Confirm = k.Environment == apikey.Live
	if age := s.Now().Sub(view.Created); age > oldAge {
		view.OldDays = int(age / (24 * time.Hour))
	}
	view.KeyFields = templates.KeyFields{
		Name: page.Clean(f.Name, 300), Note: f.Note, RateLimit: page.Clean(f.rateLimit, 20), Addresses: f.addresses,
		NeedPassword: s.AsksPassword(p.v), Errors: faults,
	}
	if res, ok := s.catalog.Resource(k.Resource); ok {
		view.Resource = res.Name
		view.Includes = slices.DeleteFunc(res.Effective(k.Scopes, "", p.personal()), k.Scopes.Has)
		held := append([]string{}, res.Effective(k.Scopes, "", true)...)
		view.Resources = []templates.KeyResource{keyResource(r.Context(), res, true, p.personal(), f.Scopes, held)}
	}
	if p.personal() {
		view.Reach, view.Roles = reachOf(p.all, k.Role), roleOptionsWithin(f.Role, k.Role)
	} else if err := s.keyLimits(r.Context(), &p, k, f.Plan, &view); err != nil {
		return err
	}
	view.Requests.Asked = r.URL.Query().Get("request")
	if err := s.keyHistory(r.Context(), &p, k, &view, names); err != nil {
		return err
	}
	return s.Render(w, r, status, view.Nonce, templates.KeyPage(view))
}

// keyLimits fills in the rate limit of an API key, and how much of it is left.
func (s *Keys) keyLimits(
	ctx context.Context, p *keyPlace, k *storage.APIKey, chosen string, view *templates.KeyView,
) error {
	view.PlanText, view.Plans = s.planFields(p, k, chosen)
	if chosen != "" && !slices.ContainsFunc(view.Plans, func(o templates.Option) bool { return o.Selected }) {
		// The key has a plan that can no longer be chosen.
		view.Plans = append(view.Plans, templates.Option{Value: chosen, Text: templates.AsIs(chosen), Selected: true})
	}
	name, plan := s.apikey.Plan(k, p.ws.Plan)
	view.LimitText = planText(plan)
	switch {
	case name == "" || k.RateLimit != 0:
	case view.LimitText.IsZero():
		view.LimitText = locale.New("(plan: %s)", name)
	default:
		view.LimitText = locale.New("%s (plan: %s)", view.LimitText, name)
	}
	left, limited, err := s.bearer.Remaining(storage.System(ctx), k, p.ws.Plan)
	if err != nil {
		return err
	}
	if limited && left.Limit > 0 && view.State != "revoked" && view.State != "expired" {
		view.Left = locale.New("%d of %d requests left", left.Remaining, left.Limit)
		if left.Remaining < left.Limit {
			reset := time.Unix(left.Reset, 0)
			view.Left = locale.New("%d of %d requests left, resets at %s on %s",
				left.Remaining, left.Limit, timeOfDay(ctx, reset), locale.From(ctx).ShortDay(reset))
		}
	}
	return nil
}

// keyHistory fills in how a key was used, which keys it replaces, and what was done to it.
func (s *Keys) keyHistory(
	ctx context.Context, p *keyPlace, k *storage.APIKey, view *templates.KeyView, names *page.People,
) error {
	var old []storage.APIKey
	var events []storage.AuditEvent
	var fresh *storage.APIKey
	err := s.store.InTx(p.tenant(ctx), func(ctx context.Context) (err error) {
		if old, err = s.store.KeysRotatedInto(ctx, p.owner, k.ID); err != nil {
			return err
		}
		if k.RotatedInto != "" {
			x, err := s.store.Key(ctx, p.owner, k.RotatedInto)
			if err != nil && !errors.Is(err, storage.ErrNotFound) {
				return err
			}
			if err == nil {
				fresh = &x
			}
		}
		events, err = s.store.AuditEvents(ctx, storage.AuditFilter{WorkspaceID: p.ws.ID, Target: k.ID, Limit: 50})
		return err
	})
	if err != nil {
		return err
	}
	if fresh != nil {
		view.ReplacedBy = &templates.RelatedKey{ID: fresh.ID, Masked: page.Masked(fresh), State: s.apikey.State(fresh)}
	}
	err = s.readUsage(ctx, p, func(ctx context.Context, workspaceIDs []string) (err error) {
		if view.Days, err = s.usageDays(ctx, k.ID, workspaceIDs...); err != nil {
			return err
		}
		if view.LastDay, err = s.last24Hours(ctx, k.ID, workspaceIDs); err != nil {
			return err
		}
		for i := range old {
			related := templates.RelatedKey{
				ID: old[i].ID, Masked: page.Masked(&old[i]), State: s.apikey.State(&old[i]), Ends: old[i].ExpiresAt.Time(),
				LastUsed: old[i].LastUsedAt.Time(), LastUsedFrom: old[i].LastUsedFrom,
			}
			if related.LastDay, err = s.last24Hours(ctx, old[i].ID, workspaceIDs); err != nil {
				return err
			}
			view.Replaces = append(view.Replaces, related)
		}
		view.Requests, err = s.requestsOf(ctx, k.ID, p.base+"/"+k.ID, view.Requests.Asked)
		return err
	})
	if err != nil {
		return err
	}
	for i := range events {
		who, err := names.Name(ctx, events[i].UserID)
		if err != nil {
			return err
		}
		view.Events = append(view.Events, templates.KeyEvent{
			At: events[i].CreatedAt.Time(), Text: eventText(&events[i]), Who: who, Address: events[i].Address,
		})
	}
	if len(old) > 0 { // the audit log has this event under the old key
		view.Events = append(view.Events, templates.KeyEvent{
			At: view.Created, Text: locale.New("Created to replace %s", page.Masked(&old[0])), Who: view.Creator,
		})
	}
	return nil
}

// readUsage runs fn with a context in which the usage of the place's keys can be read, and the workspaces to read it
// from. A personal access token is used in several workspaces, so its usage is read as the system; callers have made
// sure that the token belongs to the visitor.
func (s *Keys) readUsage(
	ctx context.Context, p *keyPlace, fn func(ctx context.Context, workspaceIDs []string) error,
) error {
	if !p.personal() {
		return s.store.InTx(p.tenant(ctx), func(ctx context.Context) error { return fn(ctx, []string{p.ws.ID}) })
	}
	var ids []string
	for _, ws := range p.all {
		ids = append(ids, ws.ID)
	}
	return fn(storage.System(ctx), ids)
}

// last24Hours counts the requests with a key in the last 24 hours. Usage is stored by the hour, so the count may
// include most of an hour more.
func (s *Keys) last24Hours(ctx context.Context, keyID string, workspaceIDs []string) (n int64, err error) {
	for _, ws := range workspaceIDs {
		list, err := s.store.UsageOf(ctx, ws, keyID, s.store.Now().Add(-24*time.Hour), s.store.Now().Add(time.Hour))
		if err != nil {
			return 0, err
		}
		for _, x := range list {
			n += x.Allowed + x.Limited + x.Refused
		}
	}
	return n, nil
}

// timeOfDay is a time of day with its time zone, such as 15:04 UTC.
func timeOfDay(ctx context.Context, t time.Time) string { return t.In(zone(ctx)).Format("15:04 MST") }

// keyEvents are what can be done to a key, apart from creating and changing it.
var keyEvents = map[string]locale.Text{
	"rotated": locale.New("Rotated"),
	"updated": locale.New("Updated."),
	"paused":  locale.New("Paused."),
	"resumed": locale.New("Resumed."),
	"revoked": locale.New("Revoked."),
}

// eventText says in words what was done to a key.
func eventText(e *storage.AuditEvent) locale.Text {
	_, done, _ := strings.Cut(e.Action, ".")
	if done == "created" {
		return locale.New("Created with the permissions %s", listed(e.Detail["scopes"]))
	}
	if changes := keyChanges(e.Detail); done == "updated" && len(changes) > 0 {
		return page.Sentences(changes...)
	}
	if text, ok := keyEvents[done]; ok {
		return text
	}
	return templates.AsIs(done) // of a later version
}

// keyChanges says in a sentence each what a change to a key changed, as the audit log has it. A value that is empty was
// removed.
func keyChanges(detail map[string]string) (list []locale.Text) {
	for _, x := range []struct {
		field            string
		changed, removed locale.Text
	}{
		{"name", locale.New("Renamed."), locale.New("Name removed.")},
		{"note", locale.New("Note changed."), locale.New("Note removed.")},
		{
			"scopes", locale.New("Permissions changed to %s.", listed(detail["scopes"])),
			locale.New("Permissions removed."),
		},
		{
			"role", locale.New("Maximum role changed to %s.", catalog.RoleName(detail["role"])),
			locale.New("Role removed."),
		},
		{"plan", locale.New("Plan changed to %s.", detail["plan"]), locale.New("Plan removed.")},
		{
			"rate_limit", locale.New("Rate limit changed to %s requests per hour.", detail["rate_limit"]),
			locale.New("Rate limit removed."),
		},
		{
			"addresses", locale.New("Allowed IP addresses changed to %s.", detail["addresses"]),
			locale.New("All IP addresses allowed."),
		},
	} {
		switch value, ok := detail[x.field]; {
		case !ok:
		case value == "" || x.field == "rate_limit" && value == "0":
			list = append(list, x.removed)
		default:
			list = append(list, x.changed)
		}
	}
	return list
}

// listed puts commas between scopes that are separated by spaces.
func listed(scopes string) string { return strings.Join(strings.Fields(scopes), ", ") }

// ShownKey serves GET …/shown: a new key or token, once.
func (s *Keys) ShownKey(w http.ResponseWriter, r *http.Request, p keyPlace) error {
	x, err := s.TakeSecret(r, p.v)
	if err != nil {
		return err
	}
	if x.Secret == "" {
		return page.AlreadyShown(p.base, x)
	}
	var k storage.APIKey
	err = s.store.InTx(p.tenant(r.Context()), func(ctx context.Context) (err error) {
		k, err = s.store.Key(ctx, p.owner, x.ID)
		return err
	})
	if err != nil {
		return err
	}
	view := templates.KeySecretView{
		Page: s.NewPage(p.v, p.section()), KeyPlace: p.view(), Name: k.Name, Key: x.Secret, CallURL: s.callURL(),
		OldUntil: x.OldUntil, NextURL: p.base + "/" + k.ID,
	}
	if res, ok := s.catalog.Resource(k.Resource); ok && p.personal() {
		view.Header, view.Slug = res.WorkspaceHeader, p.ws.Slug
	}
	return s.Render(w, r, http.StatusOK, view.Nonce, templates.KeySecretPage(view))
}
