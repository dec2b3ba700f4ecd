package templates

import "doorward/locale"

// CodeView is where the code of an email is entered.
type CodeView struct {
	Page
	Flow    string // sealed flow, posted back unchanged; empty: none
	Action  string // path of the form
	BackURL string // page to ask for another email
	Error   locale.Text
	// Elsewhere says that the link was opened in another browser.
	Elsewhere bool
	OnlyCode  bool // the email has no link
}

// SignUpView is the first page of a sign-up.
type SignUpView struct {
	Page
	Flow      string // sealed flow, posted back unchanged
	Email     string // as typed before
	AppName   string // the app that the sign-up is for; empty: none
	SignInURL string
	Errors    map[string]locale.Text // by field: email
}

// ProveView is a page with a button that uses a link up.
type ProveView struct {
	Page
	Heading    locale.Text
	Paragraphs []locale.Text
	Action     string // path of the form
	Token      string // of the link
	Button     locale.Text
}

// CompleteView is the second page of a sign-up.
type CompleteView struct {
	Page
	Token    string // binds the form to the proof
	Email    string
	Name     string // as typed before
	Password bool   // users sign in with passwords
	Passkey  PasskeyForm
	Provider string // with whose account the user signs in, so that they need no password; empty: none
	Error    locale.Text
	Errors   map[string]locale.Text // by field: name, password, terms
}

// ForgotView is the page to ask for a link to choose a new password.
type ForgotView struct {
	Page
	Email  string // as typed before
	Sent   bool
	Errors map[string]locale.Text // by field: email
}

// ResetView is the page to choose a new password.
type ResetView struct {
	Page
	Token        string // of the link
	Email        string
	Apps, Tokens bool                   // as chosen before
	Errors       map[string]locale.Text // by field: password
}

// DoneView says what was done.
type DoneView struct {
	Page
	Heading, Message locale.Text
	BackURL          string
	BackText         locale.Text
}
