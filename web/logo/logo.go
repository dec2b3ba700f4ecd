// Package logo serves the logos of apps, which are at addresses that the apps' developers choose. It fetches, decodes
// and encodes them again, so that neither the browser asks another host nor anything but pixels reaches it. It does not
// know apps or pages.
package logo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	_ "image/gif"  // a format of logos
	_ "image/jpeg" // a format of logos
	"image/png"
	"net/http"
	"strings"
	"time"

	"github.com/maypok86/otter/v2"
	"golang.org/x/image/draw"

	"doorward/oauth/fetch"
	"doorward/oauth/seal"
	"doorward/storage"
)

const (
	// Path begins the paths of logos.
	Path = "/assets/logos/"

	purpose = "logo"
	// maxSide bounds the width and height of the image that is read, and side those of the image that is served, in
	// pixels.
	maxSide = 1024
	side    = 96
	// lifetime is how long a logo is kept, and failed how long it is known that one cannot be had.
	lifetime = time.Hour
	failed   = time.Minute
	maxLogos = 500
)

// Config holds what New needs.
type Config struct {
	Fetcher *fetch.Fetcher
	Secrets *seal.Secrets
	Now     func() storage.Time
}

// Logos are the logos of apps. Its methods are safe for concurrent use.
type Logos struct {
	Config

	flight fetch.Shared[kept]
	// cache is an otter.Cache, without its name, as in package oauth.
	cache interface {
		GetIfPresent(address string) (x kept, ok bool)
		Set(address string, x kept) (old kept, ok bool)
	}
}

// kept is a logo, or the knowledge that there is none.
type kept struct {
	png   []byte // nil: it could not be had
	at    storage.Time
	cause error
}

// New returns Logos.
func New(c Config) *Logos {
	return &Logos{Config: c, cache: otter.Must(&otter.Options[string, kept]{MaximumSize: maxLogos})}
}

// URL returns the path at which this server serves the image at an address; empty for an empty address. Only paths from
// here are served, so that others cannot have this server fetch what they like.
func (l *Logos) URL(address string) string {
	if address == "" {
		return ""
	}
	return Path + l.Secrets.Seal(purpose, []byte(address))
}

// ServeHTTP serves GET /assets/logos/{name}. In place of an image that cannot be had, it serves an empty one, through
// which the letter below it is seen.
func (l *Logos) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	address, err := l.Secrets.Open(purpose, strings.TrimPrefix(r.URL.Path, Path))
	if err != nil {
		http.Error(w, "Not found", http.StatusNotFound)
		return
	}
	x := l.get(r.Context(), string(address))
	h := w.Header()
	h.Set("Content-Type", "image/png")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Content-Security-Policy", "default-src 'none'; sandbox; frame-ancestors 'none'")
	h.Set("Cache-Control", "private, max-age=3600")
	if x.png == nil {
		h.Set("Cache-Control", "no-store")
		x.png = empty
	}
	_, _ = w.Write(x.png) // the browser may be gone
}

// get returns the logo at an address, from memory if it was fetched before.
func (l *Logos) get(ctx context.Context, address string) kept {
	if x, ok := l.cache.GetIfPresent(address); ok {
		age := l.Now().Sub(x.at).Abs()
		if x.png != nil && age < lifetime || age < failed {
			return x
		}
	}
	x, err := l.flight.Do(ctx, address, func(ctx context.Context) (kept, error) {
		x := kept{at: l.Now()}
		x.png, x.cause = l.fetch(ctx, address)
		l.cache.Set(address, x)
		return x, nil
	})
	if err != nil {
		return kept{cause: err}
	}
	return x
}

func (l *Logos) fetch(ctx context.Context, address string) ([]byte, error) {
	body, _, err := l.Fetcher.Get(ctx, address, "image/png, image/jpeg, image/gif", fetch.DefaultMaxBytes)
	if err != nil {
		return nil, err
	}
	return encode(body)
}

// encode decodes an image, makes it square on white, and encodes it as PNG.
func encode(body []byte) ([]byte, error) {
	size, _, err := image.DecodeConfig(bytes.NewReader(body))
	switch {
	case err != nil:
		return nil, fmt.Errorf("logo: %w", err)
	case size.Width < 1 || size.Height < 1 || size.Width > maxSide || size.Height > maxSide:
		// Before it is decoded: a few bytes can say that they are a huge image.
		return nil, errors.New("the logo is empty, or has more than 1,024 pixels in a row or column")
	}
	from, _, err := image.Decode(bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("logo: %w", err)
	}
	to := image.NewRGBA(image.Rect(0, 0, side, side))
	draw.Draw(to, to.Bounds(), image.White, image.Point{}, draw.Src)
	b := from.Bounds()
	longest := max(b.Dx(), b.Dy())
	width, height := max(1, b.Dx()*side/longest), max(1, b.Dy()*side/longest)
	x, y := (side-width)/2, (side-height)/2
	draw.CatmullRom.Scale(to, image.Rect(x, y, x+width, y+height), from, b, draw.Over, nil)
	var out bytes.Buffer
	if err := png.Encode(&out, to); err != nil {
		return nil, fmt.Errorf("logo: %w", err)
	}
	return out.Bytes(), nil
}

// empty is a transparent image of one pixel.
var empty = func() []byte {
	var out bytes.Buffer
	if err := png.Encode(&out, image.NewRGBA(image.Rect(0, 0, 1, 1))); err != nil {
		panic(err) // a buffer does not fail
	}
	return out.Bytes()
}()
