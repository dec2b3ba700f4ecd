package templates

import (
	"context"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"doorward/locale"
)

// language is the language of a page.
func language(ctx context.Context) *locale.Language {
	if l := locale.From(ctx).Language; l != nil {
		return l
	}
	return locale.English()
}

// windowTitle is the text of the browser tab. A page with errors says so first, because a screen reader reads the title
// out after a reload.
func windowTitle(ctx context.Context, title string, faulty bool) string {
	if faulty {
		title = tr(ctx, "Error: %s", title)
	}
	return title + " · " + brandName(ctx)
}

// display is the name to show for a user.
func (v *Viewer) display() string {
	if v.Name != "" {
		return v.Name
	}
	return v.Email
}

// initial is the first letter of a name, for the tile beside it.
func initial(name string) string {
	r, _ := utf8.DecodeRuneInString(strings.TrimSpace(name))
	if r == utf8.RuneError || !unicode.IsGraphic(r) {
		return "?"
	}
	return string(unicode.ToUpper(r))
}

// machineTime is the datetime attribute (RFC 3339), in UTC.
func machineTime(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// describe joins the ids of the elements that describe a control. It leaves out empty ones.
func describe(ids ...string) string {
	return strings.Join(slices.DeleteFunc(ids, func(id string) bool { return id == "" }), " ")
}

// when returns s if ok is true, otherwise an empty string.
func when(ok bool, s string) string {
	if ok {
		return s
	}
	return ""
}

// path joins a fixed beginning, an id, which it escapes, and a fixed end.
func path(start, id, end string) string { return start + url.PathEscape(id) + end }

// problem is an entry of a form's error summary.
type problem struct {
	Field string // field name, for the link; empty: it is about the whole form
	Text  string
}

// problems lists the errors of a form in the order of its fields. Errors of fields that are not in order come last.
func problems(ctx context.Context, general locale.Text, errs map[string]locale.Text, order ...string) []problem {
	var list []problem
	add := func(field string, text locale.Text) {
		if !text.IsZero() {
			list = append(list, problem{field, of(ctx, text)})
		}
	}
	add("", general)
	for _, field := range order {
		add(field, errs[field])
	}
	for _, field := range slices.Sorted(maps.Keys(errs)) {
		if !slices.Contains(order, field) {
			add("", errs[field])
		}
	}
	return list
}

// kindText is the type of an app in words.
func kindText(ctx context.Context, kind string) string {
	switch kind {
	case KindPublic:
		return tr(ctx, "Browser, mobile or command-line app")
	case KindService:
		return tr(ctx, "Machine to machine")
	case KindResourceServer:
		return tr(ctx, "Resource server")
	default:
		return tr(ctx, "Server app")
	}
}

// kindOption is a choice for the type of an app.
type kindOption struct{ Value, Label, Hint string }

func kindOptions(ctx context.Context, administrator bool) []kindOption {
	option := func(kind, hint string) kindOption { return kindOption{kind, kindText(ctx, kind), hint} }
	options := []kindOption{
		option(KindWeb, tr(ctx, "Runs on your server and can keep a secret.")),
		option(KindPublic, tr(ctx, "Runs on the user's device and cannot keep a secret. PKCE protects it.")),
		option(KindService, tr(ctx, "Acts on its own behalf, without a user. Gets a client secret.")),
	}
	if administrator {
		options = append(options, option(KindResourceServer,
			tr(ctx, "An API that validates tokens by introspection. Gets a client secret, but no tokens of its own.")))
	}
	return options
}

// chosenKind is the type that is chosen in the form.
func (f AppFields) chosenKind() string {
	if f.Kind == "" {
		return KindWeb
	}
	return f.Kind
}

// heading is the stored name of the app.
func (v AppView) heading() string {
	if v.SavedName != "" {
		return v.SavedName
	}
	return v.Name
}

// appFieldOrder is the order of the fields on the page, for the error summary.
var appFieldOrder = []string{
	"name", "site", "logo_uri", "policy_uri", "tos_uri", "kind", "redirect_uris", "resource", "scope", "refresh",
	"first_party", "manages", "pkce_optional", "verified", "token_endpoint_auth_method", "jwks", "jwks_uri",
	"token_endpoint_auth_signing_alg", "require_pushed_authorization_requests", "dpop_bound_access_tokens", "fapi",
	"token_endpoint_audience", "grace", "password", "confirm",
}

// authenticationFields are the names of the fields of AppAuthentication.
var authenticationFields = []string{
	"token_endpoint_auth_method", "jwks", "jwks_uri", "token_endpoint_auth_signing_alg",
	"require_pushed_authorization_requests", "dpop_bound_access_tokens", "fapi", "token_endpoint_audience",
}

// authenticationFaulty reports whether a field of AppAuthentication has an error.
func (f AppFields) authenticationFaulty() bool {
	return slices.ContainsFunc(authenticationFields, func(name string) bool { return !f.Errors[name].IsZero() })
}

// privateKeyJWT is the method with which an app authenticates without a secret.
const privateKeyJWT = "private_key_jwt"

// authMethods are the choices for the method of a confidential app.
func authMethods(ctx context.Context) []kindOption {
	return []kindOption{
		{"", tr(ctx, "With its secret, in either way"), tr(ctx, "In the Authorization header (HTTP Basic) or in the body.")},
		{"client_secret_basic", tr(ctx, "With its secret, in the header"), tr(ctx, "Only by HTTP Basic.")},
		{"client_secret_post", tr(ctx, "With its secret, in the body"), tr(ctx, "Only as a parameter of the request.")},
		{privateKeyJWT, tr(ctx, "With its private key"), tr(ctx, "The app signs a short JWT, and we know only its public "+
			"keys. It has no secret: existing ones are deleted.")},
	}
}

// navGroup is a part of the settings navigation with a title.
type navGroup struct {
	Title string
	Items []navItem
}

// navItem is an entry of the navigation.
type navItem struct {
	Text, URL string
	Current   bool // of this page
}

// workspaceTabs are the sections of a workspace. Tab is the path after the workspace's slug.
var workspaceTabs = []struct {
	Tab  string
	Text locale.Text
}{
	{TabKeys, locale.New("API keys")},
	{TabApps, locale.New("Apps")},
	{TabMembers, locale.New("Members")},
	{TabUsage, locale.New("Usage")},
	{TabAudit, locale.New("Audit log")},
	{TabSettings, locale.New("Settings")},
}

// sections are the entries for the current workspace; none if all workspaces are disabled.
func (n Navigation) sections(ctx context.Context) (list []navItem) {
	if n.Workspace.Slug == "" {
		return nil
	}
	for _, x := range workspaceTabs {
		list = append(list, navItem{
			Text: of(ctx, x.Text), URL: path("/settings/workspaces/", n.Workspace.Slug, tabPath(x.Tab)),
			Current: n.Inside && x.Tab == n.Workspace.Tab,
		})
	}
	return list
}

// listsWorkspaces reports whether this page is the list of the viewer's workspaces.
func (p Page) listsWorkspaces() bool { return !p.Navigation.Inside && p.Section == SectionWorkspaces }

// navigation is the part of the navigation below the current workspace.
func navigation(ctx context.Context, p Page) []navGroup {
	item := func(section, text, to string) navItem {
		return navItem{Text: text, URL: to, Current: !p.Navigation.Inside && p.Section == section}
	}
	groups := []navGroup{{tr(ctx, "Your account"), []navItem{
		item(SectionProfile, tr(ctx, "Profile"), "/settings/profile"),
		item(SectionSecurity, tr(ctx, "Security"), "/settings/security"),
		item(SectionConnectedApps, tr(ctx, "Connected apps"), "/settings/connected-apps"),
		item(SectionTokens, tr(ctx, "Personal access tokens"), "/settings/developer/personal-access-tokens"),
	}}}
	if p.User != nil && p.User.Admin {
		groups = append(groups, navGroup{tr(ctx, "Administration"), []navItem{
			item(SectionAdminUsers, tr(ctx, "Users"), "/admin/users"),
			item(SectionAdminWorkspaces, tr(ctx, "All workspaces"), "/admin/workspaces"),
			item(SectionAdminApps, tr(ctx, "All apps"), "/admin/apps"),
			item(SectionAdminTokens, tr(ctx, "Registration tokens"), "/admin/registration-tokens"),
			item(SectionAdminAudit, tr(ctx, "Audit log"), "/admin/audit"),
		}})
	}
	return groups
}

// tabPath is the path of a section, after the workspace's slug.
func tabPath(tab string) string { return when(tab != "", "/"+tab) }

// RoleWithArticle is a role for a sentence: "a member", "an owner".
func RoleWithArticle(role string) locale.Text {
	switch role {
	case "owner":
		return locale.New("an owner")
	case "admin":
		return locale.New("an admin")
	case "member":
		return locale.New("a member")
	case "viewer":
		return locale.New("a viewer")
	}
	return AsIs(role) // of a later version
}

// currentText is the text of the current entry, for the button that opens the navigation on narrow screens.
func currentText(ctx context.Context, p Page) string {
	if p.listsWorkspaces() {
		return tr(ctx, "Your workspaces")
	}
	groups := append(navigation(ctx, p), navGroup{Items: p.Navigation.sections(ctx)})
	for _, group := range groups {
		for _, item := range group.Items {
			if item.Current {
				return item.Text
			}
		}
	}
	return tr(ctx, "Menu")
}

// shellQuote quotes s as one argument for a POSIX shell.
func shellQuote(s string) string {
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// curl is an example request for the app: the first one that it needs.
func (v SecretView) curl() string {
	auth := "-u " + shellQuote(v.ClientID+":"+v.Secret)
	switch v.Kind {
	case KindResourceServer:
		return fmt.Sprintf("curl %s \\\n  %s \\\n  -d token=PASTE_A_TOKEN", shellQuote(v.IntrospectURL), auth)
	case KindService:
		line := fmt.Sprintf("curl %s \\\n  %s \\\n  -d grant_type=client_credentials", shellQuote(v.TokenURL), auth)
		if v.Scope != "" {
			line += " \\\n  --data-urlencode " + shellQuote("scope="+v.Scope)
		}
		return line
	default:
		redirect := v.RedirectURI
		if redirect == "" {
			redirect = "PASTE_THE_REDIRECT_URI"
		}
		return fmt.Sprintf("curl %s \\\n  %s \\\n  -d grant_type=authorization_code \\\n  -d code=PASTE_THE_CODE \\\n  -d "+
			"code_verifier=PASTE_THE_VERIFIER \\\n  --data-urlencode %s",
			shellQuote(v.TokenURL), auth, shellQuote("redirect_uri="+redirect))
	}
}

// curl is an example request with which an app registers.
func (v RegistrationTokenView) curl() string {
	const metadata = `{"client_name": "Example App", "redirect_uris": ["https://app.example.com/callback"]}`
	return fmt.Sprintf("curl %s \\\n  -H %s \\\n  -H %s \\\n  -d %s", shellQuote(v.RegisterURL),
		shellQuote("Authorization: Bearer "+v.Token), shellQuote("Content-Type: application/json"), shellQuote(metadata))
}

// env is what the app needs to know, as lines of a .env file.
func (v SecretView) env() string {
	lines := "DOORWARD_CLIENT_ID=" + v.ClientID + "\nDOORWARD_CLIENT_SECRET=" + v.Secret
	switch v.Kind {
	case KindResourceServer:
		return lines + "\nDOORWARD_INTROSPECT_URL=" + v.IntrospectURL
	case KindService:
		return lines + "\nDOORWARD_TOKEN_URL=" + v.TokenURL
	default:
		return lines + "\nDOORWARD_AUTHORIZE_URL=" + v.AuthorizeURL + "\nDOORWARD_TOKEN_URL=" + v.TokenURL
	}
}
