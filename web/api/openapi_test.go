package api_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"doorward/management"
	"doorward/oauth/apikey"
	"doorward/oauth/catalog"
	"doorward/oauth/limit"
	"doorward/storage"
	"doorward/test/rig"
	"doorward/web/api"
	"doorward/web/gateway"
)

type object = map[string]any

// document reads the OpenAPI document of a server.
func document(t *testing.T, r *rig.Rig) object {
	t.Helper()
	a := r.Send(r.Program(), r.Request(http.MethodGet, "/openapi.json", nil))
	if a.Status != http.StatusOK || a.Header.Get("Content-Type") != "application/json" {
		t.Fatalf("the document answered %d %s", a.Status, a.Header.Get("Content-Type"))
	}
	return a.JSON()
}

// at goes down a document by names, following references.
func at(doc object, value any, path ...string) any {
	for _, name := range path {
		m, _ := resolve(doc, value).(object)
		value = m[name]
	}
	return resolve(doc, value)
}

func resolve(doc object, value any) any {
	for {
		m, ok := value.(object)
		ref, isRef := m["$ref"].(string)
		if !ok || !isRef {
			return value
		}
		value = at(doc, doc, strings.Split(strings.TrimPrefix(ref, "#/"), "/")...)
		if value == nil {
			return fmt.Errorf("%s leads nowhere", ref)
		}
	}
}

// misfit says where a value does not fit a schema, as far as the document uses JSON Schema; empty where it fits.
func misfit(doc object, schema, value any, where string) string {
	s, ok := resolve(doc, schema).(object)
	if !ok {
		return fmt.Sprintf("%s: no schema: %v", where, resolve(doc, schema))
	}
	for _, one := range []string{"anyOf", "oneOf", "allOf"} {
		list, _ := s[one].([]any)
		fits, last := 0, ""
		for _, x := range list {
			if m := misfit(doc, x, value, where); m == "" {
				fits++
			} else {
				last = m
			}
		}
		if len(list) > 0 && (fits == 0 || one == "oneOf" && fits != 1 || one == "allOf" && fits != len(list)) {
			return fmt.Sprintf("%s: fits %d of %s: %s", where, fits, one, last)
		}
	}
	types, _ := s["type"].([]any)
	if one, ok := s["type"].(string); ok {
		types = []any{one}
	}
	if len(types) > 0 && !slices.ContainsFunc(types, func(kind any) bool { return isA(kind.(string), value) }) {
		return fmt.Sprintf("%s: %v is not %v", where, value, types)
	}
	if list, ok := s["enum"].([]any); ok && !slices.Contains(list, value) {
		return fmt.Sprintf("%s: %v is not in %v", where, value, list)
	}
	switch v := value.(type) {
	case object:
		properties, _ := s["properties"].(object)
		required, _ := s["required"].([]any)
		for _, name := range required {
			if _, ok := v[name.(string)]; !ok {
				return fmt.Sprintf("%s: %v is missing", where, name)
			}
		}
		for name, member := range v {
			p, known := properties[name]
			if !known {
				p = s["additionalProperties"]
			}
			if p == nil || p == false {
				if properties == nil {
					continue
				}
				return fmt.Sprintf("%s: %s is not in the schema", where, name) // also where more would be allowed: ours says all
			}
			if m := misfit(doc, p, member, where+"."+name); m != "" {
				return m
			}
		}
	case []any:
		for i, x := range v {
			if s["items"] == nil {
				break
			}
			if m := misfit(doc, s["items"], x, fmt.Sprintf("%s[%d]", where, i)); m != "" {
				return m
			}
		}
	case string:
		if pattern, ok := s["pattern"].(string); ok && !regexp.MustCompile(pattern).MatchString(v) {
			return fmt.Sprintf("%s: %q does not match %s", where, v, pattern)
		}
		if s["format"] == "date-time" {
			if _, err := time.Parse("2006-01-02T15:04:05Z", v); err != nil {
				return fmt.Sprintf("%s: %q is not a time in UTC", where, v)
			}
		}
	case float64:
		if least, ok := s["minimum"].(float64); ok && v < least {
			return fmt.Sprintf("%s: %v is less than %v", where, v, least)
		}
	}
	return ""
}

func isA(kind string, value any) bool {
	switch v := value.(type) {
	case nil:
		return kind == "null"
	case bool:
		return kind == "boolean"
	case string:
		return kind == "string"
	case float64:
		return kind == "number" || kind == "integer" && v == float64(int64(v))
	case []any:
		return kind == "array"
	}
	return kind == "object"
}

