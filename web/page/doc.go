// Package page holds what every page needs: the visitor and their session, forms and the password that some of them ask
// for again, notices, the names of people and things, error pages, and response headers. Packages of pages embed Pages;
// this package does not know what their pages are about.
package page
