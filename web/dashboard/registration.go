package dashboard

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"doorward/locale"
	"doorward/management"
	"doorward/oauth/bearer"
	"doorward/storage"
	"doorward/templates"
	"doorward/web/page"
)

// registrationTokensBase is the path of the list of registration tokens.
const registrationTokensBase = "/admin/registration-tokens" //nolint:gosec // a path

// tokenLifetimes are the days after which a registration token can expire, as the form offers them.
var tokenLifetimes = []int{1, 7, 30, 90, 365}

// registrationToken is a row of the list, which is sorted by created, used or expires.
type registrationToken struct{ storage.RegistrationToken }

func (x *registrationToken) time(by string) storage.Time {
	switch by {
	case "used":
		return x.LastUsedAt
	case "expires":
		return x.ExpiresAt
	}
	return x.CreatedAt
}

// OrderValue implements page.Row.
func (x *registrationToken) OrderValue(by string) string {
	return strconv.FormatInt(int64(x.time(by)), 10)
}

// sortTokens sorts the registration tokens, and leaves out those up to the one that a page starts after. They are few
// enough to be read all at once.
func sortTokens(list []storage.RegistrationToken, o storage.Order) (rows []registrationToken) {
	compare := func(at storage.Time, id string, otherAt storage.Time, otherID string) int {
		n := cmp.Or(cmp.Compare(at, otherAt), cmp.Compare(id, otherID))
		if o.Descending {
			return -n
		}
		return n
	}
	after, _ := strconv.ParseInt(o.Value, 10, 64) // an invalid value counts as 0
	for _, x := range list {
		row := registrationToken{x}
		if o.After == "" || compare(row.time(o.By), row.ID, storage.Time(after), o.After) > 0 {
			rows = append(rows, row)
		}
	}
	slices.SortFunc(rows, func(x, y registrationToken) int { return compare(x.time(o.By), x.ID, y.time(o.By), y.ID) })
	return rows
}

// RegistrationTokensPage serves GET /admin/registration-tokens.
func (s *Apps) RegistrationTokensPage(w http.ResponseWriter, r *http.Request, v *page.Visitor) error {
	head, err := s.PageWithNotice(w, r, v, templates.SectionAdminTokens)
	if err != nil {
		return err
	}
	return s.showRegistrationTokens(w, r, http.StatusOK, v, templates.RegistrationTokensView{
		Page: head, Uses: strconv.Itoa(management.DefaultTokenUses),
		Expires: s.tokenExpiries(strconv.Itoa(int(management.DefaultTokenLifetime / (24 * time.Hour)))),
	})
}

// showRegistrationTokens renders the list of registration tokens. view has the form.
func (s *Apps) showRegistrationTokens(
	w http.ResponseWriter, r *http.Request, status int, v *page.Visitor, view templates.RegistrationTokensView,
) error {
	list, err := s.management.RegistrationTokens(r.Context(), s.Administrator(v))
	if err != nil {
		return err
	}
	rows := page.ReadList(r, registrationTokensBase, "-created", nil,
		templates.Column{Text: locale.New("Token")},
		templates.Column{Text: locale.New("Created by")},
		templates.Column{Text: locale.New("Apps")},
		templates.Column{By: "created", Text: locale.New("Created"), Down: true},
		templates.Column{By: "used", Text: locale.New("Last used"), Down: true},
		templates.Column{By: "expires", Text: locale.New("Expires")},
		templates.Column{Text: locale.New("Actions")},
	)
	tokens := sortTokens(list, rows.Order)
	tokens, view.NextURL, view.PrevURL = page.Paginate(&rows, tokens, func(x *registrationToken) string { return x.ID })
	view.Columns, view.Mode = rows.Head(), s.management.Registration()
	people := s.NewPeople()
	for _, x := range tokens {
		by, err := people.Name(storage.System(r.Context()), x.CreatedBy)
		if err != nil {
			return err
		}
		view.Tokens = append(view.Tokens, templates.RegistrationTokenRow{
			ID: x.ID, Masked: bearer.PrefixRegistration + "…" + x.Tail, By: by, Used: int(x.Uses), Uses: int(x.MaxUses),
			Created: x.CreatedAt.Time(), LastUsed: x.LastUsedAt.Time(), Expires: x.ExpiresAt.Time(),
		})
	}
	return s.Render(w, r, status, view.Nonce, templates.RegistrationTokensPage(view))
}

// tokenExpiries are the choices for when a registration token expires, in days.
func (s *Apps) tokenExpiries(chosen string) (list []templates.Option) {
	for _, days := range tokenLifetimes {
		value := strconv.Itoa(days)
		list = append(list, templates.Option{
			Value: value, Selected: value == chosen,
			Text: locale.New("in %d days, on %s", days, locale.Day(s.Now().AddDate(0, 0, days))),
		})
	}
	return list
}

