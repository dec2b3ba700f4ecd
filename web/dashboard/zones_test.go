package dashboard

import (
	"slices"
	"testing"
	"time"
)

// Every choice of a time zone is one that the server can use.
func TestZonesExist(t *testing.T) {
	if len(zones) < 300 || !slices.IsSorted(zones) {
		t.Errorf("%d time zones, sorted: %v", len(zones), slices.IsSorted(zones))
	}
	for _, name := range zones {
		if _, err := time.LoadLocation(name); err != nil {
			t.Error(err)
		}
	}
	chosen := 0
	for _, o := range zoneOptions("Etc/GMT+5") {
		if o.Selected {
			chosen++
		}
	}
	if chosen != 1 {
		t.Errorf("%d choices are selected for a zone that is not in the list", chosen)
	}
}
