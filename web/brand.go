package web

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"time"

	"doorward/brand"
	"doorward/templates"
	"doorward/web/page"
)

// brandPath is where the files of the vendor's brand are served.
const brandPath = "/assets/brand/"

// brandFilePath returns the path of a file of the brand, with a query that changes with its content; empty if there is
// none.
func (s *Server) brandFilePath(name string) string {
	f, ok := s.brand.Has(name)
	if !ok {
		return ""
	}
	sum := sha256.Sum256(f.Body)
	return brandPath + f.Name + "?v=" + hex.EncodeToString(sum[:6])
}

// brandOfPages is the brand as pages use it.
func (s *Server) brandOfPages() templates.Brand {
	b := templates.Brand{
		Name: s.brand.Name, Logo: s.brandFilePath(brand.FileLogo), LogoDark: s.brandFilePath(brand.FileLogoDark),
		SupportURL: s.brand.SupportURL, TermsURL: s.brand.TermsURL, PrivacyURL: s.brand.PrivacyURL,
	}
	for _, name := range []string{brand.FileAccent, brand.FileStylesheet} {
		if path := s.brandFilePath(name); path != "" {
			b.Styles = append(b.Styles, path)
		}
	}
	return b
}

// brandFile serves a file of the vendor's brand. A browser that opens a logo by itself runs nothing in it.
func (s *Server) brandFile(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	for _, f := range s.brand.Files {
		if f.Name != name {
			continue
		}
		h := w.Header()
		h.Set("Content-Type", f.Type)
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; sandbox; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-cache")
		if r.URL.RequestURI() == s.brandFilePath(f.Name) {
			h.Set("Cache-Control", "public, max-age=31536000, immutable")
		}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(f.Body))
		return
	}
	s.pages.WriteError(w, r, page.NotFound())
}
