package apikey

import (
	"doorward/oauth/limit"
	"doorward/storage"
)

// Plan is the plan of a key in a workspace whose own plan is given. A test key has the resource's for tests. Without
// one, and for other keys, it is the key's own (which a test key does not have), else its workspace's, else the
// resource's default. A rate limit of the key's own that is lower takes the place of the hour window.
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

// PlansFor lists the plans, by name, that a key may be given in place of the one it would have: those that allow no
// more. A test key has no choice.
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

// State is the state of a key itself: live, paused, rotating (until its end another works beside it),
// expired or revoked.
func (k *Keys) State(key *storage.APIKey) string {
	switch StatusOf(key, k.store.Now(), false) {
	case Revoked:
		return "revoked"
	case Expired:
		return "expired"
	case Paused:
		return "paused"
	case Unknown, Good, Suspended: // which is not the key's own
	}
	if key.RotatedInto != "" {
		return "rotating"
	}
	return "active"
}
