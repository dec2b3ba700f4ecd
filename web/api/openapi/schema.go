package openapi

import (
	"maps"
	"reflect"
	"strconv"
	"strings"
)

// MemberName is the name in JSON of a struct's field.
func MemberName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	return name
}

// Required lists the members of a struct that a request must have or, if request is false, that a response always has.
func Required(t reflect.Type, request bool) []string {
	var list []string
	for i := range t.NumField() {
		f := t.Field(i)
		if !omits(f) && (!request || f.Type.Kind() != reflect.Pointer) {
			list = append(list, MemberName(f))
		}
	}
	return list
}

// schema describes a type as it is decoded from a request, or encoded in a response.
func (d *document) schema(t reflect.Type, request bool) Object {
	if s, ok := d.Types.Inline[t]; ok {
		return maps.Clone(s)
	}
	if s, ok := d.Types.Components[t]; ok {
		d.schemas[t.Name()] = s
		return Object{"$ref": "#/components/schemas/" + t.Name()}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return d.schema(t.Elem(), request)
	case reflect.Bool:
		return Object{"type": "boolean"}
	case reflect.Int, reflect.Int64:
		return Object{"type": "integer"}
	case reflect.Slice:
		return Object{"type": "array", "items": d.schema(t.Elem(), request)}
	case reflect.Map:
		return Object{"type": "object", "additionalProperties": d.schema(t.Elem(), request)}
	case reflect.Struct:
		return d.structSchema(t, request)
	}
	return Object{"type": "string"}
}

func (d *document) structSchema(t reflect.Type, request bool) Object {
	if inner, ok := d.Types.Inner(t); ok {
		return d.schema(inner, request)
	}
	name := t.Name()
	if base, of, ok := strings.Cut(strings.TrimSuffix(name, "]"), "["); ok { // List[doorward/web/api.Key]
		name = of[strings.LastIndexByte(of, '.')+1:] + base
	}
	ref := Object{"$ref": "#/components/schemas/" + name}
	if d.schemas[name] != nil {
		return ref
	}
	properties := Object{}
	schema := Object{"type": "object", "properties": properties}
	d.schemas[name] = schema
	for i := range t.NumField() {
		f := t.Field(i)
		s := tagged(d.schema(f.Type, request), f)
		if nullable(f, request) {
			s = orNull(s)
		}
		if description := f.Tag.Get("doc"); description != "" {
			s["description"] = description
		}
		properties[MemberName(f)] = s
	}
	if list := Required(t, request); len(list) > 0 {
		schema["required"] = list
	}
	if request {
		schema["additionalProperties"] = false
	}
	return ref
}

// omits reports whether a member is left out of a response when it is empty, and may be left out of a request.
func omits(f reflect.StructField) bool { return strings.Contains(f.Tag.Get("json"), ",omit") }

// nullable reports whether a member may be null. In a request, null means the same as leaving it out.
func nullable(f reflect.StructField, request bool) bool {
	return f.Type.Kind() == reflect.Pointer || request && omits(f)
}

func orNull(s Object) Object {
	kind, plain := s["type"].(string)
	if !plain {
		return Object{"anyOf": []Object{s, {"type": "null"}}}
	}
	s["type"] = []string{kind, "null"}
	if list, ok := s["enum"].([]any); ok {
		s["enum"] = append(list, nil)
	}
	return s
}

// tagged adds what a field's tags say about its values.
func tagged(s Object, f reflect.StructField) Object {
	if list := f.Tag.Get("enum"); list != "" {
		var values []any
		for _, value := range strings.Split(list, ",") {
			values = append(values, value)
		}
		s["enum"] = values
	}
	for _, tag := range []string{"pattern", "format"} {
		if value := f.Tag.Get(tag); value != "" {
			s[tag] = value
		}
	}
	for _, tag := range []string{"minimum", "maximum", "default"} {
		if value := f.Tag.Get(tag); value != "" {
			s[tag] = value
			if n, err := strconv.ParseInt(value, 10, 64); err == nil {
				s[tag] = n
			}
		}
	}
	return s
}
