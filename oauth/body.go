package oauth

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"doorward/oauth/bearer"
)

const (
	maxBody       = 64 << 10 // bytes
	maxParameters = 100
)

// readBody reads the parameters of a POST to an OAuth endpoint, from a form (RFC 6749, appendix B) or from a JSON
// object of strings. A request with a query is refused, so that no client gets used to sending secrets in URLs. A
// parameter without a value counts as left out, except for those in keepEmpty.
func readBody(w http.ResponseWriter, r *http.Request, keepEmpty ...string) (url.Values, error) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", "POST")
		return nil, &Error{
			Code: InvalidRequest, Status: http.StatusMethodNotAllowed, Description: "Send a POST request.",
		}
	}
	if r.URL.RawQuery != "" {
		return nil, badRequest("Send the parameters in the body; the query of the URL must be empty.")
	}
	if IsEncoded(r.Header) {
		w.Header().Set("Accept-Encoding", "identity")
		return nil, &Error{Code: InvalidRequest, Status: http.StatusUnsupportedMediaType, Description: EncodedBody}
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, &Error{
			Code: InvalidRequest, Status: http.StatusRequestEntityTooLarge,
			Description: "The body is larger than 64 KiB.",
		}
	case err != nil:
		return nil, &Error{
			Code: InvalidRequest, Description: "The body could not be read completely; send it again.", Cause: err,
		}
	}
	const formType = "application/x-www-form-urlencoded"
	mediaType := r.Header.Get("Content-Type")
	if mediaType != formType { // nearly all are
		if mediaType, _, err = mime.ParseMediaType(mediaType); err != nil {
			mediaType = ""
		}
	}
	var form url.Values
	switch mediaType {
	case formType:
		form, err = parseForm(string(body))
	case "application/json":
		form, err = parseJSON(body)
	default:
		return nil, badRequest("Send the body as application/x-www-form-urlencoded or application/json.")
	}
	if err != nil {
		return nil, err
	}
	for name, values := range form {
		// A parameter sent without a value counts as left out (RFC 6749, section 3.1).
		if values[0] == "" && len(values) == 1 && !slices.Contains(keepEmpty, name) {
			delete(form, name)
			continue
		}
		if len(values) > 1 {
			if name == "resource" {
				return nil, &Error{
					Code: InvalidTarget, Description: "Send a single resource parameter; a token is valid for one resource.",
				}
			}
			return nil, badRequest("A parameter appears twice; send each parameter once.")
		}
		// A token to introspect or revoke may be any string: one that cannot be a token is unknown, not an error of the
		// caller.
		if !isText(name) || (name != "token" && !isText(values[0])) {
			return nil, badRequest("A parameter contains bytes that are not valid text; send UTF-8.")
		}
	}
	return form, nil
}

// EncodedBody describes the error for a body for which IsEncoded is true. The status is 415 (RFC 9110, section
// 15.5.16).
const EncodedBody = "The body is compressed or otherwise encoded, which is not supported; send it without " +
	"Content-Encoding."

// IsEncoded reports whether a body has a content coding (RFC 9110, section 8.4), which no endpoint decodes.
func IsEncoded(h http.Header) bool {
	return slices.ContainsFunc(h.Values("Content-Encoding"), func(value string) bool {
		return slices.ContainsFunc(strings.Split(value, ","), func(coding string) bool {
			coding = strings.TrimSpace(coding)
			return coding != "" && !strings.EqualFold(coding, "identity")
		})
	})
}

// isText reports whether the database can store s and JSON can carry it: it is UTF-8 without NUL.
func isText(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsRune(s, 0) && !strings.ContainsRune(s, utf8.RuneError)
}

func parseForm(text string) (url.Values, error) {
	if strings.Count(text, "&") >= maxParameters {
		return nil, badRequest("The request has more than 100 parameters; send only those that the grant needs.")
	}
	form, err := url.ParseQuery(text)
	if err != nil {
		return nil, badRequest("The body is not a well-formed form; check its percent-encoding.")
	}
	return form, nil
}

// parseJSON reads an object whose members are strings, numbers or booleans. It refuses duplicate names, which parsers
// disagree about, and anything after the object. An error in a member names it.
func parseJSON(body []byte) (url.Values, error) {
	refused := badRequest("The body must be one JSON object with string values and without duplicate names.")
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, refused
	}
	form := url.Values{}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return nil, refused
		}
		key, ok := name.(string)
		switch {
		case !ok:
			return nil, refused
		case form.Has(key):
			return nil, badRequest("The member " + bearer.Quoted(key) + " is in the body twice; send it once.")
		case len(form) >= maxParameters:
			return nil, badRequest("The body has more than 100 members; send only those that the grant needs.")
		}
		value, err := d.Token()
		if err != nil {
			return nil, refused
		}
		switch v := value.(type) {
		case string:
			form.Set(key, v)
		case json.Number:
			form.Set(key, v.String())
		case bool:
			form.Set(key, map[bool]string{true: "true", false: "false"}[v])
		case nil:
			return nil, badRequest("The member " + bearer.Quoted(key) + " is null; leave it out, or send a string.")
		default:
			return nil, badRequest("The member " + bearer.Quoted(key) + " is a list or an object; send a string.")
		}
	}
	if t, err := d.Token(); err != nil || t != json.Delim('}') {
		return nil, refused
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, refused
	}
	return form, nil
}
