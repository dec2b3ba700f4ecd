package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"doorward/management"
	"doorward/oauth/apikey"
	"doorward/oauth/catalog"
	"doorward/oauth/input"
	"doorward/oauth/limit"
	"doorward/storage"
	"doorward/templates"
)

// keysBase is where the API keys of a workspace are.
const keysBase = workspaceBase + "/" + templates.TabKeys

// usageDays is how many days a chart of a key shows, today included.
const usageDays = 30

// keyPlace is whose keys a page is about: a workspace's API keys, or the visitor's own personal access tokens.
type keyPlace struct {
	v     *visitor
	by    management.Authority
	ws    storage.Workspace // for personal access tokens the personal one, where what is done to them is noted
	all   []storage.Workspace
	owner storage.KeyOwner
	base  string
	// newText is what the button says that leads to a new key.
	newText string
}

// keyHandler answers a page about keys.
type keyHandler func(w http.ResponseWriter, r *http.Request, p keyPlace) error

// apiKeys serves h to those who may manage the keys of the workspace that the path names.
func (s *Server) apiKeys(h keyHandler) memberHandler {
	return s.permitted(management.MayManageKeys, templates.SectionKeys, templates.TabKeys,
		func(w http.ResponseWriter, r *http.Request, v *visitor, by management.Authority, ws storage.Workspace, all []storage.Workspace) error {
			return h(w, r, keyPlace{
				v: v, by: by, ws: ws, all: all, owner: storage.KeyOwner{WorkspaceID: ws.ID},
				base: workspacesBase + "/" + ws.Slug + "/" + templates.TabKeys, newText: s.catalog.Resources()[0].Keys.NewText,
			})
		})
}

func (p *keyPlace) personal() bool { return p.owner.UserID != "" }

// tenant is the context in which the place's tables are read and changed.
func (p *keyPlace) tenant(ctx context.Context) context.Context {
	return storage.Tenant(ctx, p.v.user.ID, p.ws.ID)
}

func (p *keyPlace) section() string {
	if p.personal() {
		return templates.SectionTokens
	}
	return templates.SectionKeys
}

// view is what the views of the place's pages have in common.
func (p *keyPlace) view() templates.KeyPlace {
	place := templates.KeyPlace{Base: p.base, Personal: p.personal()}
	if !p.personal() {
		place.NewText = p.newText
		place.Workspace = workspaceBar(p.ws, p.all, templates.TabKeys)
	}
	return place
}

// masked is a key as it may be shown.
func masked(k *storage.APIKey) string { return k.Prefix + "…" + k.Tail }

// people finds the names of users, each once.
type people struct {
	s     *Server
	known map[string]string
}

// name is how to call a user; empty where there is none any more.
func (p *people) name(ctx context.Context, id string) (string, error) {
	if id == "" {
		return "", nil
	}
	if name, ok := p.known[id]; ok {
		return name, nil
	}
	u, err := p.s.store.UserByID(storage.System(ctx), id)
	name := u.Name
	switch {
	case errors.Is(err, storage.ErrNotFound):
		name = "somebody who is gone"
	case err != nil:
		return "", err
	case name == "":
		name = u.Email
	}
	p.known[id] = name
	return name, nil
}

func (s *Server) keyRow(k *storage.APIKey, creator string) templates.KeyRow {
	return templates.KeyRow{
		ID: k.ID, Name: k.Name, Masked: masked(k), Environment: k.Environment, State: s.apikey.State(k), Scopes: k.Scopes, Role: k.Role, Creator: creator,
		Created: k.CreatedAt.Time(), LastUsed: k.LastUsedAt.Time(), LastUsedFrom: k.LastUsedFrom, Expires: k.ExpiresAt.Time(),
	}
}

// writeUses has what was counted lately written, so that a call just made is on the page. Where that fails, the page is
// some seconds older.
func (s *Server) writeUses(ctx context.Context) {
	ctx = storage.System(ctx)
	_ = s.store.FlushTouches(ctx)
	_ = s.store.FlushUsage(ctx)
}

