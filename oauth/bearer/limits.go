package bearer

import (
	"context"
	"net/netip"

	"doorward/oauth/catalog"
	"doorward/oauth/limit"
	"doorward/storage"
)

// Limited reports whether requests of a principal are counted.
func (p *Principal) Limited() bool { return p.Limits != (limit.Plan{}) }

// ChargeUnauthenticated charges a request without a valid credential to the address that it comes from. counted is
// false if the resource has no plan for such requests.
func (v *Verifier) ChargeUnauthenticated(
	ctx context.Context, r *catalog.Resource, from netip.Addr,
) (result limit.Result, counted bool, err error) {
	_, plan := v.catalog.PlanOf(r.AnonymousPlan)
	if plan == (limit.Plan{}) {
		return limit.Result{Allowed: true}, false, nil
	}
	result, err = v.limiter.Take(ctx, "address:"+limit.AddressKey(from)+":"+r.ID, 1, plan)
	return result, true, err
}

// Take charges a request to the plan of a principal. Without a plan the request is allowed, and the rest of the result
// is zero.
func (v *Verifier) Take(ctx context.Context, p *Principal, cost int64) (limit.Result, error) {
	if !p.Limited() {
		return limit.Result{Allowed: true}, nil
	}
	return v.limiter.Take(ctx, p.Counter, cost, p.Limits)
}

// Remaining returns what is left of a key's plan now, and charges nothing. ok is false if the key is not limited.
func (v *Verifier) Remaining(
	ctx context.Context, k *storage.APIKey, workspacePlan string,
) (r limit.Result, ok bool, err error) {
	_, plan := v.keys.Plan(k, workspacePlan)
	if plan == (limit.Plan{}) {
		return r, false, nil
	}
	r, err = v.limiter.Take(ctx, keyCounter(k), 0, plan)
	return r, true, err
}
