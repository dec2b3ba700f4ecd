package pages

import (
	"testing"

	"doorward/storage"
	"doorward/test/browser"
	"doorward/test/rig"
)

// A page that shows a secret asks before it is left, unless the secret was copied or the user has confirmed that it is
// stored. When it is loaded again, it shows nothing and creates nothing.
func TestV62_LeavingASecretAsksFirst(t *testing.T) {
	r := rig.Memory(t, rig.Options{Resources: resources()})
	w := r.Workspace("engines", "", r.Alice)
	count := func() int {
		list, err := r.Store.Keys(r.System(), storage.KeyOwner{WorkspaceID: w.ID}, storage.KeyFilter{Limit: 100})
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	p := newPerson(t, r)
	const list = "/settings/workspaces/engines/api-keys"
	p.open(list)
	p.signIn(r.Alice.Email)
	create := func() (shown string) {
		p.open(list + "/new")
		p.Fill(`[name=name]`, "Script")
		p.Press(`[name=scope-0][value="read"]`)
		p.Click(`.key-form [type=submit]`)
		p.Press("h1") // browsers do not ask unless the user has interacted with the page
		return p.Text("#key")
	}
	for i, x := range []struct {
		name string
		do   func()
		asks int
	}{
		{"goes away", func() { p.open(list) }, 1},
		{"says that it is stored", func() { p.Click("[data-stored]") }, 0},
		{"copies it by hand", func() {
			_ = browser.Evaluate[bool](p.Tab,
				`document.getSelection().selectAllChildren(document.getElementById("key")), document.execCommand("copy")`)
			p.open(list)
		}, 0},
	} {
		before := p.Warned()
		if create() == "" {
			t.Fatalf("%s: no key is shown", x.name)
		}
		x.do()
		if asked := p.Warned() - before; asked != x.asks {
			t.Errorf("a user who %s is asked %d times, want %d", x.name, asked, x.asks)
		}
		p.open(list)
		if keys := count(); keys != i+1 {
			t.Errorf("there are %d keys, want %d", keys, i+1)
		}
	}
	_ = create()
	p.Reload()
	if p.Has("#key") {
		t.Error("loaded again the page shows the key")
	}
	if keys := count(); keys != 4 {
		t.Errorf("loading again created a key: there are %d", keys)
	}
}
