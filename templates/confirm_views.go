package templates

import "doorward/locale"

// ConfirmView asks for confirmation before something is ended, disabled or removed. It posts confirmed=yes and the
// chosen Choices to Action.
type ConfirmView struct {
	Page
	Workspace   WorkspaceBar  // zero: the page is not about a workspace
	Title       locale.Text   // a question
	Ends        []locale.Text // what will happen, a sentence each
	Stays       locale.Text   // what is not affected, and how to undo it
	Action      string
	Button      locale.Text
	CancelURL   string
	ChoicesText locale.Text     // heading of the choices
	Choices     []ConfirmChoice // none: the page has no choices
	Fields      []FormField     // what the page has shown, so that the form can be refused if it has changed
}

// ConfirmChoice is a checkbox of a confirmation page.
type ConfirmChoice struct {
	Name    string
	Value   string
	Label   locale.Text
	Hint    locale.Text
	Checked bool
}
