package security

import (
	"net/url"
	"testing"

	"doorward/management"
	"doorward/test/rig"
)

// A permission that the user leaves out on a second consent page is no longer remembered.
func TestConsentLeftOutIsForgotten(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app := r.App(management.ClientSpec{})
	b := r.Browser().SignIn(r.Alice.Email)
	b.Code(app, "read write")
	again := app.Params("read write")
	again.Set("prompt", "consent")
	a := b.Decide(b.Authorize(again), "approve", func(v url.Values) { v["scope"] = []string{"read"} })
	if a.Param("code") == "" {
		t.Fatalf("no code: %d %s", a.Status, rig.Plain(a.Body))
	}
	if a := b.Authorize(app.Params("read write")); a.Location != nil {
		t.Fatalf("what was left out came back without asking: %v", a.Location)
	}
}
