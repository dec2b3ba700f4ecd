package pages

import (
	"fmt"
	"testing"

	"doorward/storage"
	"doorward/test/rig"
)

// The pages on which administrators of a server with email invite, approve and look at users.
func TestUserPages(t *testing.T) {
	for _, javaScript := range []bool{true, false} {
		t.Run(fmt.Sprintf("javascript %v", javaScript), func(t *testing.T) {
			userPages(t, javaScript)
		})
	}
}

func userPages(t *testing.T, javaScript bool) {
	t.Helper()
	r := rig.Memory(t, rig.Options{Emails: true})
	root := r.User("root@example.com", "Root", true)
	r.Browser().SignIn(r.Alice.Email)
	r.SQL(`UPDATE users SET terms_url = 'https://northwind.example/terms', terms_accepted_at = 1, email_proven_at = 1
		WHERE id = $1`, r.Alice.ID)
	waiting := storage.User{
		ID: storage.NewID("user"), Email: "a.person.with.a.rather.long.address@a.department.of.a.university.example.com",
		DisabledAt: r.Store.Now(), WaitingSince: r.Store.Now(),
	}
	if err := r.Store.InsertUser(r.System(), &waiting); err != nil {
		t.Fatal(err)
	}
	p := newPerson(t, r)
	p.JavaScript(javaScript)
	p.open("/admin/users?filter=waiting")
	p.Fill(`form[action="/login"] [name=email]`, root.Email)
	p.Click(`form[action="/login"] [type=submit]`)
	p.Fill(`form[action="/login"] [name=password]`, rig.Password)
	p.Click(`form[action="/login"] [type=submit]`)
	p.checkPage("admin users who wait")
	p.open("/admin/users")
	p.Press("main details.unfold summary")
	p.Fill(`main details [name=email]`, "carol@example.com")
	p.Click("main details.unfold [type=submit]")
	p.checkPage("admin users after an invitation")
	p.open("/admin/users/" + r.Alice.ID)
	p.checkPage("admin user with email")
	p.open("/admin/users/" + waiting.ID)
	p.checkPage("admin user who waits")
	for _, path := range []string{"/delete", "/methods/password/remove"} {
		p.open("/admin/users/" + r.Alice.ID + path)
		p.checkPage("admin user " + path[1:7])
	}
	p.open("/admin/users/" + waiting.ID + "/refuse")
	p.checkPage("admin user refuse")
	p.Click(`form[action$="/refuse"] [type=submit]`)
	p.checkPage("admin users after a refusal")
	if got := p.URL().Path; got != "/admin/users" {
		t.Errorf("after the refusal the page is %s", got)
	}
}
