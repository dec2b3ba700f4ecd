package locale

import "context"

type key struct{}

// With returns a context with a reader's locale, which Change can change.
func With(ctx context.Context, l Locale) context.Context { return context.WithValue(ctx, key{}, &l) }

// Change changes the locale of a context that With returned: a request turns out to come from a user with a language of
// their own, or from an app that asks for one. It must not run at the same time as From.
func Change(ctx context.Context, l Locale) {
	if have, ok := ctx.Value(key{}).(*Locale); ok {
		*have = l
	}
}

// TagOf returns the language tag of a context's reader; empty if there is none.
func TagOf(ctx context.Context) string {
	if _, ok := ctx.Value(key{}).(*Locale); !ok {
		return ""
	}
	return From(ctx).Tag()
}

// From returns the locale of a context. It is English and UTC if there is none.
func From(ctx context.Context) Locale {
	if have, ok := ctx.Value(key{}).(*Locale); ok {
		return *have
	}
	return Locale{}
}