// keysPage serves GET …/api-keys and …/personal-access-tokens.
func (s *Server) keysPage(w http.ResponseWriter, r *http.Request, p keyPlace) error {
	page, err := s.settingsPage(w, r, p.v, p.section())
	if err != nil {
		return err
	}
	query := r.URL.Query()
	f := storage.KeyFilter{
		Search: clean(query.Get("q"), 100), Environment: clean(query.Get("environment"), 10), State: clean(query.Get("state"), 10),
		After: clean(query.Get("after"), 64),
	}
	if likeSecret.MatchString(f.Search) {
		f.Search = "" // it came by hand, and is not shown again
	}
	if n, err := strconv.ParseInt(query.Get("used"), 10, 64); err == nil {
		f.AfterUse = storage.Time(n)
	}
	return s.showKeys(w, r, p, f, templates.KeysView{Page: page, Query: f.Search, Environment: f.Environment, State: f.State})
}

func (s *Server) showKeys(w http.ResponseWriter, r *http.Request, p keyPlace, f storage.KeyFilter, view templates.KeysView) error {
	s.writeUses(r.Context())
	var list []storage.APIKey
	days := map[string][]templates.UsageDay{}
	f.ByUse, f.Limit = true, listLength+1
	err := s.store.InTx(p.tenant(r.Context()), func(ctx context.Context) (err error) {
		if view.Missing {
			return nil
		}
		if list, err = s.store.Keys(ctx, p.owner, f); err != nil || p.personal() {
			return err
		}
		for _, k := range list[:min(len(list), listLength)] {
			if days[k.ID], err = s.usageDays(ctx, k.ID, p.ws.ID); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	view.KeyPlace, view.CallURL, view.Prefix = p.view(), s.callURL(), apikey.PrefixPersonalToken
	link := func(last *storage.APIKey) string {
		v := url.Values{}
		set := func(name, value string) {
			if value != "" {
				v.Set(name, value)
			}
		}
		set("q", f.Search)
		set("environment", f.Environment)
		set("state", f.State)
		if last != nil {
			v.Set("after", last.ID)
			v.Set("used", strconv.FormatInt(int64(last.LastUsedAt), 10))
		}
		return strings.TrimSuffix(p.base+"?"+v.Encode(), "?")
	}
	if f.After != "" {
		view.PrevURL = link(nil)
	}
	if len(list) > listLength {
		list = list[:listLength]
		view.NextURL = link(&list[len(list)-1])
	}
	names := people{s, map[string]string{}}
	for i := range list {
		creator, err := names.name(r.Context(), list[i].CreatedBy)
		if err != nil {
			return err
		}
		row := s.keyRow(&list[i], creator)
		row.Days = days[row.ID]
		view.Keys = append(view.Keys, row)
	}
	if p.personal() {
		view.Reach = reach(p.all, "")
	} else {
		view.Environments = s.environments()
		res := s.catalog.Resources()[0]
		view.Prefix = apikey.Prefix(res.Keys.Prefix, slices.Max(append([]string{apikey.Live}, res.Keys.Environments...))) // test, where there is one
	}
	return s.render(w, r, http.StatusOK, view.Nonce, templates.KeysPage(view))
}

// callURL is where a credential can be tried.
func (s *Server) callURL() string { return s.oauth.Issuer() + "/v1/auth/test" }

// environments are those that keys of any resource have.
func (s *Server) environments() (list []string) {
	for _, res := range s.catalog.Resources() {
		list = append(list, res.Keys.Environments...)
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// usageDays is how a key was used in each of the last days, in these workspaces together.
func (s *Server) usageDays(ctx context.Context, keyID string, workspaceIDs ...string) ([]templates.UsageDay, error) {
	today := s.now().UTC().Truncate(24 * time.Hour)
	days := make([]templates.UsageDay, usageDays)
	for i := range days {
		days[i].Day = today.AddDate(0, 0, i+1-usageDays)
	}
	for _, ws := range workspaceIDs {
		list, err := s.store.UsageByDay(ctx, ws, keyID, storage.At(days[0].Day), storage.At(today.AddDate(0, 0, 1)))
		if err != nil {
			return nil, err
		}
		for _, x := range list {
			if i := int(x.Hour.Time().Sub(days[0].Day) / (24 * time.Hour)); i >= 0 && i < len(days) {
				days[i].Allowed += x.Allowed
				days[i].Limited += x.Limited
				days[i].Refused += x.Refused
			}
		}
	}
	return days, nil
}

// likeSecret is text that could be a key or most of one, also with a typing error in it.
var likeSecret = regexp.MustCompile(`[0-9A-Za-z]{24,}`)

// findKeys serves POST …/search. A key that is pasted is looked up by its digest, and is neither shown nor put into an
// address; a name and filters go on as the list's query.
func (s *Server) findKeys(w http.ResponseWriter, r *http.Request, p keyPlace) error {
	form := r.PostForm
	text := strings.TrimSpace(form.Get("q"))
	if likeSecret.MatchString(text) {
		var list []storage.APIKey
		if apikey.PrefixOf(text) != "" {
			err := s.store.InTx(p.tenant(r.Context()), func(ctx context.Context) (err error) {
				list, err = s.store.Keys(ctx, p.owner, storage.KeyFilter{Digest: storage.Digest(text), Limit: 1})
				return err
			})
			if err != nil {
				return err
			}
		}
		if len(list) == 0 {
			return s.showKeys(w, r, p, storage.KeyFilter{}, templates.KeysView{Page: s.page(p.v, p.section()), Missing: true})
		}
		return redirect(w, p.base+"/"+list[0].ID)
	}
	v := url.Values{}
	for _, name := range []string{"q", "environment", "state"} {
		if value := clean(strings.TrimSpace(form.Get(name)), 100); value != "" {
			v.Set(name, value)
		}
	}
	return redirect(w, strings.TrimSuffix(p.base+"?"+v.Encode(), "?"))
}

// keyForm is the form of a key as it was typed.
type keyForm struct {
	apikey.Spec
	rateLimit string // as typed
	expires   string // the choice
	addresses string
}

// keyResources are those that the place's keys can be for.
func (s *Server) keyResources(p *keyPlace) []catalog.Resource {
	return slices.DeleteFunc(slices.Clone(s.catalog.Resources()), func(res catalog.Resource) bool { return len(res.Keys.Environments) == 0 && !p.personal() })
}

// typedKey reads the form of a new key, or of the settings of one.
func (s *Server) typedKey(r *http.Request, p *keyPlace) keyForm {
	form := r.PostForm
	f := keyForm{rateLimit: strings.TrimSpace(form.Get("rate_limit")), expires: form.Get("expires"), addresses: form.Get("addresses")}
	f.Spec = apikey.Spec{
		Name: form.Get("name"), Note: form.Get("note"), Resource: form.Get("resource"), Environment: form.Get("environment"), Role: form.Get("role"),
		Plan: form.Get("plan"), Addresses: strings.FieldsFunc(f.addresses, func(c rune) bool { return strings.ContainsRune(" ,\t\r\n", c) }),
	}
	i := max(0, slices.IndexFunc(s.keyResources(p), func(res catalog.Resource) bool { return res.ID == f.Resource }))
	f.Scopes = slices.Compact(slices.Sorted(slices.Values(form["scope-"+strconv.Itoa(i)])))
	return f
}

// number reads the rate limit.
func (f *keyForm) number() error {
	if f.rateLimit == "" {
		return nil
	}
	n, err := strconv.ParseInt(f.rateLimit, 10, 64)
	if err != nil || n < 1 {
		return &input.Invalid{Field: "rate limit", Message: "is no number above zero; leave it empty for what the plan allows"}
	}
	f.RateLimit = n
	return nil
}

// lifetimes are the choices for how long a key lives, in days.
var lifetimes = []int{30, 60, 90, 365}

const (
	neverExpires = "never"
	longest      = "longest" // as long as the resource allows
	standardLife = "90"
)

// end reads the choice of when the key ends.
func (s *Server) end(f *keyForm) error {
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
		return &input.Invalid{Field: "expires", Message: "is missing; choose when it ends"}
	}
	f.ExpiresAt = s.store.Now().Add(time.Duration(days) * 24 * time.Hour)
	return nil
}

// expiries are the choices for a key's end that at least one resource takes.
func (s *Server) expiries(chosen string) (list []templates.Option) {
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
		list = append(list, templates.Option{Value: strconv.Itoa(days), Text: fmt.Sprintf("in %d days, on %s", days, s.now().UTC().Add(life).Format("2 January 2006"))})
	}
	if bounded {
		list = append(list, templates.Option{Value: longest, Text: "in " + lasting(most) + ", the longest allowed here"})
	} else {
		list = append(list, templates.Option{Value: neverExpires, Text: "never"})
	}
	if !slices.ContainsFunc(list, func(o templates.Option) bool { return o.Value == chosen }) {
		chosen = standardLife
	}
	i := slices.IndexFunc(list, func(o templates.Option) bool { return o.Value == chosen })
	if i < 0 {
		i = len(list) - 1 // 90 days are too long here
	}
	list[i].Selected = true
	return list
}

// keyFields are the form of a key as it is shown.
func (s *Server) keyFields(p *keyPlace, f keyForm) templates.KeyFields {
	fields := templates.KeyFields{
		Name: clean(f.Name, 300), Note: f.Note, RateLimit: clean(f.rateLimit, 20), Addresses: f.addresses, Expiries: s.expiries(f.expires), NeedPassword: !s.fresh(p.v),
	}
	for i, res := range s.keyResources(p) {
		chosen := f.Resource == res.ID || f.Resource == "" && i == 0
		fields.Resources = append(fields.Resources, keyResource(&res, chosen, p.personal(), f.Scopes, nil))
	}
	if p.personal() {
		fields.Roles = roleOptions(f.Role, true)
		return fields
	}
	for _, name := range s.environments() {
		fields.Environments = append(fields.Environments, templates.Option{
			Value: name, Text: map[string]string{apikey.Live: "Live", apikey.Test: "Test"}[name], Hint: s.environmentHint(p, name),
			Selected: name == f.Environment || f.Environment == "" && name == apikey.Live,
		})
	}
	fields.PlanText, fields.Plans = s.planFields(p, &storage.APIKey{Resource: s.catalog.Resources()[0].ID, Environment: apikey.Live}, f.Plan)
	return fields
}

func (s *Server) environmentHint(p *keyPlace, name string) string {
	text := "The real thing."
	if name == apikey.Test {
		text = "To try things out."
	}
	if _, plan := s.apikey.Plan(&storage.APIKey{Resource: s.catalog.Resources()[0].ID, Environment: name}, p.ws.Plan); plan != (limit.Plan{}) {
		text += " At most " + planText(plan) + "."
	}
	return text
}

// planFields says what a key's plan allows, and which others it may have.
func (s *Server) planFields(p *keyPlace, k *storage.APIKey, chosen string) (text string, options []templates.Option) {
	without := storage.APIKey{Resource: k.Resource, Environment: k.Environment}
	_, plan := s.apikey.Plan(&without, p.ws.Plan)
	text = "Leave it empty for what the plan of the workspace allows."
	if plan.Hour > 0 {
		text = fmt.Sprintf("At most %s, which the plan allows. Leave it empty for that.", templates.Number(plan.Hour))
	} else if plan == (limit.Plan{}) {
		text = "The workspace has no limit. Leave it empty for none."
	}
	options = []templates.Option{{Text: "as the workspace" + inBrackets(planText(plan)), Selected: chosen == ""}}
	for _, name := range s.apikey.PlansFor(k, p.ws.Plan) {
		fits, _ := s.catalog.Plan(name)
		options = append(options, templates.Option{Value: name, Text: name + inBrackets(planText(fits)), Selected: name == chosen})
	}
	return text, options
}

func inBrackets(text string) string {
	if text == "" {
		return ""
	}
	return " (" + text + ")"
}

// planText is a plan in words; empty for one without limits.
func planText(plan limit.Plan) string {
	var parts []string
	if plan.Hour > 0 {
		parts = append(parts, templates.Number(plan.Hour)+" requests an hour")
	}
	if plan.Day > 0 {
		parts = append(parts, templates.Number(plan.Day)+" a day")
	}
	if plan.Burst > 0 {
		parts = append(parts, templates.Number(plan.Burst)+" at once")
	}
	return strings.Join(parts, ", ")
}

// keyResource is a resource with the scopes that can be chosen: all, or those that effective ones cover. Scopes that count
// only for people are not offered for API keys.
func keyResource(res *catalog.Resource, chosen, personal bool, checked, held []string) templates.KeyResource {
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
	out.Scopes = scopeTree(res, names, personal, has)
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
					text += " (includes " + strings.Join(with, ", ") + ")"
				}
				choice.Scopes = append(choice.Scopes, templates.ScopeChoice{Name: name, Text: text, Kind: scopeKind(x), Checked: has(name)})
			}
		}
		if len(choice.Scopes) > 0 {
			out.Objects = append(out.Objects, choice)
		}
	}
	return out
}

