package dashboard

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"doorward/locale"
	"doorward/oauth/apikey"
	"doorward/oauth/catalog"
	"doorward/oauth/input"
	"doorward/oauth/limit"
	"doorward/storage"
	"doorward/templates"
	"doorward/web/page"
)

// keyForm is the form of a key as it was typed.
type keyForm struct {
	apikey.Spec
	rateLimit string // as typed
	expires   string // the choice: a number of days, or one of the constants below
	addresses string // as typed
}

// keyResources returns the resources that the place's keys can be for. API keys need an environment there.
func (s *Keys) keyResources(p *keyPlace) []catalog.Resource {
	return slices.DeleteFunc(slices.Clone(s.catalog.Resources()), func(res catalog.Resource) bool {
		return len(res.Keys.Environments) == 0 && !p.personal()
	})
}

// typedKey reads the form of a new key, or of the settings of one.
func (s *Keys) typedKey(r *http.Request, p *keyPlace) keyForm {
	form := r.PostForm
	f := keyForm{
		rateLimit: strings.TrimSpace(form.Get("rate_limit")), expires: form.Get("expires"), addresses: form.Get("addresses"),
	}
	f.Spec = apikey.Spec{
		Name: form.Get("name"), Note: form.Get("note"), Resource: form.Get("resource"), Environment: form.Get("environment"),
		Role: form.Get("role"), Plan: form.Get("plan"),
		Addresses: strings.FieldsFunc(f.addresses, func(c rune) bool { return strings.ContainsRune(" ,\t\r\n", c) }),
	}
	i := max(0, slices.IndexFunc(s.keyResources(p), func(res catalog.Resource) bool { return res.ID == f.Resource }))
	f.Scopes = slices.Compact(slices.Sorted(slices.Values(form["scope-"+strconv.Itoa(i)])))
	return f
}

// readRateLimit sets RateLimit to the number that was typed.
func (f *keyForm) readRateLimit() error {
	if f.rateLimit == "" {
		return nil
	}
	n, err := strconv.ParseInt(f.rateLimit, 10, 64)
	if err != nil || n < 1 {
		return &input.Invalid{
			Field:   "rate limit",
			Message: locale.New("must be a number above zero; leave it empty to use the plan's limit"),
		}
	}
	f.RateLimit = n
	return nil
}

// lifetimes are the choices for when a key expires, in days from now.
var lifetimes = []int{30, 60, 90, 365}

const (
	neverExpires = "never"
	longest      = "longest" // the longest lifetime that the resource allows
	standardLife = "90"
)

// readExpiry sets ExpiresAt to the choice of when the key expires.
func (s *Keys) readExpiry(f *keyForm) error {
	if f.expires == neverExpires {
		return nil
	}
	if f.expires == longest {
		res, ok := s.catalog.Resource(f.Resource)
		if !ok {
			res = &s.catalog.Resources()[0]
		}
		if res.Keys.MaxLifetime > 0 {
			f.ExpiresAt = s.store.Now().Add(res.Keys.MaxLifetime)
			return nil
		}
	}
	days, err := strconv.Atoi(f.expires)
	if err != nil || !slices.Contains(lifetimes, days) {
		return &input.Invalid{Field: "expires", Message: locale.New("Choose an expiration date")}
	}
	f.ExpiresAt = s.store.Now().Add(time.Duration(days) * 24 * time.Hour)
	return nil
}

// expiries returns the choices for when a key expires that at least one resource allows.
func (s *Keys) expiries(chosen string) (list []templates.Option) {
	var most time.Duration
	bounded := true
	for _, res := range s.catalog.Resources() {
		bounded = bounded && res.Keys.MaxLifetime > 0
		most = max(most, res.Keys.MaxLifetime)
	}
	for _, days := range lifetimes {
		life := time.Duration(days) * 24 * time.Hour
		if bounded && life >= most {
			break
		}
		list = append(list, templates.Option{
			Value: strconv.Itoa(days),
			Text:  locale.New("in %d days, on %s", days, locale.Day(s.Now().Add(life))),
		})
	}
	if bounded {
		list = append(list, templates.Option{
			Value: longest, Text: locale.New("in %s, the longest allowed", locale.Span(most)),
		})
	} else {
		list = append(list, templates.Option{Value: neverExpires, Text: locale.New("never")})
	}
	if !slices.ContainsFunc(list, func(o templates.Option) bool { return o.Value == chosen }) {
		chosen = standardLife
	}
	i := slices.IndexFunc(list, func(o templates.Option) bool { return o.Value == chosen })
	if i < 0 {
		i = len(list) - 1 // 90 days is too long here
	}
	list[i].Selected = true
	return list
}

// keyFields returns the form of a new key, filled in with f.
func (s *Keys) keyFields(ctx context.Context, p *keyPlace, f keyForm) templates.KeyFields {
	fields := templates.KeyFields{
		Name: page.Clean(f.Name, 300), Note: f.Note, RateLimit: page.Clean(f.rateLimit, 20), Addresses: f.addresses,
		Expiries: s.expiries(f.expires), NeedPassword: s.AsksPassword(p.v),
	}
	for i, res := range s.keyResources(p) {
		chosen := f.Resource == res.ID || f.Resource == "" && i == 0
		fields.Resources = append(fields.Resources, keyResource(ctx, &res, chosen, p.personal(), f.Scopes, nil))
	}
	if p.personal() {
		fields.Roles = roleOptions(f.Role, true)
		return fields
	}
	for _, name := range s.environments() {
		fields.Environments = append(fields.Environments, templates.Option{
			Value: name, Text: environmentNames[name], Hint: s.environmentHint(p, name),
			Selected: name == f.Environment || f.Environment == "" && name == apikey.Live,
		})
	}
	fields.PlanText, fields.Plans = s.planFields(p, &storage.APIKey{
		Resource: s.catalog.Resources()[0].ID, Environment: apikey.Live,
	}, f.Plan)
	return fields
}

