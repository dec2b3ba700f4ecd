package openapi

import (
	"strings"
	"testing"
)

// TestV54_PairsOfScopesAreNamed: scopes that the document does not relate are named where Doorward may, and can be
// imported under names that relate to nothing.
func TestV54_PairsOfScopesAreNamed(t *testing.T) {
	document := openAPIHead + "paths: {/a: {get: {security: [{oauth: [delete]}]}, put: {security: [{oauth: ['users:delete', 'https://a.example/x']}]}, post: {security: [{oauth: ['x:read']}]}}}"
	got := printed(t, document, false)
	if !strings.Contains(
		got,
		"but not where the resource lists the object in objects: delete includes users:delete. Leave these out of "+
			"objects, or import with --plain-scopes.",
	) {
		t.Error(got)
	}
	got = printed(t, document, true)
	if strings.Contains(got, "includes users") || !strings.Contains(got, "Scopes have . where the document has a colon") ||
		!strings.Contains(
			got,
			"scopes: [users.delete, 'https://a.example/x']",
		) || !strings.Contains(got, "scopes: [x.read]") {
		t.Error(got)
	}
	// Two scopes never become one.
	document = openAPIHead + "paths: {/a: {get: {security: [{oauth: ['a:b', 'a.b', 'a_b']}]}}}"
	if got = printed(t, document, true); !strings.Contains(got, "scopes: [a-b, a.b, a_b]") {
		t.Error(got)
	}
}
