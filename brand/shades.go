package brand

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
)

// colour is an sRGB colour; each part is from 0 to 1.
type colour [3]float64

var accentForm = regexp.MustCompile(`^#[0-9a-fA-F]{6}$`)

// parseColour reads a colour as #rrggbb.
func parseColour(text string) (colour, error) {
	if !accentForm.MatchString(text) {
		return colour{}, fmt.Errorf("%q is not a colour; write it as #rrggbb, such as #1f5f4c", text)
	}
	n, _ := strconv.ParseUint(text[1:], 16, 32) // the form was checked
	return colour{float64(n>>16) / 255, float64(n>>8&0xff) / 255, float64(n&0xff) / 255}, nil
}

// String returns the colour as #rrggbb.
func (c colour) String() string {
	var b strings.Builder
	b.WriteByte('#')
	for _, part := range c {
		fmt.Fprintf(&b, "%02x", int(math.Round(part*255)))
	}
	return b.String()
}

// luminance is the relative luminance (WCAG 2.2).
func (c colour) luminance() float64 {
	linear := func(v float64) float64 {
		if v <= 0.04045 {
			return v / 12.92
		}
		return math.Pow((v+0.055)/1.055, 2.4)
	}
	return 0.2126*linear(c[0]) + 0.7152*linear(c[1]) + 0.0722*linear(c[2])
}

// contrast is the contrast ratio of two colours (WCAG 2.2), from 1 to 21.
func contrast(a, b colour) float64 {
	x, y := a.luminance(), b.luminance()
	return (max(x, y) + 0.05) / (min(x, y) + 0.05)
}

// mix returns the colour at a share of the way from c to other.
func (c colour) mix(other colour, share float64) colour {
	for i := range c {
		c[i] += (other[i] - c[i]) * share
	}
	return c
}

var (
	black = colour{0, 0, 0}
	white = colour{1, 1, 1}
)

// theme holds the grounds of pages in one theme, as the style sheet has them, and where shades of a colour go to become
// more readable on them. A test compares the grounds with the style sheet.
type theme struct {
	grounds []string
	toward  colour
}

var (
	light = theme{[]string{"#f7f5f0", "#fffefb", "#f3f0e9"}, black}
	dark  = theme{[]string{"#121311", "#1b1d1a", "#232621"}, white}
)

// shade returns the shade nearest to c whose contrast with all grounds, and with the soft ground that is mixed from c
// itself, is at least ratio.
func (t theme) shade(c colour, ratio float64) colour {
	for share := 0.0; share < 1; share += 0.01 {
		x := c.mix(t.toward, share)
		if t.readable(c, x, ratio) {
			return x
		}
	}
	return t.toward
}

func (t theme) readable(c, x colour, ratio float64) bool {
	if contrast(x, t.soft(c)) < ratio {
		return false
	}
	for _, text := range t.grounds {
		ground, _ := parseColour(text) // constants
		if contrast(x, ground) < ratio {
			return false
		}
	}
	return true
}

// soft is the ground of a chosen entry: a little of the colour on the surface.
func (t theme) soft(c colour) colour {
	surface, _ := parseColour(t.grounds[1]) // a constant
	return surface.mix(c, 0.12)
}

// Shades returns a style sheet that sets the properties of the accent: the colour itself with black or white text on
// it, whichever contrasts more, and for links and the focus, in each theme, shades of it with a contrast of at least
// 4.5.
func Shades(accent string) (string, error) {
	c, err := parseColour(accent)
	if err != nil {
		return "", err
	}
	text, pressed := white, black
	if contrast(c, black) > contrast(c, white) {
		text, pressed = black, white
	}
	properties := func(t theme) string {
		link := t.shade(c, 4.6) // rounding to whole steps of a colour must not fall below 4.5
		return fmt.Sprintf("--accent: %s; --accent-strong: %s; --accent-soft: %s; --fill: %s; --fill-strong: %s; --on-fill: %s;",
			link, link.mix(t.toward, 0.2), t.soft(c), c, c.mix(pressed, 0.15), text)
	}
	return ":root { " + properties(light) + " }\n@media (prefers-color-scheme: dark) { :root { " + properties(dark) +
		" } }\n", nil
}
