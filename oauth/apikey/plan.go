package apikey

import (
	"doorward/oauth/limit"
	"doorward/storage"
)

// Plan returns the plan of a key, with its name. A test key has the resource's test plan, if there is one. Any other
// key has its own plan, or else workspacePlan, the plan of its workspace, or else the resource's default. If the key's
// own rate limit is lower than the hour window of that plan, it replaces the window.
func (k *Keys) Plan(key *storage.APIKey, workspacePlan string) (string, limit.Plan) {
	r, ok := k.catalog.Resource(key.Resource)
	if !ok {
		return "", limit.Plan{}
	}
	name, plan := k.catalog.PlanOf(key.Plan, workspacePlan, r.Keys.DefaultPlan)
	if key.Environment == Test {
		name, plan = k.catalog.PlanOf(r.Keys.TestPlan, workspacePlan, r.Keys.DefaultPlan)
	}
	if key.RateLimit > 0 && (plan.Hour == 0 || key.RateLimit < plan.Hour) {
		plan.Hour = key.RateLimit
	}
	return name, plan
}

// PlansFor lists the names of the plans that a key may have instead of its default: those that allow no more than the
// default does. A test key has only the test plan.
func (k *Keys) PlansFor(key *storage.APIKey, workspacePlan string) []string {
	if key.Environment == Test {
		return nil
	}
	without, most := k.Plan(&storage.APIKey{Resource: key.Resource, Environment: key.Environment}, workspacePlan)
	var names []string
	for _, name := range k.catalog.PlanNames() {
		plan, _ := k.catalog.Plan(name)
		if name != without && plan.Within(most) {
			names = append(names, name)
		}
	}
	return names
}

// State returns the state of a key, even if its user or workspace is disabled: active, paused, rotating (it works
// beside its replacement for a while), expired or revoked.
func (k *Keys) State(key *storage.APIKey) string {
	switch StatusOf(key, k.store.Now(), false) {
	case Revoked:
		return "revoked"
	case Expired:
		return "expired"
	case Paused:
		return "paused"
	case Unknown, Good, Suspended: // Suspended concerns its user or workspace
	}
	if key.RotatedInto != "" {
		return "rotating"
	}
	return "active"
}
