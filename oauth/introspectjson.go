package oauth

import (
	"encoding/json"
	"strconv"
)

// appendJSON appends what json.Marshal writes, byte for byte, in a third of the time. json.Marshal took a tenth of the
// time of an introspection that is answered from memory.
func (i *Introspection) appendJSON(to []byte) []byte {
	to = append(to, `{"active":`...)
	to = strconv.AppendBool(to, i.Active)
	to = appendText(to, "iss", i.Issuer)
	to = appendText(to, "aud", i.Audience)
	to = appendText(to, "sub", i.Subject)
	to = appendText(to, "client_id", i.ClientID)
	to = appendText(to, "scope", i.Scope)
	to = appendText(to, "token_type", i.TokenType)
	to = appendText(to, "credential", i.Credential)
	to = appendNumber(to, "exp", i.ExpiresAt)
	to = appendNumber(to, "iat", i.IssuedAt)
	to = appendNumber(to, "auth_time", i.AuthTime)
	to = appendText(to, "jti", i.ID)
	to = appendText(to, "workspace_id", i.WorkspaceID)
	to = appendText(to, "workspace", i.Workspace)
	to = appendText(to, "role", i.Role)
	to = appendText(to, "env", i.Environment)
	to = appendText(to, "plan", i.Plan)
	to = appendText(to, "key_id", i.KeyID)
	to = appendText(to, "foreign_issuer", i.ForeignIssuer)
	to = appendText(to, "foreign_subject", i.ForeignSubject)
	for n, address := range i.Addresses {
		if n == 0 {
			to = append(to, `,"allowed_addresses":[`...)
		} else {
			to = append(to, ',')
		}
		to = appendQuoted(to, address)
	}
	if len(i.Addresses) > 0 {
		to = append(to, ']')
	}
	if i.Confirmation != nil {
		to = append(to, `,"cnf":{"jkt":`...)
		to = append(appendQuoted(to, i.Confirmation.Thumbprint), '}')
	}
	if l := i.RateLimit; l != nil {
		to = append(to, `,"rate_limit":{"allowed":`...)
		to = strconv.AppendBool(to, l.Allowed)
		to = append(to, `,"limit":`...)
		to = strconv.AppendInt(to, l.Limit, 10)
		to = append(to, `,"remaining":`...)
		to = strconv.AppendInt(to, l.Remaining, 10)
		to = append(to, `,"reset":`...)
		to = strconv.AppendInt(to, l.Reset, 10)
		to = appendNumber(to, "retry_after", l.RetryAfter)
		to = append(to, '}')
	}
	return append(to, '}')
}

// appendText appends a member that is left out if it is empty.
func appendText(to []byte, name, value string) []byte {
	if value == "" {
		return to
	}
	return appendQuoted(appendName(to, name), value)
}

// appendNumber appends a member that is left out if it is zero.
func appendNumber(to []byte, name string, value int64) []byte {
	if value == 0 {
		return to
	}
	return strconv.AppendInt(appendName(to, name), value, 10)
}

func appendName(to []byte, name string) []byte {
	to = append(to, `,"`...)
	to = append(to, name...)
	return append(to, `":`...)
}

func appendQuoted(to []byte, text string) []byte {
	for i := range len(text) {
		switch c := text[i]; {
		case c < ' ', c > '~', c == '"', c == '\\', c == '<', c == '>', c == '&': // json.Marshal escapes it, or may
			quoted, _ := json.Marshal(text) // a string can always be written
			return append(to, quoted...)
		}
	}
	to = append(to, '"')
	to = append(to, text...)
	return append(to, '"')
}
