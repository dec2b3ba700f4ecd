package templates

// ConfirmView is the step before something ends: it says what, and a button does it. It posts confirmed=yes to Action,
// with
// the choices beside it.
type ConfirmView struct {
	Page
	Workspace WorkspaceBar // of the pages about a workspace
	Title     string       // a question
	Ends      []string     // what ends, each a sentence
	Stays     string       // what does not, and how to undo it
	Action    string
	Button    string
	CancelURL string
	// Choices are further things to decide, each a check box.
	ChoicesText string
	Choices     []ConfirmChoice
}

// ConfirmChoice is a check box of a confirmation.
type ConfirmChoice struct {
	Name    string
	Value   string
	Label   string
	Hint    string
	Checked bool
}