// eachOperation calls fn for every operation of a document, in an order that does not change.
func eachOperation(doc object, fn func(method, path string, o object)) {
	paths := doc["paths"].(object)
	for _, path := range slices.Sorted(maps.Keys(paths)) {
		item := paths[path].(object)
		for _, method := range slices.Sorted(maps.Keys(item)) {
			fn(strings.ToUpper(method), path, item[method].(object))
		}
	}
}

func TestEveryRouteIsInTheDocumentAndBack(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	routes := map[string]bool{}
	g, err := gateway.New(gateway.Config{OAuth: r.OAuth, Catalog: r.Catalog, Bearer: r.Bearer})
	if err != nil {
		t.Fatal(err)
	}
	api.New(api.Config{Store: r.Store, OAuth: r.OAuth, Catalog: r.Catalog, Bearer: r.Bearer, Management: r.Management, APIKeys: r.APIKeys, Gateway: g}).
		Register(func(pattern string, _ http.Handler) { routes[pattern] = true })
	delete(routes, "GET /openapi.json")
	doc := document(t, r)
	eachOperation(doc, func(method, path string, _ object) {
		if !routes[method+" "+path] {
			t.Errorf("%s %s is in the document and no route", method, path)
		}
		delete(routes, method+" "+path)
		// What is there asks for a credential; what is not says so.
		for _, try := range []string{"GET", "POST", "PUT", "PATCH", "DELETE"} {
			_, documented := at(doc, doc, "paths", path).(object)[strings.ToLower(try)]
			a := r.JSON(try, regexp.MustCompile(`\{\w+\}`).ReplaceAllString(path, "x"), "", "")
			if want := map[bool]int{true: 401, false: 405}[documented]; a.Status != want {
				t.Errorf("%s %s answered %d, want %d", try, path, a.Status, want)
			}
			if a.Status == 405 && !strings.Contains(a.Header.Get("Allow"), method) {
				t.Errorf("%s %s: Allow is %q", try, path, a.Header.Get("Allow"))
			}
		}
	})
	for route := range routes {
		t.Errorf("%s is a route and not in the document", route)
	}
}

func TestDocumentIsWhole(t *testing.T) {
	resources := []catalog.Resource{
		{
			ID: "https://one.example", Name: "One", Scopes: []catalog.Scope{{Name: "read", Text: "x"}}, WorkspaceHeader: "X-One",
			Keys: catalog.KeyRules{Prefix: "one", Environments: []string{"test"}, DefaultPlan: "small", MaxLifetime: time.Hour},
		},
		{
			ID:              "https://two.example",
			Name:            "Two",
			Scopes:          []catalog.Scope{{Name: "look", Text: "x"}},
			WorkspaceHeader: "X-Two",
		},
	}
	for name, o := range map[string]rig.Options{
		"default": {},
		"several shapes": {
			Resources: resources, Plans: map[string]limit.Plan{"small": {Hour: 5}},
			Shapes: map[string]gateway.Shape{"https://one.example": {Name: "nested"}, "https://two.example": {Name: "envelope", ExpiredStatus: gateway.StatusExpired}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			doc := document(t, rig.Memory(t, o))
			if doc["openapi"] != "3.1.0" {
				t.Errorf("openapi %v", doc["openapi"])
			}
			var walk func(value any)
			walk = func(value any) {
				switch v := value.(type) {
				case object:
					if err, lost := resolve(doc, v).(error); lost {
						t.Error(err)
					}
					for _, x := range v {
						walk(x)
					}
				case []any:
					for _, x := range v {
						walk(x)
					}
				}
			}
			walk(doc)
			ids := map[string]bool{}
			eachOperation(doc, func(method, path string, o object) {
				id, _ := o["operationId"].(string)
				if id == "" || ids[id] {
					t.Errorf("%s %s: operationId %q", method, path, id)
				}
				ids[id] = true
				var inPath []string
				parameters, _ := o["parameters"].([]any)
				for _, x := range parameters {
					if p := x.(object); p["in"] == "path" {
						inPath = append(inPath, "{"+p["name"].(string)+"}")
					}
				}
				if want := regexp.MustCompile(`\{\w+\}`).FindAllString(path, -1); !slices.Equal(inPath, want) {
					t.Errorf("%s %s: path parameters %v", method, path, inPath)
				}
				for status, x := range o["responses"].(object) {
					answer := resolve(doc, x).(object)
					if answer["description"] == "" {
						t.Errorf("%s %s: %s has no description", method, path, status)
					}
					fits(t, doc, method+" "+path+" "+status, answer)
				}
				if body, ok := o["requestBody"].(object); ok {
					fits(t, doc, method+" "+path+" request", body)
				}
			})
		})
	}
}

// fits checks the example of a body against its schema.
func fits(t *testing.T, doc object, where string, body object) {
	t.Helper()
	content, ok := at(doc, body, "content", "application/json").(object)
	if !ok {
		return
	}
	if content["example"] == nil {
		t.Errorf("%s has no example", where)
	} else if m := misfit(doc, content["schema"], content["example"], where); m != "" {
		t.Error(m)
	}
}