// scopeTree is scopes to choose from, in the order of the catalogue, each under the one that includes it: those come
// together. What several include stands under the first of them.
func scopeTree(res *catalog.Resource, names []string, person bool, checked func(name string) bool) (tree []templates.ScopeChoice) {
	choice := func(name string) templates.ScopeChoice {
		x, _ := res.Scope(name)
		return templates.ScopeChoice{Name: name, Text: scopeText(x), Kind: scopeKind(x), Checked: checked(name), UserOnly: x.UserOnly}
	}
	placed := map[string]bool{}
	for _, name := range names {
		if slices.ContainsFunc(names, func(other string) bool {
			return other != name && res.Includes(other, name) && !res.Includes(name, other)
		}) {
			continue
		}
		top := choice(name)
		included := slices.DeleteFunc(res.Effective([]string{name}, "", person), func(other string) bool { return other == name })
		slices.SortStableFunc(included, func(a, b string) int { return slices.Index(names, a) - slices.Index(names, b) })
		for _, other := range included {
			if x := choice(other); slices.Contains(names, other) && !placed[other] {
				placed[other] = true
				top.Under = append(top.Under, templates.IncludedChoice{Name: x.Name, Text: x.Text, Kind: x.Kind, Checked: x.Checked, UserOnly: x.UserOnly})
			} else {
				top.Also = append(top.Also, x.Text)
			}
		}
		tree = append(tree, top)
	}
	return tree
}

