package brand

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"image/png"
	"io"
	"os"
	"strings"
	"unicode/utf8"
)

// Config is the brand as configured. The zero value is the default look, with the name Doorward.
type Config struct {
	// Name is the vendor's name, in place of Doorward.
	Name string
	// Logo and LogoDark are paths of SVG or PNG files, for light and for dark pages. Empty: the default logo, and for
	// LogoDark the one of light pages.
	Logo, LogoDark string
	// Accent is the vendor's colour, as #rrggbb; empty: the default one.
	Accent string
	// SupportURL, TermsURL and PrivacyURL are pages of the vendor; empty: none.
	SupportURL, TermsURL, PrivacyURL string
	// Stylesheet is the path of a CSS file that pages load after their own; empty: none.
	Stylesheet string
}

// DefaultName is the name of the product, which pages carry unless the vendor sets one.
const DefaultName = "Doorward"

// Brand is the brand with the contents of its files.
type Brand struct {
	Config
	// Files are what pages load: the logos, the shades of the accent, and the style sheet. Their names are fixed.
	Files []File
}

// File is a file that pages load.
type File struct {
	Name string // such as logo.svg
	Type string // media type
	Body []byte
}

// The names of the files of a brand, without the extension of logos.
const (
	FileLogo       = "logo"
	FileLogoDark   = "logo-dark"
	FileAccent     = "accent.css"
	FileStylesheet = "brand.css"
)

const (
	// maxLogo is the size of a logo, in bytes.
	maxLogo = 64 << 10
	// maxStylesheet is the size of the style sheet, in bytes.
	maxStylesheet = 256 << 10
)

// Load reads the files of a brand. The errors say what to do; the key of the configuration is the caller's to add.
func Load(c Config) (*Brand, error) {
	b := &Brand{Config: c}
	if b.Name == "" {
		b.Name = DefaultName
	}
	for _, logo := range []struct{ name, path string }{{FileLogo, c.Logo}, {FileLogoDark, c.LogoDark}} {
		if logo.path == "" {
			continue
		}
		f, err := ReadLogo(logo.path)
		if err != nil {
			return nil, err
		}
		f.Name = logo.name + f.Name
		b.Files = append(b.Files, f)
	}
	if c.Accent != "" {
		css, err := Shades(c.Accent)
		if err != nil {
			return nil, err
		}
		b.Files = append(b.Files, File{Name: FileAccent, Type: "text/css; charset=utf-8", Body: []byte(css)})
	}
	if c.Stylesheet != "" {
		f, err := ReadStylesheet(c.Stylesheet)
		if err != nil {
			return nil, err
		}
		b.Files = append(b.Files, f)
	}
	return b, nil
}

// Has returns the file whose name begins with prefix, if there is one.
func (b *Brand) Has(prefix string) (File, bool) {
	for _, f := range b.Files {
		if f.Name == prefix || strings.HasPrefix(f.Name, prefix+".") {
			return f, true
		}
	}
	return File{}, false
}

// ReadLogo reads a logo: an SVG or PNG of at most 64 KiB. The name of the file is its extension.
func ReadLogo(path string) (File, error) {
	body, err := read(path, maxLogo)
	if err != nil {
		return File{}, err
	}
	if bytes.HasPrefix(body, []byte("\x89PNG\r\n\x1a\n")) {
		if _, err := png.DecodeConfig(bytes.NewReader(body)); err != nil {
			return File{}, errors.New("is not a PNG image that can be read; save it again as PNG or SVG")
		}
		return File{Name: ".png", Type: "image/png", Body: body}, nil
	}
	if !isSVG(body) {
		return File{}, errors.New("is neither an SVG nor a PNG image; use one of these")
	}
	return File{Name: ".svg", Type: "image/svg+xml", Body: body}, nil
}

// isSVG reports whether a file is an XML document whose root is svg.
func isSVG(body []byte) bool {
	decoder := xml.NewDecoder(bytes.NewReader(body))
	root := ""
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			return root == "svg"
		}
		if err != nil {
			return false
		}
		if start, ok := token.(xml.StartElement); ok && root == "" {
			root = start.Name.Local
		}
	}
}

// ReadStylesheet reads a CSS file of at most 256 KiB.
func ReadStylesheet(path string) (File, error) {
	body, err := read(path, maxStylesheet)
	if err != nil {
		return File{}, err
	}
	if !utf8.Valid(body) || bytes.IndexByte(body, 0) >= 0 {
		return File{}, errors.New("is not text; save it as CSS in UTF-8")
	}
	return File{Name: FileStylesheet, Type: "text/css; charset=utf-8", Body: body}, nil
}

// read reads a file of at most limit bytes.
func read(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path) //nolint:gosec // the operator names the file
	if err != nil {
		var cause *os.PathError
		if errors.As(err, &cause) {
			err = cause.Err
		}
		return nil, fmt.Errorf("cannot be read: %w; correct the path, or allow this user to read the file", err)
	}
	defer f.Close() //nolint:errcheck // only read
	body, err := io.ReadAll(io.LimitReader(f, limit+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("cannot be read: %w", err)
	case int64(len(body)) > limit:
		return nil, fmt.Errorf("is larger than %d KiB; use a smaller file", limit>>10)
	case len(body) == 0:
		return nil, errors.New("is empty")
	}
	return body, nil
}
