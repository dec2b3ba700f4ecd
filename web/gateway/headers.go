package gateway

import (
	"net/http"
	"slices"
	"strings"
)

// Family is a group of request headers that tell an API who is calling, from where, or which request it is. Only a
// gateway may set them, so a caller's are removed.
type Family struct {
	// Prefix is the beginning of the names, in canonical form. Case is ignored.
	Prefix string
	// Known are the names that software is known to read, without the prefix. The examples for proxies that can remove
	// headers only by name list these.
	Known []string
	// Only means that the family has only the known names, because an API may use other names with the prefix.
	Only bool
}

// Families are the headers that gateways remove from requests. A test compares them with the proxies' files in
// examples/; after a change, run the tests of test/gateways with -update to change the files.
var Families = []Family{
	// Doorward's own, and those of oauth2-proxy, OpenStack and many other APIs.
	{Prefix: "X-Auth-", Known: []string{
		"User", "User-Id", "Username", "Userid", "Name", "Email", "Group", "Groups", "Roles", "Sub", "Token",
		"Account", "Tenant", "Org", "Organization", "Scopes", "Principal", "Claims", "Provider", "Request-User",
		"Request-Email", "Request-Groups", "Request-Preferred-Username", "Request-Access-Token", "Request-Redirect",
	}},
	{Prefix: "X-Authenticated", Known: []string{
		"", "-User", "-Userid", "-User-Id", "-Username", "-Email", "-Groups", "-Scope", "-Client-Id", "-By",
	}},
	{Prefix: "X-Authentik-", Known: []string{
		"Username", "Groups", "Email", "Name", "Uid", "Jwt", "Entitlements", "Meta-Jwks", "Meta-Outpost",
		"Meta-Provider", "Meta-App", "Meta-Version",
	}},
	{Prefix: "X-Doorward-", Known: []string{"Status", "Body"}},
	// Generic names.
	{Prefix: "Remote-", Known: []string{
		"User", "Email", "Groups", "Group", "Name", "Addr", "Host", "Port", "Ident", "Role", "Roles", "Id",
	}},
	{Prefix: "X-Remote-", Known: []string{
		"User", "Email", "Group", "Groups", "Name", "Uid", "Addr", "Ip", "Host", "Port", "Extra", "Role", "Roles",
		"User-Id",
	}},
	{Prefix: "X-User", Only: true, Known: []string{
		"", "-Id", "-Name", "-Email", "-Group", "-Groups", "-Role", "-Roles", "-Scopes", "-Claims", "id", "name",
		"info", "-Info",
	}},
	{Prefix: "X-Id-Token", Only: true, Known: []string{""}},
	{Prefix: "X-Jwt-", Known: []string{"Payload", "Claims", "Claim-Sub", "Claim-Email", "Claim-Groups", "Assertion"}},
	// Grafana, Kong, Pomerium, Vouch, Tailscale, Teleport, SiteMinder, mod_auth_openidc, mod_auth_mellon, Shibboleth.
	{Prefix: "X-Webauth-", Known: []string{"User", "Email", "Name", "Groups", "Role", "Orgs"}},
	{Prefix: "X-Consumer-", Known: []string{"Id", "Username", "Custom-Id", "Groups"}},
	{Prefix: "X-Credential-", Known: []string{"Identifier", "Username"}},
	{Prefix: "X-Anonymous-Consumer", Known: []string{""}},
	{Prefix: "X-Pomerium-", Known: []string{
		"Jwt-Assertion", "Claim-Email", "Claim-User", "Claim-Groups", "Claim-Name",
	}},
	{Prefix: "X-Vouch-", Known: []string{
		"User", "Success", "Idp-Claims-Groups", "Idp-Claims-Email", "Idp-Accesstoken", "Idp-Idtoken",
	}},
	{Prefix: "Tailscale-", Known: []string{"User-Login", "User-Name", "User-Profile-Pic", "App-Capabilities"}},
	{Prefix: "Teleport-", Known: []string{"Jwt-Assertion"}},
	{Prefix: "Sm-", Known: []string{"User", "Userdn", "Universalid", "Authtype", "Serversessionid"}},
	{Prefix: "Oidc-", Known: []string{
		"Claim-Sub", "Claim-Email", "Claim-Name", "Claim-Groups", "Claim-Preferred-Username", "Access-Token",
		"Id-Token", "Id-Token-Payload", "Userinfo-Json",
	}},
	{Prefix: "X-Oidc-", Known: []string{"Claim-Sub", "Claim-Email", "User", "Sub"}},
	{Prefix: "Mellon-", Known: []string{"Name-Id", "Email"}},
	{Prefix: "Shib-", Known: []string{"Session-Id", "Identity-Provider", "Application-Id"}},
	{Prefix: "X-Saml-", Known: []string{"User", "Email"}},
	{Prefix: "Eppn", Only: true, Known: []string{""}},
	// Clouds.
	{Prefix: "X-Amzn-Oidc-", Known: []string{"Accesstoken", "Identity", "Data"}},
	{Prefix: "X-Amzn-Mtls-", Known: []string{
		"Clientcert", "Clientcert-Leaf", "Clientcert-Subject", "Clientcert-Issuer", "Clientcert-Serial-Number",
		"Clientcert-Validity",
	}},
	{Prefix: "X-Apigateway-", Known: []string{"Api-Userinfo"}},
	{Prefix: "X-Endpoint-Api-", Known: []string{"Userinfo", "Consumer-Type", "Consumer-Number"}},
	{Prefix: "X-Goog-Authenticated-User-", Known: []string{"Email", "Id"}},
	{Prefix: "X-Goog-Iap-", Known: []string{"Jwt-Assertion"}},
	{Prefix: "X-Ms-Client-Principal", Known: []string{"", "-Id", "-Name", "-Idp"}},
	{Prefix: "X-Ms-Token-", Known: []string{"Aad-Access-Token", "Aad-Id-Token"}},
	{Prefix: "X-Client-Principal", Known: []string{""}},
	{Prefix: "Cf-Access-", Known: []string{"Authenticated-User-Email", "Jwt-Assertion"}},
	{Prefix: "X-Appengine-", Known: []string{
		"User-Email", "User-Id", "User-Nickname", "User-Is-Admin", "Auth-Domain", "Inbound-Appid", "User-Ip",
		"Country", "Cron", "Queuename",
	}},
	{Prefix: "X-Vercel-", Known: []string{"Forwarded-For", "Proxied-For", "Oidc-Token", "Sc-Headers", "Ip-Country"}},
	{Prefix: "Gap-", Known: []string{"Auth", "Signature"}},
	{Prefix: "Wl-Proxy-", Known: []string{"Client-Ip", "Client-Cert", "Client-Verify", "Ssl", "Client-Keysize"}},
	{Prefix: "L5d-", Known: []string{"Client-Id", "Dst-Override", "Remote-Ip", "Ctx"}},
	{Prefix: "Ms-Aspnetcore-", Known: []string{"Clientcert", "Winauthtoken", "Token"}},
	{Prefix: "X-Iisnode-", Known: []string{"Auth-User", "Remote-User", "Logon-User"}},
	// Client certificates: RFC 9440, ingress-nginx, HAProxy, IIS and others.
	{Prefix: "Client-Cert", Known: []string{"", "-Chain"}},
	{Prefix: "X-Client-Cert", Known: []string{"", "-Dn", "-Verify", "ificate"}},
	{Prefix: "X-Client-Verify", Known: []string{""}},
	{Prefix: "X-Client-Dn", Known: []string{""}},
	{Prefix: "X-Client-S-Dn", Known: []string{""}},
	{Prefix: "Ssl-", Known: []string{
		"Client-Cert", "Client-Verify", "Client-Subject-Dn", "Client-Issuer-Dn", "Client-S-Dn", "Client-I-Dn",
		"Client-Fingerprint", "Client-Serial",
	}},
	{Prefix: "X-Ssl-", Known: []string{
		"Client-Cert", "Client-Verify", "Client-Dn", "Client-Cn", "Client-S-Dn", "Client-Subject-Dn",
		"Client-Issuer-Dn", "Client-Sha1", "Cert", "Issuer",
	}},
	{Prefix: "X-Tls-", Known: []string{"Client-Cert", "Client-Verify", "Client-Subject-Dn"}},
	{Prefix: "X-Arr-", Known: []string{"Clientcert", "Ssl", "Log-Id"}},
	// The origin of a request and its form before it was forwarded. Every gateway overwrites X-Forwarded-For, -Host and
	// -Proto.
	{Prefix: "Forwarded", Only: true, Known: []string{"", "-For", "-Host", "-Proto"}},
	{Prefix: "X-Forwarded", Known: []string{
		"", "-User", "-Email", "-Groups", "-Preferred-Username", "-Access-Token", "-Authorization", "-Client-Cert",
		"-Tls-Client-Cert", "-Tls-Client-Cert-Info", "-Port", "-Ssl", "-Scheme", "-Protocol", "-Server", "-Path",
		"-Prefix", "-Uri", "-Url", "-Method", "-By", "-Client-Ip", "-Remote-User",
	}},
	{Prefix: "X-Original-", Known: []string{
		"Uri", "Url", "Method", "Host", "Path", "For", "Proto", "Forwarded-For", "Forwarded-Host",
		"Forwarded-Proto", "Remote-Addr", "Query",
	}},
	{Prefix: "X-Rewrite-", Known: []string{"Url", "Uri", "Path"}},
	{Prefix: "X-Envoy-", Known: []string{
		"Original-Path", "Original-Host", "Original-Method", "External-Address", "Internal", "Peer-Metadata",
		"Peer-Metadata-Id", "Decorator-Operation", "Auth-Headers-To-Remove",
	}},
	{Prefix: "X-Invoke-", Known: []string{"Path", "Query", "Output", "Status"}}, // Next.js, as X-Matched-Path
	{Prefix: "X-Matched-Path", Known: []string{""}},
	{Prefix: "X-Forwarder-For", Known: []string{""}},
	{Prefix: "Fly-Client-Ip", Known: []string{""}},
	{Prefix: "X-Real-Ip", Known: []string{""}},
	{Prefix: "X-Client-Ip", Known: []string{""}},
	{Prefix: "X-Cluster-Client-Ip", Known: []string{""}},
	{Prefix: "X-Originating-Ip", Known: []string{""}},
	{Prefix: "True-Client-Ip", Known: []string{""}},
	{Prefix: "Client-Ip", Known: []string{""}},
	{Prefix: "Cf-Connecting-Ip", Known: []string{"", "v6"}},
	{Prefix: "Fastly-Client-Ip", Known: []string{""}},
	{Prefix: "X-Azure-", Known: []string{"Clientip", "Socketip"}},
	{Prefix: "X-Proxy", Known: []string{"", "-User", "-Remote-User", "user-Ip"}},
	{Prefix: "Proxy", Known: []string{"", "-User", "-Client-Ip"}}, // CGI turns it into HTTP_PROXY
	{Prefix: "X-Host", Only: true, Known: []string{"", "-Override"}},
	{Prefix: "X-Http-Host-Override", Known: []string{""}},
	{Prefix: "X-Scheme", Only: true, Known: []string{""}},
	{Prefix: "X-Url-Scheme", Known: []string{""}},
	{Prefix: "X-Https", Only: true, Known: []string{""}},
	{Prefix: "Front-End-Https", Known: []string{""}},
	{Prefix: "X-Sent-From", Known: []string{""}},
	// Headers with which frameworks treat a request as a different one: with another base path or method, as if their
	// middleware had run, or with a file to send.
	{Prefix: "X-Script-", Known: []string{"Name"}},
	{Prefix: "Script-Name", Known: []string{""}},
	{Prefix: "Path-Info", Known: []string{""}},
	{Prefix: "X-Base-", Known: []string{"Path", "Url"}},
	{Prefix: "X-Middleware-", Known: []string{
		"Subrequest", "Subrequest-Id", "Invoke", "Prefetch", "Next", "Rewrite", "Override-Headers", "Set-Cookie",
	}},
	{Prefix: "X-Http-Method", Known: []string{"", "-Override"}},
	{Prefix: "X-Method", Known: []string{"", "-Override"}},
	{Prefix: "X-Override-Method", Known: []string{""}},
	{Prefix: "Http-Method", Known: []string{"", "-Override"}},
	{Prefix: "Method-Override", Known: []string{""}},
	{Prefix: "X-Sendfile-", Known: []string{"Type"}},
	{Prefix: "X-Accel-", Known: []string{"Mapping", "Redirect"}},
}

