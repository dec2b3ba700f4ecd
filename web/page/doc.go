// Package page is what every page needs: who visits it and in which session, forms and the proof that some of them ask
// for, notices, names of people and things, errors, and the headers that each page is sent with. Packages of pages
// embed
// Pages; what a page is about they know, and this package does not.
package page