// Each request example, sent as it stands to a fresh server, does what the document says, but that the ids in its path
// are of what is there; and each answer fits its schema.
func TestExamplesRunAsTheyStand(t *testing.T) {
	r := rig.Memory(t, rig.Options{Emails: true})
	doc := document(t, r)
	bob := r.User("bob@example.com", "Bob", false)
	_, token := r.PersonalToken(r.Alice, apikey.Spec{Scopes: []string{"admin"}})
	_, ofAdministrator := r.PersonalToken(r.User("root@example.com", "Root", true), apikey.Spec{Scopes: []string{"admin"}})
	key := adminKey(r, r.Workspace("usual", "", r.Alice))
	parents := map[string]object{} // what the example of a POST made, by its path
	var call func(method, path string) object
	call = func(method, path string) object {
		o := at(doc, doc, "paths", path, strings.ToLower(method)).(object)
		bob = r.User("bob@example.com", "Bob", false) // an example deletes them
		target := pathOf(t, path, func(collection string) object {
			if parents[collection] == nil {
				parents[collection] = call(http.MethodPost, collection)
			}
			return parents[collection]
		}, bob)
		if strings.Contains(target, "{session}") {
			session := storage.Session{
				ID: storage.NewID("session"), Digest: storage.Digest(storage.NewID("x")), UserID: bob.ID, Data: "{}",
				AuthTime: r.Store.Now(), CreatedAt: r.Store.Now(), SeenAt: r.Store.Now(), ExpiresAt: r.Store.Now().Add(time.Hour),
			}
			if err := r.Store.InsertSession(r.System(), session); err != nil {
				t.Fatal(err)
			}
			target = strings.Replace(target, "{session}", session.ID, 1)
		}
		if strings.Contains(path, "/members/{userId}") {
			w, err := r.Store.WorkspaceBySlug(r.System(), "acme")
			if err != nil {
				t.Fatal(err)
			}
			if err := r.Management.AddMember(r.System(), management.CLI(w.ID), w, bob.ID, "viewer"); err != nil {
				t.Fatal(err)
			}
		}
		body := ""
		if request := at(doc, o, "requestBody", "content", "application/json", "example"); request != nil {
			text, err := json.Marshal(request)
			if err != nil {
				t.Fatal(err)
			}
			body = string(text)
		}
		credential := key
		if strings.HasPrefix(path, "/v1/workspaces") || strings.HasPrefix(path, "/v1/personal") {
			credential = token
		}
		if strings.HasPrefix(path, "/v1/users") || strings.HasPrefix(path, "/v1/registration-tokens") {
			credential = ofAdministrator
		}
		r.SQL(`DELETE FROM reserved_slugs`) // the example is run more than once
		a := r.JSON(method, target, credential, body)
		success := 0
		for status := range o["responses"].(object) {
			if n, _ := strconv.Atoi(status); n < 300 {
				success = n
			}
		}
		if a.Status != success {
			t.Fatalf("%s %s with %s answered %d %s, want %d", method, target, body, a.Status, a.Body, success)
		}
		if schema := at(doc, o, "responses", strconv.Itoa(success), "content", "application/json", "schema"); schema != nil {
			if m := misfit(doc, schema, any(a.JSON()), method+" "+target); m != "" {
				t.Error(m)
			}
		} else if a.Body != "" {
			t.Errorf("%s %s has a body that the document does not know: %s", method, target, a.Body)
		}
		return a.JSON()
	}
	// Nothing is left after one: each starts again, as on a fresh server.
	eachOperation(doc, func(method, path string, _ object) {
		clear(parents)
		call(method, path)
		w, err := r.Store.WorkspaceBySlug(r.System(), "acme")
		if err == nil {
			err = r.Management.DeleteWorkspace(r.System(), management.CLI(w.ID), w)
		}
		if err != nil && !strings.Contains(err.Error(), storage.ErrNotFound.Error()) {
			t.Fatal(err)
		}
	})
}

// pathOf puts into a path what the collections before its parameters have made.
func pathOf(t *testing.T, path string, made func(collection string) object, member storage.User) string {
	t.Helper()
	out, begin := "", ""
	for _, part := range strings.Split(path, "/")[1:] {
		collection := begin
		begin += "/" + part
		switch part {
		case "{slug}", "{id}":
			if collection == "/v1/users" { // which the API does not make
				part = member.ID
				break
			}
			part = fmt.Sprint(made(collection)[strings.Trim(part, "{}")])
		case "{userId}":
			part = member.ID
		case "{method}":
			part = "password"
		}
		out += "/" + part
	}
	return out
}
