// Package templates holds the pages: plain view structs, templ components that
// turn them into HTML, and the embedded style sheet, script and mark.
//
// It decides how a page looks and reads, and nothing else: it knows no
// requests, no sessions and no storage. A page is a function from a view to a
// component, and the same view always gives the same bytes. Paths and field
// names that a page posts are part of the view's documentation.
//
// Every page works without JavaScript. The Content-Security-Policy it is
// written for is default-src 'none'; style-src 'self'; script-src 'nonce-…';
// img-src 'self': there are no inline styles and no handler attributes.
//
// After a change to a .templ file run go tool templ generate; the generated
// files are committed.
package templates
