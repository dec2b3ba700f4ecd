package config

import (
	"slices"
	"strings"
	"testing"

	"doorward/oauth"
)

func TestMetadataDocumentsAreOffOrAnyOrOfHosts(t *testing.T) {
	for text, want := range map[string]oauth.DocumentHosts{
		"off": {}, "[off]": {}, "[]": {}, "any": {Any: true}, "[any]": {Any: true},
		"client.example.com": {Hosts: []string{"client.example.com"}},
		`[client.example.com, "x.example:8443", 192.0.2.1, "[2001:db8::1]", "[2001:db8::1]:8443"]`: {
			Hosts: []string{"client.example.com", "x.example:8443", "192.0.2.1", "[2001:db8::1]", "[2001:db8::1]:8443"},
		},
	} {
		c := mustLoad(t, "metadata_documents: "+text, nil)
		if got := c.MetadataDocuments; got.Any != want.Any || !slices.Equal(got.Hosts, want.Hosts) {
			t.Errorf("%s: %+v, want %+v", text, got, want)
		}
	}
	// The flag and the variable replace what the file says.
	c, err := load(t, "metadata_documents: any", map[string][]string{"metadata_documents": {"a.example", "b.example"}}, nil)
	if err != nil || c.MetadataDocuments.Any || !slices.Equal(c.MetadataDocuments.Hosts, []string{"a.example", "b.example"}) {
		t.Errorf("with flags: %+v, %v", c.MetadataDocuments, err)
	}
	c, err = load(t, "metadata_documents: [a.example]", nil, map[string]string{"DOORWARD_METADATA_DOCUMENTS": "off"})
	if err != nil || c.MetadataDocuments.Any || len(c.MetadataDocuments.Hosts) > 0 {
		t.Errorf("with a variable: %+v, %v", c.MetadataDocuments, err)
	}
}

func TestFaultsOfRegistrationSayWhatToWrite(t *testing.T) {
	const at, documents = "c.yaml:1: ", "c.yaml:1: metadata_documents"
	for text, want := range map[string]string{
		"registration: on": at + `registration: "on" is not one of the allowed values; use one of: closed, token, open`,
		"registration: ''": at + `registration: "" is not one of the allowed values`,

		"registration_compatibility: yes\nregistration: open": at + `registration_compatibility: "yes" is not one of the ` +
			"allowed values; use one of: openid",
		"registration_compatibility: openid": at + "registration_compatibility: has no effect while registration is closed; " +
			"remove it, or set registration",

		"metadata_documents: on": documents + `: "on" is neither off nor any nor a host`,
		"metadata_documents: https://client.example": documents +
			`: "https://client.example" is neither off nor any nor a host`,
		`metadata_documents: "*"`:               documents + `: "*" is neither off nor any nor a host`,
		`metadata_documents: ["*.example.com"]`: documents + `[0]: "*.example.com" is neither off nor any nor a host`,
		"metadata_documents: [client.example/]": documents + `[0]: "client.example/" is neither off nor any nor a host`,
		"metadata_documents: [a@b.example]":     documents + `[0]: "a@b.example" is neither off nor any nor a host`,
		"metadata_documents: [2001:db8::1]":     documents + `[0]: "2001:db8::1" is neither off nor any nor a host`,
		"metadata_documents: [x.example:0]":     documents + `[0]: "x.example:0" is neither off nor any nor a host`,
		"metadata_documents: [аpple.example]":   documents + `[0]: "аpple.example" is neither off nor any nor a host`,
		"metadata_documents: [Client.Example]": documents + `[0]: "Client.Example" has capital letters; write the host as ` +
			"client.example",
		"metadata_documents: [client.example:443]":   documents + "[0]: has the port 443, which URLs leave out; remove it",
		"metadata_documents: [any, a.example]":       documents + ": has any or off beside other entries; use one of them alone",
		"metadata_documents: [a.example, off]":       documents + ": has any or off beside other entries; use one of them alone",
		"metadata_documents: [a.example, a.example]": documents + `[1]: "a.example" is listed twice; remove one`,
		"metadata_documents: {a: b}":                 documents + ": is a mapping of keys and values; use a list",
		"metadata_documents: true":                   documents + ": is true or false",
	} {
		if _, err := load(t, text, nil, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s:\n%v\nwant\n%s", text, err, want)
		}
	}
	const resource = "c.yaml:4: resources[0]."
	for lines, want := range map[string]string{
		"open_registration: [reed]": resource + `open_registration[0]: "reed" is not a scope of this resource; use one of ` +
			"read, write, delete, admin",
		"open_registration: [read, read]":   resource + `open_registration[1]: "read" is listed twice`,
		"open_registration: ['*']":          resource + `open_registration[0]: "*" is not a scope of this resource`,
		"open_registration: [introspect]":   resource + `open_registration[0]: "introspect" is not a scope of this resource`,
		"open_registration: [Read]":         resource + `open_registration[0]: "Read" is not a scope of this resource`,
		"open_registration: ['files:read']": resource + `open_registration[0]: "files:read" is not a scope of this resource`,
		"open_registration: [offline_access]": resource + `open_registration[0]: "offline_access" is not a scope of this ` +
			"resource",
		"open_registration: true": resource + "open_registration: is true or false",
		"scopes: {a: {text: A}}\nopen_registration: [read]": "c.yaml:5: resources[0].open_registration[0]: \"read\" is not a " +
			"scope of this resource; use one of a",
	} {
		if _, err := load(t, withResource(lines), nil, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s:\n%v\nwant\n%s", lines, err, want)
		}
	}
	// A scope of an object is one of the resource.
	c := mustLoad(t, withResource("objects: [files]\nopen_registration: [read, 'files:write']"), nil)
	if got := c.Resources[0].OpenScopes; !slices.Equal(got, []string{"read", "files:write"}) {
		t.Errorf("open are %q", got)
	}
}

