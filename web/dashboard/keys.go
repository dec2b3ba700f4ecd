package dashboard

import (
	"context"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"doorward/management"
	"doorward/oauth/apikey"
	"doorward/storage"
	"doorward/templates"
	"doorward/web/page"
)

// Keys are the pages about API keys and personal access tokens.
type Keys struct{ *base }

// keyPlace is whose keys a page is about: a workspace's API keys, or the visitor's own personal access tokens.
type keyPlace struct {
	v     *page.Visitor
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

// OfWorkspace serves h to those who may manage the keys of the workspace that the path names.
func (s *Keys) OfWorkspace(h keyHandler) page.UserHandler {
	return s.Permitted(management.MayManageKeys, templates.SectionKeys, templates.TabKeys,
		func(w http.ResponseWriter, r *http.Request, v *page.Visitor, by management.Authority, ws storage.Workspace, all []storage.Workspace) error {
			return h(w, r, keyPlace{
				v: v, by: by, ws: ws, all: all, owner: storage.KeyOwner{WorkspaceID: ws.ID},
				base: page.WorkspacesPath + "/" + ws.Slug + "/" + templates.TabKeys, newText: s.catalog.Resources()[0].Keys.NewText,
			})
		})
}

func (p *keyPlace) personal() bool { return p.owner.UserID != "" }

// tenant is the context in which the place's tables are read and changed.
func (p *keyPlace) tenant(ctx context.Context) context.Context {
	return storage.Tenant(ctx, p.v.User.ID, p.ws.ID)
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

func (s *Keys) keyRow(k *storage.APIKey, creator string) templates.KeyRow {
	return templates.KeyRow{
		ID: k.ID, Name: k.Name, Masked: page.Masked(k), Environment: k.Environment, State: s.apikey.State(k),
		Scopes: k.Scopes, Role: k.Role, Creator: creator,
		Created: k.CreatedAt.Time(), LastUsed: k.LastUsedAt.Time(), LastUsedFrom: k.LastUsedFrom, Expires: k.ExpiresAt.Time(),
	}
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
		f.Search = "" // it came by hand, and is not shown again
	}
	return s.showKeys(w, r, p, f, templates.KeysView{
		Page: head, Query: f.Search, Environment: f.Environment, State: f.State,
	})
}

// keyList is how the list of the place's keys is shown, the last used first. A search that was posted is in no link.
func keyList(r *http.Request, p *keyPlace, f storage.KeyFilter) page.List {
	columns := []templates.Column{
		{By: "name", Text: "Name"},
		{By: "last_used", Text: "Last used", Down: true},
		{By: "created", Text: "Created", Down: true},
		{By: "expires", Text: "Expires"},
	}
	if !p.personal() {
		columns = append(columns, templates.Column{Text: "Requests"})
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
		view.Reach = reach(p.all, "")
	} else {
		view.Environments = s.environments()
		res := s.catalog.Resources()[0]
		// test, where there is one
		view.Prefix = apikey.Prefix(
			res.Keys.Prefix, slices.Max(append([]string{apikey.Live}, res.Keys.Environments...)),
		)
	}
	return s.Render(w, r, http.StatusOK, view.Nonce, templates.KeysPage(view))
}

// callURL is where a credential can be tried.
func (s *Keys) callURL() string { return s.oauth.Issuer() + "/v1/auth/test" }

// environments are those that keys of any resource have.
func (s *Keys) environments() (list []string) {
	for _, res := range s.catalog.Resources() {
		list = append(list, res.Keys.Environments...)
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// looksLikeSecret is text that could be a key or most of one, also with a typing error in it.
var looksLikeSecret = regexp.MustCompile(`[0-9A-Za-z]{24,}`)

// Search serves POST …/search. A key that is pasted is looked up by its digest, and is neither shown nor put into an
// address; a name and filters go on as the list's query.
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
			return s.showKeys(w, r, p, storage.KeyFilter{}, templates.KeysView{Page: s.NewPage(p.v, p.section()), Missing: true})
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
