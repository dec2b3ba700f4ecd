package openapi

import (
	"bytes"
	"encoding/json"
	"strconv"

	"go.yaml.in/yaml/v3"
)

// countJSON counts the values of valid JSON, approximately.
func countJSON(data []byte) (n int) {
	inText := false
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case inText && c == '\\':
			i++
		case c == '"':
			inText = !inText
		case !inText && (c == ',' || c == ':' || c == '[' || c == '{'):
			n++
		}
	}
	return n
}

// jsonReader reads valid JSON into nodes.
type jsonReader struct {
	files   *fileSet
	decoder *json.Decoder
	text    []byte
	offset  int64 // up to which lines were counted
	line    int
}

func (r *jsonReader) token() json.Token {
	token, err := r.decoder.Token()
	if err != nil {
		return nil // not reached: the text is valid
	}
	now := r.decoder.InputOffset()
	r.line += bytes.Count(r.text[r.offset:now], []byte("\n"))
	r.offset = now
	r.files.values++
	return token
}

func (r *jsonReader) value() *yaml.Node {
	token := r.token()
	n := &yaml.Node{Kind: yaml.ScalarNode, Line: r.line}
	switch v := token.(type) {
	case json.Delim:
		n.Kind, n.Tag = yaml.SequenceNode, "!!seq"
		if v == '{' {
			n.Kind, n.Tag = yaml.MappingNode, "!!map"
		}
		for r.decoder.More() {
			n.Content = append(n.Content, r.value()) // the names of an object are values to the decoder
		}
		r.token()
	case string:
		n.Tag, n.Value = "!!str", v
	case json.Number:
		n.Tag, n.Value = "!!float", v.String()
	case bool:
		n.Tag, n.Value = "!!bool", strconv.FormatBool(v)
	default:
		n.Tag = "!!null"
	}
	return n
}
