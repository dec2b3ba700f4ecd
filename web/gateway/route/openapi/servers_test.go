package openapi

import (
	"strings"
	"testing"
)

// TestV53_OnlyTheRoutesOfThisHost: operations on another host are left out, and where paths cross both count.
func TestV53_OnlyTheRoutesOfThisHost(t *testing.T) {
	const servers = "servers: [{url: 'https://{env}.example.com/v1', variables: {env: {default: api, enum: [api, test]}}}]\nsecurity: []\n"
	runImportCases(t, map[string]importCase{
		"operation": {
			servers + "paths: {/a: {get: {servers: [{url: 'https://up.example.com'}]}, put: {}}}",
			nil,
			[]string{"PUT /v1/a public"},
			"Left out: GET /a: its servers are on another host",
		},
		"path": {
			servers + "paths: {/a: {servers: [{url: '//up.example.com'}], get: {}}, /b: {get: {}}}",
			nil,
			[]string{"GET /v1/b public"},
			"Left out: GET /a",
		},
		"own by path": {
			servers + "paths: {/a: {servers: [{url: 'https://up.example.com'}], get: {servers: [{url: /v2}]}, put: {servers: [{url: 'https://TEST.example.com:443/v3'}]}}}",
			nil,
			[]string{"GET /v2/a public", "PUT /v3/a public"},
			"",
		},
		"one of several": {
			servers + "paths: {/a: {get: {servers: [{url: 'https://up.example.com'}, {url: 'https://api.example.com/v4'}]}}}",
			nil,
			[]string{"GET /v4/a public"},
			"",
		},
		"no host": {
			"servers: [{url: /v1}]\nsecurity: []\npaths: {/a: {get: {servers: [{url: 'https://up.example.com'}]}, put: {}}}",
			nil,
			[]string{"GET /a any credential", "PUT /v1/a public"},
			"its operations can make routes stricter but never public",
		},
		"several paths": {
			"servers: [{url: /}, {url: /v2}]\nsecurity: []\npaths: {'/{a}/{b}': {get: {}}, /admin: {get: {security: [{oauth: [admin]}]}}}", nil,
			[]string{"GET /v2/admin admin", "GET /v2/*/* public", "GET /admin admin", "GET /*/* public"},
			"each operation has a route for each of them",
		},
		"unknown host": {
			"servers: [{url: /}]\nsecurity: []\npaths: {'/{a}': {get: {}}, /admin: {get: {servers: [{url: 'https://api.example.com'}], security: [{oauth: [admin]}]}}}", nil,
			[]string{"GET /admin admin", "GET /* public"},
			"Once, at GET /admin: the document's servers may belong to another host",
		},
		"no servers": {
			"security: []\npaths: {'/{a}': {get: {}}, /admin: {servers: [{url: 'https://api.example.com'}], get: {security: [{oauth: [admin]}]}}}", nil,
			[]string{"GET /admin admin", "GET /* public"},
			"",
		},
		"some hosts unknown": {
			"servers: [{url: 'https://api.example.com'}, {url: /}]\nsecurity: []\npaths: {'/{a}': {get: {}}, /admin: {get: {servers: [{url: 'https://up.example.com'}], security: [{oauth: [admin]}]}}}", nil,
			[]string{"GET /admin admin", "GET /* public"},
			"",
		},
		"free variable": {
			"servers: [{url: 'https://{env}.example.com', variables: {env: {default: api}}}]\nsecurity: []\npaths: {'/{a}': {get: {}}, /admin: {get: {servers: [{url: 'https://eu.example.com'}], security: [{oauth: [admin]}]}, put: {servers: [{url: 'https://eu.example.org'}]}}}", nil,
			[]string{"GET /admin admin", "GET /* public"},
			"Left out: PUT /admin",
		},
		"too many hosts": {
			"servers: [{url: 'https://{a}-{b}.example.com', variables: {a: &v {enum: ['" + strings.Join(
				strings.Split("0123456789abcdef", ""),
				"', '",
			) + "']}, b: *v}}]\nsecurity: []\npaths: {'/{a}': {get: {}}, /admin: {get: {servers: [{url: 'https://f-f.example.com'}], security: [{oauth: [admin]}]}}}", nil,
			[]string{"GET /admin admin", "GET /* public"},
			"",
		},
		"all name one": {
			"security: []\npaths: {/a: {servers: [{url: 'https://api.example.com'}], get: {}}, /b: {get: {servers: [{url: " +
				"'https://api.example.com/x'}]}}}",
			nil,
			[]string{"GET /a public", "GET /x/b public"},
			"",
		},
		"relative": {
			"servers: [{url: v1}]\nsecurity: []\npaths: {/a: {get: {}}}",
			nil,
			[]string{"GET /v1/a public"},
			"relative to where the document is published",
		},
		"without default": {
			"servers: [{url: '/{tenant}/v1'}]\nsecurity: []\npaths: {/a: {get: {}}}",
			nil,
			[]string{"GET /*/v1/a public"},
			"",
		},
		"crossing": {
			"paths: {'/{tenant}/b': {get: {security: [{oauth: [admin]}]}}, '/x/{name}': {get: {security: []}}}", nil,
			[]string{"GET /x/b admin", "GET /x/* public", "GET /*/b admin"},
			"first at GET /x/* and /*/b: the two paths overlap",
		},
		"crossing at a path of its own": {
			"paths: {'/{tenant}/b': {get: {security: [{oauth: [admin]}]}}, '/x/{name}': {get: {security: []}}, /x/b: {get: " +
				"{security: [{oauth: [own]}]}}}", nil,
			[]string{"GET /x/b own", "GET /x/* public", "GET /*/b admin"},
			"",
		},
		"three that cross": {
			"paths: {'/a/{x}/{y}': {get: {security: [{oauth: [a]}]}}, '/{x}/b/{y}': {get: {security: [{oauth: [b]}]}}, " +
				"'/{x}/{y}/c': {get: {security: [{oauth: [c]}]}}}", nil,
			[]string{
				"GET /a/b/c a+b+c",
				"GET /a/b/* a+b",
				"GET /a/*/c a+c",
				"GET /a/*/* a",
				"GET /*/b/c b+c",
				"GET /*/b/* b",
				"GET /*/*/c c",
			},
			"",
		},
		"other methods": {
			"paths: {'/{tenant}/b': {get: {security: [{oauth: [admin]}]}}, '/x/{name}': {put: {security: []}}}",
			nil,
			[]string{"PUT /x/* public", "GET /*/b admin"},
			"",
		},
	})
}