func TestCheckReportsWhatStrangersCanDo(t *testing.T) {
	const (
		noAccess  = "registration, metadata_documents: no resource has open_registration, "
		noEffect  = "open_registration: has no effect, because registration is closed and metadata_documents is off"
		dangerous = "resources[0].open_registration: clients that you have not checked can ask users for "
		unlimited = "tokens.client_requests: 0 also lifts the limits on clients that register themselves"
		openID    = "registration_compatibility: confidential clients that register themselves may leave out PKCE"
	)
	for text, want := range map[string][]string{
		"":                   nil,
		"registration: open": {noAccess}, "registration: token": {noAccess}, "metadata_documents: any": {noAccess},
		"metadata_documents: [a.example]": {noAccess}, "metadata_documents: off\nregistration: closed": nil,
		"open: [read, write]":                                                         {noEffect},
		"open: [admin]":                                                               {noEffect},
		"open: [read]\nregistration: open":                                            nil,
		"open: [read, write]\nmetadata_documents: any":                                nil,
		"open: [read, delete, admin]\nregistration: open":                             {dangerous + "admin; "},
		"open: [admin]\nregistration: token":                                          {dangerous + "admin; "},
		"open: [admin]\nmetadata_documents: [a.example]":                              {dangerous + "admin; "},
		"open: []\nregistration: open":                                                {noAccess},
		"tokens: {client_requests: 0}":                                                nil,
		"tokens: {client_requests: 0}\nregistration: open\nopen: [read]":              {unlimited},
		"tokens: {client_requests: 0}\nmetadata_documents: [a.example]\nopen: [read]": {unlimited},
		"registration: open\nregistration_compatibility: openid\nopen: [read]":        {openID},
	} {
		text = strings.Replace(text, "open:", "resources: [{id: 'https://api.example', open_registration: ", 1)
		if i := strings.Index(text, "open_registration: "); i >= 0 {
			end := i + strings.Index(text[i:], "]") + 1
			text = text[:end] + "}]" + text[end:]
		}
		var r risks
		r.checkConfig(mustLoad(t, text, nil))
		var got []string
		for _, risk := range r {
			if strings.Contains(risk, "regist") || strings.Contains(risk, "metadata_documents") {
				got = append(got, risk)
			}
		}
		if len(got) != len(want) || len(got) == 1 && !strings.HasPrefix(got[0], want[0]) {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}