// overwritten are the headers of the families that every gateway overwrites.
var overwritten = []string{"X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"}

// familiesBy indexes the families by the byte that distinguishes them best: the first one, after X- if there is one.
var familiesBy = func() (index [256][]*Family) {
	for i := range Families {
		f := &Families[i]
		c := mark(f.Prefix)
		index[c] = append(index[c], f)
	}
	return index
}()

func mark(name string) byte {
	if len(name) > 2 && (name[0] == 'X' || name[0] == 'x') && name[1] == '-' {
		name = name[2:]
	}
	return name[0] | 0x20
}

// plainName reports whether a header's name has only letters, digits and hyphens. Other names are removed: servers that
// turn headers into variables replace other characters with underscores, so X_Auth_Subject and X.Auth.Subject would
// become X-Auth-Subject.
func plainName(name string) bool {
	for i := range len(name) {
		c := name[i]
		if c != '-' && (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') {
			return false
		}
	}
	return name != ""
}

// family finds the family of a header, and reports whether its name is known; nil: there is none. Headers that every
// gateway overwrites have none.
func family(name string) (f *Family, known bool) {
	for _, f := range familiesBy[mark(name)] {
		last := len(f.Prefix) - 1
		// Few families pass the comparison of one byte.
		if len(name) <= last || name[last]|0x20 != f.Prefix[last]|0x20 || !strings.EqualFold(name[:last+1], f.Prefix) {
			continue
		}
		rest := name[last+1:]
		known := slices.ContainsFunc(f.Known, func(k string) bool {
			return len(k) == len(rest) && strings.EqualFold(k, rest)
		})
		if f.Only && !known || slices.ContainsFunc(overwritten, func(w string) bool { return strings.EqualFold(w, name) }) {
			continue
		}
		return f, known
	}
	return nil, false
}

