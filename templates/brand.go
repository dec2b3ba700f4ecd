package templates

import (
	"context"
	"strings"
)

// Brand is the vendor's own look. The zero value is the default look.
type Brand struct {
	Name string // of the vendor, in titles and sentences and beside the logo; empty: Doorward
	// Logo and LogoDark are the paths of the logos for light and for dark pages; empty: the default logo, and for LogoDark
	// the one of light pages.
	Logo, LogoDark string
	// Styles are the paths of style sheets that come after ours.
	Styles []string
	// SupportURL, TermsURL and PrivacyURL are pages of the vendor; empty: none.
	SupportURL, TermsURL, PrivacyURL string
}

type brandKey struct{}

// WithBrand returns a context whose pages and emails have a brand.
func WithBrand(ctx context.Context, b Brand) context.Context {
	return context.WithValue(ctx, brandKey{}, b)
}

// brandOf returns the brand of a context.
func brandOf(ctx context.Context) Brand {
	b, _ := ctx.Value(brandKey{}).(Brand)
	if b.Name == "" {
		b.Name = "Doorward"
	}
	if b.Logo == "" {
		b.Logo = AssetPath("mark.svg")
	}
	return b
}

// supportName is the page or address for help as readers see it.
func (b Brand) supportName() string { return strings.TrimPrefix(b.SupportURL, "mailto:") }

// brandName is the name of the vendor for readers.
func brandName(ctx context.Context) string { return brandOf(ctx).Name }
