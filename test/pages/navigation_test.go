package pages

import (
	"strings"
	"testing"

	"doorward/test/rig"
)

// On a phone and without JavaScript, the button opens the menu, and its switcher leads to the same section of another
// workspace.
func TestV66_TheMenuOfANarrowScreen(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	r.Workspace("engines", "", r.Alice)
	p := newPerson(t, r)
	p.JavaScript(false)
	p.open("/settings/workspaces/engines/usage")
	p.signIn(r.Alice.Email)
	p.Viewport(320, 900)
	p.Press(".nav-button")
	p.Press(".ws-switch summary")
	for _, dark := range []bool{false, true} {
		p.Dark(dark)
		if by := p.Overflow(); by > 0 {
			t.Errorf("the menu is %d px too wide", by)
		}
		for _, violation := range p.Axe() {
			t.Errorf("dark %v: %s", dark, violation)
		}
		shot(t, p.Tab, map[bool]string{false: "menu-320-light", true: "menu-320-dark"}[dark])
	}
	p.Click(`.ws-switch a[href^="/settings/workspaces/personal-"]`)
	personal := p.URL().Path
	if got := p.Text(`.nav-button`); !strings.HasSuffix(got, "Usage") {
		t.Errorf("the button says %q at %s", got, personal)
	}
	p.Press(".nav-button")
	p.Click(`.nav a[href="/settings/security"]`)
	p.Press(".nav-button")
	if got := p.Text(".ws-switch summary bdi"); got != "Alice" || p.URL().Path != "/settings/security" {
		t.Errorf("at %s the workspace is %q", p.URL().Path, got)
	}
}