// environmentNames are the names of the environments of API keys.
var environmentNames = map[string]locale.Text{
	apikey.Live: locale.New("environment: Live"), apikey.Test: locale.New("environment: Test"),
}

// environmentHint says what the keys of an environment are for, and how much they may do.
func (s *Keys) environmentHint(p *keyPlace, name string) locale.Text {
	key := storage.APIKey{Resource: s.catalog.Resources()[0].ID, Environment: name}
	_, plan := s.apikey.Plan(&key, p.ws.Plan)
	switch limited := plan != (limit.Plan{}); {
	case name == apikey.Test && limited:
		return locale.New("For testing. At most %s.", planText(plan))
	case name == apikey.Test:
		return locale.New("For testing.")
	case limited:
		return locale.New("For production. At most %s.", planText(plan))
	}
	return locale.New("For production.")
}

// planFields returns the hint for a key's rate limit, and the plans that the key may have.
func (s *Keys) planFields(
	p *keyPlace, k *storage.APIKey, chosen string,
) (text locale.Text, options []templates.Option) {
	without := storage.APIKey{Resource: k.Resource, Environment: k.Environment}
	_, plan := s.apikey.Plan(&without, p.ws.Plan)
	text = locale.New("Leave empty to use the limit of the workspace's plan.")
	if plan.Hour > 0 {
		text = locale.New("At most %d, the limit of the plan. Leave empty to use that limit.", plan.Hour)
	} else if plan == (limit.Plan{}) {
		text = locale.New("The workspace has no limit. Leave empty for no limit.")
	}
	same := locale.New("Same as the workspace")
	if allows := planText(plan); !allows.IsZero() {
		same = locale.New("Same as the workspace (%s)", allows)
	}
	options = []templates.Option{{Text: same, Selected: chosen == ""}}
	for _, name := range s.apikey.PlansFor(k, p.ws.Plan) {
		fits, _ := s.catalog.Plan(name)
		options = append(options, templates.Option{Value: name, Text: planWith(name, fits), Selected: name == chosen})
	}
	return text, options
}

// keyResource returns a resource with the scopes to choose from: all, or only those that held covers, if held is not
// nil. Scopes that need a user are not offered for API keys. ctx is the reader's.
func keyResource(
	ctx context.Context, res *catalog.Resource, chosen, personal bool, checked, held []string,
) templates.KeyResource {
	out := templates.KeyResource{ID: res.ID, Name: res.Name, Selected: chosen}
	has := func(name string) bool { return chosen && slices.Contains(checked, name) }
	offered := func(x *catalog.Scope, name string) bool {
		return (personal || !x.UserOnly) && (held == nil || res.Covers(held, name))
	}
	var names []string
	for _, x := range res.Scopes {
		if offered(&x, x.Name) {
			names = append(names, x.Name)
		}
	}
	out.Scopes = page.ScopeTree(ctx, res, names, personal, has)
	for _, object := range res.Objects {
		choice := templates.ObjectChoice{Name: object}
		for _, x := range res.Scopes {
			if name := object + ":" + x.Name; !strings.Contains(x.Name, ":") && offered(&x, name) {
				text := x.Name
				var with []string
				for _, included := range res.Effective([]string{name}, "", personal)[1:] {
					with = append(with, strings.TrimPrefix(included, object+":"))
				}
				if len(with) > 0 {
					text = locale.From(ctx).Text("%s (includes %s)", x.Name, strings.Join(with, ", "))
				}
				choice.Scopes = append(choice.Scopes, templates.ScopeChoice{
					Name: name, Text: text, Kind: page.ScopeKind(x), Checked: has(name),
				})
			}
		}
		if len(choice.Scopes) > 0 {
			out.Objects = append(out.Objects, choice)
		}
	}
	return out
}

// keyFaults is page.FieldErrors with the names of the form's fields.
func keyFaults(err error) map[string]locale.Text {
	faults := page.FieldErrors(err)
	for from, to := range map[string]string{"rate limit": "rate_limit", "key": "", "kind": ""} {
		if text, ok := faults[from]; ok {
			delete(faults, from)
			faults[to] = text
		}
	}
	return faults
}

// FormPage serves GET …/new.
func (s *Keys) FormPage(w http.ResponseWriter, r *http.Request, p keyPlace) error {
	return s.showKeyForm(w, r, http.StatusOK, p, s.keyFields(r.Context(), &p, keyForm{}))
}

func (s *Keys) showKeyForm(
	w http.ResponseWriter, r *http.Request, status int, p keyPlace, fields templates.KeyFields,
) error {
	view := templates.KeyFormView{Page: s.NewPage(p.v, p.section()), KeyPlace: p.view(), KeyFields: fields}
	if p.personal() {
		view.Reach = reachByRole(p.all)
	}
	return s.Render(w, r, status, view.Nonce, templates.KeyFormPage(view))
}