// CreateRegistrationToken serves POST /admin/registration-tokens. It redirects to a page that shows the token, once.
func (s *Apps) CreateRegistrationToken(w http.ResponseWriter, r *http.Request, v *page.Visitor) error {
	typed, expires := strings.TrimSpace(r.PostForm.Get("uses")), r.PostForm.Get("expires")
	refuse := func(faults map[string]locale.Text) error {
		return s.showRegistrationTokens(w, r, http.StatusBadRequest, v, templates.RegistrationTokensView{
			Page: s.NewPage(v, templates.SectionAdminTokens), Uses: page.Clean(typed, 20), Expires: s.tokenExpiries(expires),
			Errors: faults,
		})
	}
	uses, err := strconv.ParseInt(typed, 10, 64)
	if err != nil {
		uses = 0 // which has a fault of its own
	}
	days, err := strconv.Atoi(expires)
	if err != nil || !slices.Contains(tokenLifetimes, days) {
		return refuse(map[string]locale.Text{"expires": locale.New("Choose when the token expires.")})
	}
	_, view, err := s.CreateOnce(storage.System(r.Context()), r, v, "",
		func(ctx context.Context) (x page.OneTimeSecret, err error) {
			var made storage.RegistrationToken
			x.Secret, made, err = s.management.CreateRegistrationToken(
				ctx, s.Administrator(v), uses, time.Duration(days)*24*time.Hour,
			)
			x.ID = made.ID
			return x, err
		})
	if faults := page.FieldErrors(err); faults != nil {
		return refuse(faults)
	}
	if err != nil {
		return err
	}
	return page.Redirect(w, registrationTokensBase+"/shown?view="+view)
}

// ShownRegistrationToken serves GET /admin/registration-tokens/shown: a new token, once.
func (s *Apps) ShownRegistrationToken(w http.ResponseWriter, r *http.Request, v *page.Visitor) error {
	x, err := s.TakeSecret(r, v)
	if err != nil {
		return err
	}
	if x.Secret == "" {
		return page.AlreadyShown(registrationTokensBase, page.OneTimeSecret{})
	}
	made, err := s.registrationToken(r.Context(), v, x.ID)
	if err != nil {
		return err
	}
	view := templates.RegistrationTokenView{
		Page: s.NewPage(v, templates.SectionAdminTokens), Token: x.Secret, Uses: int(made.MaxUses),
		Expires: made.ExpiresAt.Time(), RegisterURL: s.oauth.Issuer() + "/oauth/register", NextURL: registrationTokensBase,
	}
	return s.Render(w, r, http.StatusOK, view.Nonce, templates.RegistrationTokenPage(view))
}

// registrationToken finds a registration token that has not expired. storage.ErrNotFound: none has this id.
func (s *Apps) registrationToken(ctx context.Context, v *page.Visitor, id string) (storage.RegistrationToken, error) {
	list, err := s.management.RegistrationTokens(ctx, s.Administrator(v))
	if err != nil {
		return storage.RegistrationToken{}, err
	}
	i := slices.IndexFunc(list, func(x storage.RegistrationToken) bool { return x.ID == id })
	if i < 0 {
		return storage.RegistrationToken{}, storage.ErrNotFound
	}
	return list[i], nil
}

// ConfirmRevokeToken serves GET /admin/registration-tokens/{id}/revoke.
func (s *Apps) ConfirmRevokeToken(w http.ResponseWriter, r *http.Request, v *page.Visitor) error {
	x, err := s.registrationToken(r.Context(), v, r.PathValue("id"))
	if err != nil {
		return err
	}
	return s.AskFirst(w, r, templates.ConfirmView{
		Page:   s.NewPage(v, templates.SectionAdminTokens),
		Title:  locale.New("Revoke the registration token %s?", bearer.PrefixRegistration+"…"+x.Tail),
		Button: locale.New("Revoke token"), CancelURL: registrationTokensBase,
		Ends:  []locale.Text{locale.New("No app can register with it any more.")},
		Stays: ifAny(int(x.Uses), locale.New("%d apps that have registered with it stay.", x.Uses)),
	})
}

// RevokeRegistrationToken serves POST /admin/registration-tokens/{id}/revoke.
func (s *Apps) RevokeRegistrationToken(w http.ResponseWriter, r *http.Request, v *page.Visitor) error {
	err := s.management.RevokeRegistrationToken(r.Context(), s.Administrator(v), r.PathValue("id"))
	return s.changed(w, r, v, registrationTokensBase, locale.New("The registration token was revoked."), err)
}
