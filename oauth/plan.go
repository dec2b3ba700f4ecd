package oauth

import (
	"context"
	"net/netip"

	"doorward/oauth/apikey"
	"doorward/oauth/catalog"
	"doorward/oauth/limit"
	"doorward/storage"
)

// KeyPlan is the plan of a key in a workspace whose own plan is given. A test key has the resource's for tests. Without one,
// and for other keys, it is the key's own (which a test key has not), else its workspace's, else the resource's default. A
// rate limit of the key's own that is lower takes the place of the hour window.
func (s *Server) KeyPlan(k *storage.APIKey, workspacePlan string) (string, limit.Plan) {
	r, ok := s.catalog.Resource(k.Resource)
	if !ok {
		return "", limit.Plan{}
	}
	name, plan := s.catalog.PlanOf(k.Plan, workspacePlan, r.Keys.DefaultPlan)
	if k.Environment == apikey.Test {
		name, plan = s.catalog.PlanOf(r.Keys.TestPlan, workspacePlan, r.Keys.DefaultPlan)
	}
	if k.RateLimit > 0 && (plan.Hour == 0 || k.RateLimit < plan.Hour) {
		plan.Hour = k.RateLimit
	}
	return name, plan
}

// PlansFor lists the plans, by name, that a key may be given in place of the one it would have: those that allow no more.
// A test key has no choice.
func (s *Server) PlansFor(k *storage.APIKey, workspacePlan string) []string {
	if k.Environment == apikey.Test {
		return nil
	}
	without, most := s.KeyPlan(&storage.APIKey{Resource: k.Resource, Environment: k.Environment}, workspacePlan)
	var names []string
	for _, name := range s.catalog.PlanNames() {
		plan, _ := s.catalog.Plan(name)
		if name != without && planWithin(plan, most) {
			names = append(names, name)
		}
	}
	return names
}

// planWithin tells whether a plan allows no more than another in any window.
func planWithin(p, most limit.Plan) bool {
	fits := func(have, most int64) bool { return most == 0 || have != 0 && have <= most }
	return fits(p.Hour, most.Hour) && fits(p.Day, most.Day) && fits(p.Burst, most.Burst)
}

// Limited tells whether requests of a principal are counted.
func (p *Principal) Limited() bool { return p.Limits != (limit.Plan{}) }

// TakeAnonymous charges a request without a good credential to the address that it comes from. Where a resource does not
// count such, counted is false.
func (s *Server) TakeAnonymous(ctx context.Context, r *catalog.Resource, from netip.Addr) (result limit.Result, counted bool, err error) {
	_, plan := s.catalog.PlanOf(r.AnonymousPlan)
	if plan == (limit.Plan{}) {
		return limit.Result{Allowed: true}, false, nil
	}
	result, err = s.limiter.Take(ctx, "address:"+limit.AddressKey(from)+":"+r.ID, 1, plan)
	return result, true, err
}

// Take charges a request to the plan of a principal. Where they have none, everything is allowed and the result says
// nothing else.
func (s *Server) Take(ctx context.Context, p *Principal, cost int64) (limit.Result, error) {
	if !p.Limited() {
		return limit.Result{Allowed: true}, nil
	}
	return s.limiter.Take(ctx, p.Counter, cost, p.Limits)
}
