package templates

// ProofView is the page that asks for the password before what gives lasting
// power. It posts the form that it stands before once more, with the field
// current_password.
type ProofView struct {
	Page
	Action  string // where the form goes
	Fields  []FormField
	Fault   string // what is wrong with the password; empty the first time
	BackURL string
}

// FormField is a field of a form as it was sent.
type FormField struct{ Name, Value string }
