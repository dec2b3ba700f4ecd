package rig

import "strings"

// JSON calls the management API with a bearer credential and, unless it is empty, a JSON body; headers come in pairs.
func (r *Rig) JSON(method, path, credential, body string, header ...string) *Answer {
	r.T.Helper()
	if credential != "" {
		header = append(header, "Authorization", "Bearer "+credential)
	}
	return r.Send(r.Program(), r.Request(method, path, strings.NewReader(body), contentType(body, header)...))
}

// JSON calls the management API as a page of the server does.
func (b *Browser) JSON(method, path, body string, header ...string) *Answer {
	b.T.Helper()
	header = append([]string{"Sec-Fetch-Site", "same-origin"}, header...)
	return b.Send(b.client, b.Request(method, path, strings.NewReader(body), contentType(body, header)...))
}

func contentType(body string, header []string) []string {
	if body != "" {
		header = append(header, "Content-Type", "application/json")
	}
	return header
}
