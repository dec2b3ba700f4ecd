package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"doorward/oauth"
	"doorward/storage"
	"doorward/web/api/openapi"
	"doorward/web/gateway"
)

const maxBody = 64 << 10 // bytes

// none is the type of a missing query, body or response.
type none struct{}

// Moment is a time in JSON: RFC 3339 in UTC, in whole seconds.
type Moment storage.Time

// MarshalJSON implements json.Marshaler.
func (m Moment) MarshalJSON() ([]byte, error) {
	return []byte(`"` + storage.Time(m).Time().Format(time.RFC3339) + `"`), nil
}

var errMoment = errors.New("not a time in RFC 3339")

// UnmarshalJSON implements json.Unmarshaler.
func (m *Moment) UnmarshalJSON(text []byte) error {
	var s string
	if err := json.Unmarshal(text, &s); err != nil {
		return errMoment
	}
	t, ok := parseMoment(s)
	if !ok {
		return errMoment
	}
	*m = Moment(t)
	return nil
}

// parseMoment parses RFC 3339. Earlier times than 1970 become one microsecond after its start, because storage's zero
// time means never.
func parseMoment(text string) (storage.Time, bool) {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return 0, false
	}
	return max(1, storage.Time(t.UnixMicro())), true
}

// momentOrNil returns a time, or nil for the zero time.
func momentOrNil(t storage.Time) *Moment {
	if t.IsZero() {
		return nil
	}
	m := Moment(t)
	return &m
}

// stringOrNil returns a string, or nil for an empty one.
func stringOrNil(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// Scopes is a list of scopes (["read","accounts:write"]) or of actions by object ({"accounts":["read","write"]}).
// Responses have the form of the request.
type Scopes struct {
	List     []string
	ByObject bool
}

// MarshalJSON implements json.Marshaler.
func (s Scopes) MarshalJSON() ([]byte, error) {
	objects, order := map[string][]string{}, []string{}
	for _, name := range s.List {
		object, action, ok := strings.Cut(name, ":")
		if !s.ByObject || !ok {
			return json.Marshal(append([]string{}, s.List...))
		}
		if objects[object] == nil {
			order = append(order, object)
		}
		objects[object] = append(objects[object], action)
	}
	if len(order) == 0 {
		return []byte("[]"), nil
	}
	var b bytes.Buffer
	for i, object := range order {
		b.WriteByte("{,"[min(i, 1)])
		name, _ := json.Marshal(object)             // a string
		actions, _ := json.Marshal(objects[object]) // strings
		b.Write(name)
		b.WriteByte(':')
		b.Write(actions)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// UnmarshalJSON implements json.Unmarshaler.
func (s *Scopes) UnmarshalJSON(text []byte) error {
	if len(text) == 0 || text[0] != '{' {
		return json.Unmarshal(text, &s.List)
	}
	s.ByObject = true
	return eachMember(text, func(object string, value json.RawMessage) error {
		var actions []string
		if err := json.Unmarshal(value, &actions); err != nil {
			return err
		}
		for _, action := range actions {
			s.List = append(s.List, object+":"+action)
		}
		return nil
	})
}

// Change is a member of a PATCH (RFC 7396): if it is left out, the value does not change; null removes the value.
type Change[T any] struct {
	Set   bool
	Null  bool
	Value T // null: the zero value
}

// UnmarshalJSON implements json.Unmarshaler.
func (c *Change[T]) UnmarshalJSON(text []byte) error {
	c.Set, c.Null = true, string(text) == "null"
	return json.Unmarshal(text, &c.Value)
}

// MarshalJSON implements json.Marshaler, for the examples in the OpenAPI document.
func (c Change[T]) MarshalJSON() ([]byte, error) {
	return json.Marshal(c.Value)
}

// IsZero reports whether there is no change, so that examples omit it.
func (c Change[T]) IsZero() bool { return !c.Set }

// pointer returns the value, or nil if there is no change.
func (c Change[T]) pointer() *T {
	if !c.Set {
		return nil
	}
	return &c.Value
}

var errTwice = errors.New("duplicate member")

// eachMember calls fn for each member of a JSON object. Nothing may follow the object, and its names must be distinct.
func eachMember(text []byte, fn func(name string, value json.RawMessage) error) error {
	d := json.NewDecoder(bytes.NewReader(text))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return errors.New("not an object")
	}
	seen := map[string]bool{}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return err
		}
		name, _ := t.(string) // the decoder accepts only a string here
		if seen[name] {
			return fmt.Errorf("%w %q", errTwice, shorten(name))
		}
		seen[name] = true
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return err
		}
		if err := fn(name, value); err != nil {
			return err
		}
	}
	if _, err := d.Token(); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("text after the object")
	}
	return nil
}

