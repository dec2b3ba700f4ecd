package providers

// EmailState is what a provider says about the address of a user.
type EmailState int

// The states of an address.
const (
	Verified   EmailState = iota
	Unverified            // email_verified is false
	Unstated              // email_verified is left out; at GitHub it is Unverified
)

// Tenants of Microsoft.
const (
	// Tenant is that of Ada.
	Tenant = "11111111-2222-4333-8444-555555555555"
	// OtherTenant is another company's.
	OtherTenant = "66666666-7777-4888-9999-aaaaaaaaaaaa"
	// PersonalTenant is that of personal accounts, which have an authority of their own: consumers.
	PersonalTenant = "9188040d-6c67-4c5b-b112-36a304b66dad"
)

// User is an account at a stand-in.
type User struct {
	Subject string     // sub; GitHub's id, so that it must be a decimal number there
	Email   string     // empty: there is none
	State   EmailState // of Email; Microsoft never says it
	Name    string     // empty: there is none
	Login   string     // GitHub's
	Tenant  string     // Microsoft's
}

// Ada is a user who fits each stand-in.
func Ada() User {
	return User{
		Subject: "1815121018521127", Email: "ada@lovelace.example", Name: "Ada Lovelace", Login: "ada", Tenant: Tenant,
	}
}