// keyFaults are fieldErrors under the names that the forms have.
func keyFaults(err error) map[string]string {
	faults := fieldErrors(err)
	for from, to := range map[string]string{"rate limit": "rate_limit", "key": "", "kind": ""} {
		if text, ok := faults[from]; ok {
			delete(faults, from)
			faults[to] = text
		}
	}
	return faults
}

// keyFormPage serves GET …/new.
func (s *Server) keyFormPage(w http.ResponseWriter, r *http.Request, p keyPlace) error {
	return s.showKeyForm(w, r, http.StatusOK, p, s.keyFields(&p, keyForm{}))
}

func (s *Server) showKeyForm(w http.ResponseWriter, r *http.Request, status int, p keyPlace, fields templates.KeyFields) error {
	view := templates.KeyFormView{Page: s.page(p.v, p.section()), KeyPlace: p.view(), KeyFields: fields}
	if p.personal() {
		view.Reach = reaches(p.all)
	}
	return s.render(w, r, status, view.Nonce, templates.KeyFormPage(view))
}

// createKey serves POST …/api-keys and …/personal-access-tokens. The answer shows the key, once, and is not kept by the
// browser.
func (s *Server) createKey(w http.ResponseWriter, r *http.Request, p keyPlace) error {
	f := s.typedKey(r, &p)
	v, fault, status, err := s.stepUp(w, r, p.v, r.PostForm.Get("password"))
	if err != nil {
		return err
	}
	p.v, p.by.Fresh = v, s.fresh(v)
	refuse := func(status int, faults map[string]string) error {
		fields := s.keyFields(&p, f)
		fields.Errors = faults
		return s.showKeyForm(w, r, status, p, fields)
	}
	if fault != "" {
		return refuse(status, map[string]string{"password": fault})
	}
	err = errors.Join(f.number(), s.end(&f))
	if err == nil {
		res, _ := s.catalog.Resource(f.Resource)
		f.ByObject = res != nil && len(f.Scopes) > 0 && !slices.ContainsFunc(f.Scopes, func(name string) bool {
			_, _, ok := catalog.SplitScope(name, res.Objects)
			return !ok
		})
		var view string
		_, view, err = s.createOnce(p.tenant(r.Context()), r, p.v, p.ws.ID, func(ctx context.Context) (x newSecret, err error) {
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
			return redirect(w, p.base+"/shown?view="+view)
		}
	}
	if faults := keyFaults(err); faults != nil {
		return refuse(http.StatusBadRequest, faults)
	}
	if errors.Is(err, apikey.ErrTooMany) {
		return &pageError{
			Status: http.StatusConflict, Heading: "Nothing was made", Cause: err, BackURL: p.base, BackText: "Go back to the list",
			Message: "There are " + templates.Number(apikey.MaxKeys) + " already. Revoke some that nothing uses any more.",
		}
	}
	return err
}

func (s *Server) showKeySecret(w http.ResponseWriter, r *http.Request, p keyPlace, k *storage.APIKey, text string, oldUntil time.Time) error {
	view := templates.KeySecretView{
		Page: s.page(p.v, p.section()), KeyPlace: p.view(), Name: k.Name, Key: text, CallURL: s.callURL(), OldUntil: oldUntil, NextURL: p.base + "/" + k.ID,
	}
	if res, ok := s.catalog.Resource(k.Resource); ok && p.personal() {
		view.Header, view.Slug = res.WorkspaceHeader, p.ws.Slug
	}
	return s.render(w, r, http.StatusOK, view.Nonce, templates.KeySecretPage(view))
}

// key finds the key that a path names, among those of the place.
func (s *Server) key(r *http.Request, p *keyPlace) (k storage.APIKey, err error) {
	id := r.PathValue("id")
	if !storage.IsID("key", id) && !storage.IsID("token", id) {
		return k, notFound()
	}
	err = s.store.InTx(p.tenant(r.Context()), func(ctx context.Context) (err error) {
		k, err = s.store.Key(ctx, p.owner, id)
		return err
	})
	return k, err
}

// keyPage serves GET …/{id}.
func (s *Server) keyPage(w http.ResponseWriter, r *http.Request, p keyPlace) error {
	s.writeUses(r.Context())
	k, err := s.key(r, &p)
	if err != nil {
		return err
	}
	page, err := s.settingsPage(w, r, p.v, p.section())
	if err != nil {
		return err
	}
	return s.showKey(w, r, http.StatusOK, p, &k, page, formOf(&k), nil)
}

// formOf is the settings of a key as its form shows them.
func formOf(k *storage.APIKey) keyForm {
	f := keyForm{Spec: apikey.Spec{Name: k.Name, Note: k.Note, Resource: k.Resource, Scopes: k.Scopes, Role: k.Role, Plan: k.Plan}, addresses: strings.Join(k.Addresses, "\n")}
	if k.RateLimit > 0 {
		f.rateLimit = strconv.FormatInt(k.RateLimit, 10)
	}
	return f
}

// oldAge is how old a key may grow before its page says so.
const oldAge = 90 * 24 * time.Hour

func (s *Server) showKey(w http.ResponseWriter, r *http.Request, status int, p keyPlace, k *storage.APIKey, page templates.Page, f keyForm, faults map[string]string) error {
	names := people{s, map[string]string{}}
	creator, err := names.name(r.Context(), k.CreatedBy)
	if err != nil {
		return err
	}
	view := templates.KeyView{Page: page, KeyPlace: p.view(), KeyRow: s.keyRow(k, creator), Resource: k.Resource, Ranges: k.Addresses, Revoked: k.RevokedAt.Time()}
	view.Final = view.State == "revoked"
	view.CanRotate = k.Live(s.store.Now()) && k.RotatedInto == "" && k.PausedAt.IsZero()
	if !k.PausedAt.IsZero() {
		view.Held = held(p.by.MayStart(k.PausedBy, p.personal(), "key", "paused", "resume"))
	}
	view.Confirm = k.Environment == apikey.Live
	if age := s.now().Sub(view.Created); age > oldAge {
		view.OldDays = int(age / (24 * time.Hour))
	}
	view.KeyFields = templates.KeyFields{Name: clean(f.Name, 300), Note: f.Note, RateLimit: clean(f.rateLimit, 20), Addresses: f.addresses, NeedPassword: !s.fresh(p.v), Errors: faults}
	if res, ok := s.catalog.Resource(k.Resource); ok {
		view.Resource = res.Name
		view.Includes = slices.DeleteFunc(res.Effective(k.Scopes, "", p.personal()), func(name string) bool { return k.Scopes.Has(name) })
		view.Resources = []templates.KeyResource{keyResource(res, true, p.personal(), f.Scopes, append([]string{}, res.Effective(k.Scopes, "", true)...))}
	}
	if p.personal() {
		view.Reach, view.Roles = reach(p.all, k.Role), roleOptionsWithin(f.Role, k.Role)
	} else if err := s.keyLimits(r.Context(), &p, k, f.Plan, &view); err != nil {
		return err
	}
	view.Requests.Asked = r.URL.Query().Get("request")
	if err := s.keyHistory(r.Context(), &p, k, &view, &names); err != nil {
		return err
	}
	return s.render(w, r, status, view.Nonce, templates.KeyPage(view))
}

// keyLimits says how much an API key may do, and how much of that is left.
func (s *Server) keyLimits(ctx context.Context, p *keyPlace, k *storage.APIKey, chosen string, view *templates.KeyView) error {
	view.PlanText, view.Plans = s.planFields(p, k, chosen)
	if chosen != "" && !slices.ContainsFunc(view.Plans, func(o templates.Option) bool { return o.Selected }) {
		view.Plans = append(view.Plans, templates.Option{Value: chosen, Text: chosen, Selected: true}) // the one it has is no choice any more
	}
	name, plan := s.apikey.Plan(k, p.ws.Plan)
	view.LimitText = planText(plan)
	if name != "" && k.RateLimit == 0 {
		view.LimitText = strings.TrimPrefix(view.LimitText+" (plan "+name+")", " ")
	}
	left, limited, err := s.bearer.Remaining(storage.System(ctx), k, p.ws.Plan)
	if err != nil {
		return err
	}
	if limited && left.Limit > 0 && view.State != "revoked" && view.State != "expired" {
		view.Left = fmt.Sprintf("%s of %s", templates.Number(left.Remaining), templates.Number(left.Limit))
		if left.Remaining < left.Limit {
			view.Left += ", all of it again at " + time.Unix(left.Reset, 0).UTC().Format("15:04 UTC on 2 January")
		}
	}
	return nil
}

// keyHistory is what was done with a key and to it.
func (s *Server) keyHistory(ctx context.Context, p *keyPlace, k *storage.APIKey, view *templates.KeyView, names *people) error {
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
		view.ReplacedBy = &templates.RelatedKey{ID: fresh.ID, Masked: masked(fresh), State: s.apikey.State(fresh)}
	}
	err = s.readUsage(ctx, p, func(ctx context.Context, workspaceIDs []string) (err error) {
		if view.Days, err = s.usageDays(ctx, k.ID, workspaceIDs...); err != nil {
			return err
		}
		if view.Lately, err = s.lately(ctx, k.ID, workspaceIDs); err != nil {
			return err
		}
		for i := range old {
			related := templates.RelatedKey{
				ID: old[i].ID, Masked: masked(&old[i]), State: s.apikey.State(&old[i]), Ends: old[i].ExpiresAt.Time(),
				LastUsed: old[i].LastUsedAt.Time(), LastUsedFrom: old[i].LastUsedFrom,
			}
			if related.Lately, err = s.lately(ctx, old[i].ID, workspaceIDs); err != nil {
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
		who, err := names.name(ctx, events[i].UserID)
		if err != nil {
			return err
		}
		view.Events = append(view.Events, templates.KeyEvent{At: events[i].CreatedAt.Time(), Text: eventText(&events[i]), Who: who, Address: events[i].Address})
	}
	if len(old) > 0 { // noted with the key that it took the place of
		view.Events = append(view.Events, templates.KeyEvent{At: view.Created, Text: "Made in place of " + masked(&old[0]), Who: view.Creator})
	}
	return nil
}

// readUsage runs fn where the usage of the place's keys can be read. That of a personal access token is noted in each
// workspace that it acted in, and read by the system, after the token was found to be the visitor's.
func (s *Server) readUsage(ctx context.Context, p *keyPlace, fn func(ctx context.Context, workspaceIDs []string) error) error {
	if !p.personal() {
		return s.store.InTx(p.tenant(ctx), func(ctx context.Context) error { return fn(ctx, []string{p.ws.ID}) })
	}
	var ids []string
	for _, ws := range p.all {
		ids = append(ids, ws.ID)
	}
	return fn(storage.System(ctx), ids)
}

// lately is how many requests came with a key in the last 24 hours, to the hour.
func (s *Server) lately(ctx context.Context, keyID string, workspaceIDs []string) (n int64, err error) {
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

// eventText is what was done to a key, in words.
func eventText(e *storage.AuditEvent) string {
	_, done, _ := strings.Cut(e.Action, ".")
	switch done {
	case "created":
		return "Made, with the rights " + strings.Join(strings.Fields(e.Detail["scopes"]), ", ")
	case "rotated":
		return "Replaced by another"
	case "updated":
		var parts []string
		for _, x := range []struct{ field, text string }{
			{"name", "renamed"},
			{"note", "note changed"},
			{"scopes", "rights now " + strings.Join(strings.Fields(e.Detail["scopes"]), ", ")},
			{"role", "now at most " + e.Detail["role"]},
			{"plan", "plan now " + e.Detail["plan"]},
			{"rate_limit", "limit now " + e.Detail["rate_limit"] + " requests an hour"},
			{"addresses", "addresses now " + e.Detail["addresses"]},
		} {
			if value, ok := e.Detail[x.field]; ok {
				if value == "" || x.field == "rate_limit" && value == "0" {
					x.text = strings.ReplaceAll(x.field, "_", " ") + " no longer set"
				}
				parts = append(parts, x.text)
			}
		}
		if len(parts) > 0 {
			return sentence(strings.Join(parts, "; "))
		}
	}
	return sentence(strings.ReplaceAll(done, "_", " "))
}

// updateKey serves POST …/{id}.
func (s *Server) updateKey(w http.ResponseWriter, r *http.Request, p keyPlace) error {
	k, err := s.key(r, &p)
	if err != nil {
		return err
	}
	f := s.typedKey(r, &p)
	f.Scopes = slices.Compact(slices.Sorted(slices.Values(r.PostForm["scope-0"])))
	err = f.number()
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
		return s.showKey(w, r, http.StatusBadRequest, p, &k, s.page(p.v, p.section()), f, faults)
	}
	return s.keyChanged(w, r, p, p.base+"/"+k.ID, "Saved.", err)
}

func ptr[T any](v T) *T { return &v }

// keyChanged goes on after a change, with a sentence about it.
func (s *Server) keyChanged(w http.ResponseWriter, r *http.Request, p keyPlace, to, text string, err error) error {
	if err != nil {
		return err
	}
	if err := s.setNotice(w, r, p.v, text); err != nil {
		return err
	}
	return redirect(w, to)
}

// rotateKey serves POST …/{id}/rotate.
func (s *Server) rotateKey(w http.ResponseWriter, r *http.Request, p keyPlace) error {
	v, fault, status, err := s.stepUp(w, r, p.v, r.PostForm.Get("password"))
	if err != nil {
		return err
	}
	p.v, p.by.Fresh = v, s.fresh(v)
	k, err := s.key(r, &p)
	if err != nil {
		return err
	}
	grace, known := graces[r.PostForm.Get("grace")]
	if fault != "" || !known {
		faults := map[string]string{"password": fault}
		if fault == "" {
			status, faults = http.StatusBadRequest, map[string]string{"grace": "Choose how long the old one works."}
		}
		return s.showKey(w, r, status, p, &k, s.page(p.v, p.section()), formOf(&k), faults)
	}
	var oldUntil time.Time
	if grace > 0 {
		if oldUntil = s.now().Add(grace); !k.ExpiresAt.IsZero() && k.ExpiresAt.Time().Before(oldUntil) {
			oldUntil = k.ExpiresAt.Time()
		}
	}
	_, view, err := s.createOnce(p.tenant(r.Context()), r, p.v, p.ws.ID, func(ctx context.Context) (x newSecret, err error) {
		var fresh storage.APIKey
		fresh, x.Secret, err = s.management.RotateKey(ctx, p.by, p.owner, k.ID, grace)
		x.ID, x.OldUntil = fresh.ID, oldUntil
		return x, err
	})
	if errors.Is(err, apikey.ErrRotated) {
		return &pageError{
			Status: http.StatusConflict, Heading: "Nothing was made", Cause: err, BackURL: p.base + "/" + k.ID, BackText: "Go back to it",
			Message: "It has been replaced or revoked, or has ended. Make a new one instead.",
		}
	}
	if faults := fieldErrors(err); faults != nil {
		return &pageError{
			Status: http.StatusBadRequest, Heading: "Nothing was made", Cause: err, BackURL: p.base + "/" + k.ID, BackText: "Go back to it",
			Message: joined(faults),
		}
	}
	if err != nil {
		return err
	}
	return redirect(w, p.base+"/shown?view="+view)
}

// switchKey serves POST …/{id}/pause and …/resume.
func (s *Server) switchKey(w http.ResponseWriter, r *http.Request, p keyPlace) error {
	k, err := s.key(r, &p)
	if err != nil {
		return err
	}
	act, text := s.management.ResumeKey, "It works again."
	if strings.HasSuffix(r.URL.Path, "/pause") {
		act, text = s.management.PauseKey, "It is paused. Requests with it are refused."
	}
	_, err = act(p.tenant(r.Context()), p.by, p.owner, k.ID)
	return s.keyChanged(w, r, p, p.base+"/"+k.ID, text, err)
}

// revokeKey serves POST …/{id}/revoke. The name of a live key must be typed.
func (s *Server) revokeKey(w http.ResponseWriter, r *http.Request, p keyPlace) error {
	k, err := s.key(r, &p)
	if err != nil {
		return err
	}
	if (k.Environment == apikey.Live || r.PostForm.Get("confirmed") != "yes") && strings.TrimSpace(r.PostForm.Get("confirm")) != k.Name {
		return s.showKey(w, r, http.StatusBadRequest, p, &k, s.page(p.v, p.section()), formOf(&k),
			map[string]string{"confirm": "Type the name exactly as it is shown. Nothing was revoked."})
	}
	_, err = s.management.RevokeKey(p.tenant(r.Context()), p.by, p.owner, k.ID)
	return s.keyChanged(w, r, p, p.base, "It is revoked, and does not work any more.", err)
}
