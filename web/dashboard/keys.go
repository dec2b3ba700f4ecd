package dashboard

import (
	"context"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"doorward/locale"
	"doorward/management"
	"doorward/oauth/apikey"
	"doorward/oauth/catalog"
	"doorward/storage"
	"doorward/templates"
	"doorward/web/page"
)

// Keys are the pages about API keys and personal access tokens.
type Keys struct{ *base }

// keyPlace says which keys a page is about: the API keys of a workspace, or the visitor's personal access tokens. For
// tokens the workspace is the visitor's personal one, whose audit log records changes to them.
type keyPlace struct {
	place
	owner   storage.KeyOwner
	base    string // path of the list
	newText string // text of the button for a new API key; empty: the default
}

// keyHandler answers a page about keys.
type keyHandler func(w http.ResponseWriter, r *http.Request, p keyPlace) error

// OfWorkspace serves a page about the API keys of the workspace in the path, to members who may manage them.
func (s *Keys) OfWorkspace(h keyHandler) page.UserHandler {
	return s.Permitted(management.MayManageKeys, templates.SectionKeys, templates.TabKeys,
		func(w http.ResponseWriter, r *http.Request, p place) error {
			return h(w, r, keyPlace{
				place: p, owner: storage.KeyOwner{WorkspaceID: p.ws.ID}, base: p.path(templates.TabKeys),
				newText: s.catalog.Resources()[0].Keys.NewText,
			})
		})
}

// personal reports whether the page is about personal access tokens.
func (p *keyPlace) personal() bool { return p.owner.UserID != "" }

// either returns the text about keys on pages about API keys, and that about tokens on those about personal access
// tokens.
func (p *keyPlace) either(key, token locale.Text) locale.Text {
	if p.personal() {
		return token
	}
	return key
}

// section is the entry of the navigation that the place's pages belong to.
func (p *keyPlace) section() string {
	if p.personal() {
		return templates.SectionTokens
	}
	return templates.SectionKeys
}

// view is the part that all views about the place's keys share.
func (p *keyPlace) view() templates.KeyPlace {
	place := templates.KeyPlace{Base: p.base, Personal: p.personal()}
	if !p.personal() {
		place.NewText = p.newText
		place.Workspace = p.bar(templates.TabKeys)
	}
	return place
}

func (s *Keys) keyRow(k *storage.APIKey, creator string) templates.KeyRow {
	row := templates.KeyRow{
		ID: k.ID, Name: k.Name, Masked: page.Masked(k), Environment: k.Environment, State: s.apikey.State(k),
		Scopes: k.Scopes, Creator: creator,
		Created: k.CreatedAt.Time(), LastUsed: k.LastUsedAt.Time(), LastUsedFrom: k.LastUsedFrom, Expires: k.ExpiresAt.Time(),
	}
	if k.Role != "" {
		row.Role = catalog.RoleName(k.Role)
	}
	return row
}

// ListPage serves GET …/api-keys and …/personal-access-tokens.
func (s *Keys) ListPage(w http.ResponseWriter, r *http.Request, p keyPlace) error {
	head, err := s.PageWithNotice(w, r, p.v, p.section())
	if err != nil {
		return err
	}
	query := r.URL.Query()
	f := storage.KeyFilter{
		Search: page.Clean(query.Get("q"), 100), Environment: page.Clean(query.Get("environment"), 10),
		State: page.Clean(query.Get("state"), 10),
	}
	if looksLikeSecret.MatchString(f.Search) {
		f.Search = "" // typed into the address bar; not shown again
	}
	return s.showKeys(w, r, p, f, templates.KeysView{
		Page: head, Query: f.Search, Environment: f.Environment, State: f.State,
	})
}

// keyList reads how to sort and page the list of keys: by default the last used first. The links keep the filter f.
func keyList(r *http.Request, p *keyPlace, f storage.KeyFilter) page.List {
	columns := []templates.Column{
		{By: "name", Text: locale.New("Name")},
		{By: "last_used", Text: locale.New("Last used"), Down: true},
		{By: "created", Text: locale.New("Created"), Down: true},
		{By: "expires", Text: locale.New("Expires")},
	}
	if !p.personal() {
		columns = append(columns, templates.Column{Text: locale.New("Requests")})
	}
	return page.ReadList(r, p.base, "-last_used", url.Values{
		"q": {f.Search}, "environment": {f.Environment}, "state": {f.State},
	}, columns...)
}

func (s *Keys) showKeys(
	w http.ResponseWriter, r *http.Request, p keyPlace, f storage.KeyFilter, view templates.KeysView,
) error {
	s.flushUsage(r.Context())
	var list []storage.APIKey
	days := map[string][]templates.UsageDay{}
	rows := keyList(r, &p, f)
	f.Order, f.Limit = rows.Order, page.ListLength+1
	err := s.store.InTx(p.tenant(r.Context()), func(ctx context.Context) (err error) {
		if view.Missing {
			return nil
		}
		if list, err = s.store.Keys(ctx, p.owner, f); err != nil || p.personal() {
			return err
		}
		for _, k := range list[:min(len(list), page.ListLength)] {
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
	view.Columns = rows.Head()
	list, view.NextURL, view.PrevURL = page.Paginate(&rows, list, func(k *storage.APIKey) string { return k.ID })
	names := s.NewPeople()
	for i := range list {
		creator, err := names.Name(r.Context(), list[i].CreatedBy)
		if err != nil {
			return err
		}
		row := s.keyRow(&list[i], creator)
		row.Days = days[row.ID]
		view.Keys = append(view.Keys, row)
	}
	if p.personal() {
		view.Reach = reachOf(p.all, "")
	} else {
		view.Environments = s.environments()
		res := s.catalog.Resources()[0]
		// That of a test key, if there are any: "test" sorts after "live".
		view.Prefix = apikey.Prefix(
			res.Keys.Prefix, slices.Max(append([]string{apikey.Live}, res.Keys.Environments...)),
		)
	}
	return s.Render(w, r, http.StatusOK, view.Nonce, templates.KeysPage(view))
}

// callURL is the endpoint for trying out a credential.
func (s *Keys) callURL() string { return s.oauth.Issuer() + "/v1/auth/test" }

// environments returns every environment in which some resource has API keys.
func (s *Keys) environments() (list []string) {
	for _, res := range s.catalog.Resources() {
		list = append(list, res.Keys.Environments...)
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// looksLikeSecret matches text that could be a key, or most of one, even with a typing error.
var looksLikeSecret = regexp.MustCompile(`[0-9A-Za-z]{24,}`)

// Search serves POST …/search. A pasted key is looked up by its digest; it appears on no page and in no URL. A name and
// filters become the query of the list's URL.
func (s *Keys) Search(w http.ResponseWriter, r *http.Request, p keyPlace) error {
	form := r.PostForm
	text := strings.TrimSpace(form.Get("q"))
	if looksLikeSecret.MatchString(text) {
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
			return s.showKeys(w, r, p, storage.KeyFilter{}, templates.KeysView{
				Page: s.NewPage(p.v, p.section()), Missing: true,
			})
		}
		return page.Redirect(w, p.base+"/"+list[0].ID)
	}
	v := url.Values{}
	for _, name := range []string{"q", "environment", "state"} {
		if value := page.Clean(strings.TrimSpace(form.Get(name)), 100); value != "" {
			v.Set(name, value)
		}
	}
	return page.Redirect(w, strings.TrimSuffix(p.base+"?"+v.Encode(), "?"))
}
