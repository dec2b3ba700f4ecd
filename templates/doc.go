// Package templates holds the pages: view structs, templ components that turn them into HTML, and the embedded style
// sheet, script and logo. It decides how a page looks and reads, and does not know requests, sessions or storage.
//
// A page is a function from a view to a component, and the same view always gives the same bytes. The documentation of
// a view names the paths and fields that the page posts.
//
// Every page works without JavaScript. Pages are written for the Content-Security-Policy default-src 'none'; style-src
// 'self'; script-src 'nonce-…'; img-src 'self': there are no inline styles and no event handler attributes.
//
// After a change to a .templ file run go tool templ generate. The generated files are committed.
package templates
