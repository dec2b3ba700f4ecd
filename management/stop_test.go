package management

import (
	"errors"
	"testing"

	"doorward/oauth/catalog"
	"doorward/storage"
)

// A refusal to start something says who stopped it, and who can start it again.
func TestARefusalNamesWhoCanStartItAgain(t *testing.T) {
	const server = "An administrator of this server"
	lowest, highest := Authority{Role: StoppedByUser}, CLI("")
	if err := lowest.MayResume(&storage.APIKey{PausedBy: StoppedByUser}); err != nil {
		t.Errorf("a user may not resume what they paused: %v", err)
	}
	for by, x := range map[string]struct{ did, who string }{
		catalog.RoleViewer:     {"An admin of the workspace", "an admin or owner"},
		catalog.RoleMember:     {"An admin of the workspace", "an admin or owner"},
		catalog.RoleAdmin:      {"An admin of the workspace", "an admin or owner"},
		catalog.RoleOwner:      {"An owner of the workspace", "an owner"},
		StoppedByAdministrator: {server, "an administrator"},
		"":                     {server, "an administrator"},
		"of a later version":   {server, "an administrator"},
	} {
		var no *Forbidden
		key := storage.APIKey{PausedBy: by}
		want := x.did + " paused this key, so only " + x.who + " can resume it."
		if err := lowest.MayResume(&key); !errors.As(err, &no) || no.Message.String() != want {
			t.Errorf("a key paused by %q: %v, want %s", by, err, want)
		}
		if err := highest.MayResume(&key); err != nil {
			t.Errorf("the CLI may not resume a key paused by %q: %v", by, err)
		}
		app := storage.Client{ID: "app_1", DisabledBy: by}
		if got, want := WhoDisabled(&app).String(), x.did+" disabled this app."; got != want {
			t.Errorf("an app disabled by %q: %s, want %s", by, got, want)
		}
		page := ""
		if x.did == server {
			page = ", on the page /admin/apps/app_1"
		}
		for _, undo := range []Undo{Enable, ChangeAndEnable} {
			want := x.did + " disabled this app, so only " + x.who + " can " + string(undo) + " it" + page + "."
			if err := lowest.MayEnable(&app, undo); !errors.As(err, &no) || no.Message.String() != want {
				t.Errorf("an app disabled by %q: %v, want %s", by, err, want)
			}
		}
		if err := highest.MayEnable(&app, Enable); err != nil {
			t.Errorf("the CLI may not enable an app disabled by %q: %v", by, err)
		}
	}
}
