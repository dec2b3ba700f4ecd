package oauth

import (
	"context"
	"net/netip"

	"doorward/oauth/catalog"
	"doorward/oauth/limit"
)

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