// MayPass reports whether a caller's header is forwarded to an API: its name is plain, and it is not in a family. The
// rule is the same for Doorward's own proxy and for proxies that ask Doorward.
func MayPass(name string) bool {
	if !plainName(name) {
		return false
	}
	f, _ := family(name)
	return f == nil
}

// KnownHeaders returns the known names of all families, sorted, without Doorward's identity headers.
func KnownHeaders() []string {
	var names []string
	for _, f := range Families {
		for _, rest := range f.Known {
			names = append(names, f.Prefix+rest)
		}
	}
	slices.Sort(names)
	return names
}

// IdentityHeaders returns the names of the headers that tell an API who the caller is.
func IdentityHeaders() []string {
	names := make([]string, len(identityHeaders))
	for i, x := range identityHeaders {
		names[i] = x.name
	}
	return names
}

// isIdentity reports whether a header tells an API who the caller is.
func isIdentity(name string) bool {
	for i := range identityHeaders {
		if identityHeaders[i].name == name {
			return true
		}
	}
	return false
}

// stopped returns the names of a request's headers that are not forwarded, sorted.
func stopped(h http.Header) (names []string) {
	for name := range h {
		if !MayPass(name) && !slices.Contains(overwritten, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// clearHeaders removes the headers that are not forwarded.
func clearHeaders(h http.Header) {
	for name := range h {
		if !MayPass(name) && !slices.Contains(overwritten, name) {
			delete(h, name)
		}
	}
}
