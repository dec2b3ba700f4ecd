package provider

import (
	"regexp"
	"strings"
)

// Microsoft has an issuer for each tenant. The discovery documents for several tenants have a template in place of it,
// and the one for personal accounts has the tenant of these.
const (
	tenantTemplate = "{tenantid}"
	tenantVersion  = "/v2.0"
	personalTenant = "9188040d-6c67-4c5b-b112-36a304b66dad"
)

var tenantID = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// prepareMicrosoft notes if the issuer stands for several tenants.
func (p *Provider) prepareMicrosoft() {
	for _, several := range []string{"common", "organizations", "consumers"} {
		if before, ok := strings.CutSuffix(p.issuer, several+tenantVersion); ok && strings.HasSuffix(before, "/") {
			p.tenants = before
		}
	}
}

// isTenantIssuer reports whether an issuer is that of some tenant.
func (p *Provider) isTenantIssuer(issuer string) bool {
	tenant, ok := strings.CutPrefix(issuer, p.tenants)
	tenant, hasVersion := strings.CutSuffix(tenant, tenantVersion)
	return ok && hasVersion && tenantID.MatchString(tenant)
}