// receive reads the whole body. It runs first, so that the decision is not based on rights that were revoked while a
// slow body arrived.
func (c *call) receive() {
	if c.op.in != reflect.TypeFor[none]() {
		c.body, c.broken = io.ReadAll(http.MaxBytesReader(c.w, c.r.Body, maxBody))
	}
}

// readBody refuses a body that is incomplete or not JSON.
func (c *call) readBody() error {
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(c.broken, &tooLarge):
		return &gateway.Refusal{Kind: gateway.TooLarge, Detail: bodyTooLarge}
	case c.broken != nil:
		return &gateway.Refusal{
			Kind:   gateway.BadRequest,
			Detail: "The body could not be read completely; send it again.",
			Cause:  c.broken,
		}
	}
	if oauth.IsEncoded(c.r.Header) && (len(c.body) > 0 || c.broken != nil) {
		c.w.Header().Set("Accept-Encoding", "identity")
		return &gateway.Refusal{Kind: gateway.MediaType, Detail: oauth.EncodedBody}
	}
	if len(c.body) == 0 {
		return nil
	}
	if mediaType, _, err := mime.ParseMediaType(c.r.Header.Get("Content-Type")); err != nil ||
		mediaType != "application/json" {
		return &gateway.Refusal{Kind: gateway.MediaType, Detail: bodyNotJSON}
	}
	return nil
}

// decode decodes a JSON object into a struct. It refuses unknown and duplicate members. Null counts as left out, except
// for a Change. Errors name the member but do not repeat its value.
func decode(body []byte, into any) error {
	target := reflect.ValueOf(into).Elem()
	if len(body) == 0 {
		return nil
	}
	if !utf8.Valid(body) {
		return badRequest("The body is not valid UTF-8.")
	}
	err := eachMember(body, func(name string, value json.RawMessage) error {
		for i := range target.NumField() {
			if f := target.Type().Field(i); openapi.MemberName(f) == name {
				return decodeMember(f, value, target.Field(i))
			}
		}
		return unknownMember(name)
	})
	var own *gateway.Refusal
	switch {
	case err == nil, errors.As(err, &own):
		return err
	case errors.Is(err, errTwice):
		return badRequest("The body has a " + err.Error() + ".")
	}
	return badRequest("The body must be a single JSON object.")
}

func decodeMember(f reflect.StructField, value json.RawMessage, field reflect.Value) error {
	if string(value) == "null" {
		if c, ok := field.Addr().Interface().(interface{ UnmarshalJSON([]byte) error }); ok && isChange(field.Type()) {
			_ = c.UnmarshalJSON(value) // null fits every type
		}
		return nil
	}
	if err := json.Unmarshal(value, field.Addr().Interface()); err != nil {
		return badRequest(fmt.Sprintf("The member %q must be %s.", openapi.MemberName(f), kindOf(field.Type())))
	}
	// An empty string is refused too: it would count as left out, and the default may be the highest value.
	if list := f.Tag.Get("enum"); list != "" &&
		!slices.Contains(strings.Split(list, ","), reflect.Indirect(field).String()) {
		return badRequest(
			fmt.Sprintf("The member %q must be one of %s.", openapi.MemberName(f), strings.ReplaceAll(list, ",", ", ")),
		)
	}
	return nil
}

func isChange(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && strings.HasPrefix(t.Name(), "Change[")
}

// changed is the type of a Change's value.
func changed(t reflect.Type) reflect.Type {
	f, _ := t.FieldByName("Value")
	return f.Type
}

// kindOf says in words what a member of a type must be.
func kindOf(t reflect.Type) string {
	if isChange(t) {
		return kindOf(changed(t))
	}
	switch t {
	case reflect.TypeFor[Scopes]():
		return "a list of strings, or an object of lists of strings without duplicate names"
	case reflect.TypeFor[KeySet]():
		return "a JSON object"
	case reflect.TypeFor[Moment]():
		return "a time such as 2030-12-31T23:59:59Z"
	}
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Int64:
		return "a whole number"
	case reflect.Slice:
		return "a list of strings"
	}
	return "a string"
}

// shorten bounds a text from the request in an error.
func shorten(text string) string {
	if r := []rune(text); len(r) > 40 {
		return string(r[:40]) + "…"
	}
	return text
}
