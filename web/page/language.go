package page

import (
	"net/http"
	"time"

	"doorward/locale"
	"doorward/storage"
	"doorward/templates"
)

// localized returns the request with the brand and a locale in its context: the language that the browser asks for, and
// UTC.
func (s *Pages) localized(r *http.Request) *http.Request {
	if locale.From(r.Context()).Language != nil {
		return r
	}
	ctx := templates.WithBrand(r.Context(), s.brand)
	return r.WithContext(locale.With(ctx, locale.Locale{Language: s.language(r)}))
}

// language returns the first of the preferred languages that there is, or else the one that the browser asks for.
func (s *Pages) language(r *http.Request, preferred ...string) *locale.Language {
	return s.languages.Match(r.Header.Get("Accept-Language"), preferred...)
}

// Prefer changes the locale of a page to a language that an app asks for, if there is one of them: tags with spaces
// between them (ui_locales of OpenID Connect Core 1.0, section 3.1.2.1). It comes before the user's own choice.
func (s *Pages) Prefer(r *http.Request, tags string) {
	l := locale.From(r.Context())
	if tags == "" || l.Language == nil {
		return
	}
	chosen := s.language(r, tags, l.Language.Tag())
	locale.Change(r.Context(), locale.Locale{Language: chosen, Zone: l.Zone, Requested: tags})
}

// WriteFor changes the locale of a page to what a user has chosen in their settings.
func (s *Pages) WriteFor(r *http.Request, u *storage.User) {
	if locale.From(r.Context()).Language == nil {
		return // not a page: a request to the management API
	}
	l := locale.Locale{Requested: locale.From(r.Context()).Requested}
	l.Language = s.language(r, l.Requested, u.Language)
	if u.TimeZone != "" {
		if zone, err := time.LoadLocation(u.TimeZone); err == nil {
			l.Zone = zone
		}
	}
	locale.Change(r.Context(), l)
}
