package templates

// ConfirmView asks for confirmation before something is ended, disabled or removed. It posts confirmed=yes and the
// chosen Choices to Action.
type ConfirmView struct {
	Page
	Workspace   WorkspaceBar // zero: the page is not about a workspace
	Title       string       // a question
	Ends        []string     // what will happen, a sentence each
	Stays       string       // what is not affected, and how to undo it
	Action      string
	Button      string
	CancelURL   string
	ChoicesText string          // heading of the choices
	Choices     []ConfirmChoice // none: the page has no choices
}

// ConfirmChoice is a checkbox of a confirmation page.
type ConfirmChoice struct {
	Name    string
	Value   string
	Label   string
	Hint    string
	Checked bool
}
