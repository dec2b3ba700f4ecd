package gateway

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// Every kind in every shape, word for word.
func TestBodiesAreThoseThatVendorsPromised(t *testing.T) {
	expired := time.Date(2025, 3, 1, 12, 0, 0, 0, time.UTC)
	const text = "Do something else."
	for _, test := range []struct {
		shape   Shape
		refusal Refusal
		status  int
		body    string
	}{
		{Shape{}, Refusal{Kind: Missing}, 401, `{"error":"Unauthorized","message":"Invalid or missing API key","statusCode":401}`},
		{Shape{}, Refusal{Kind: Invalid, KeyID: "key_1"}, 401, `{"error":"Unauthorized","message":"Invalid or missing API key","statusCode":401}`},
		{Shape{}, Refusal{Kind: Expired, ExpiredAt: expired}, 401, `{"error":"Unauthorized","message":"Invalid or missing API key","statusCode":401}`},
		{Shape{}, Refusal{Kind: Forbidden, Detail: text, Scope: "write"}, 403, `{"error":"Forbidden","message":"Insufficient permissions","statusCode":403}`},
		{Shape{}, Refusal{Kind: StepUp, Detail: text}, 403, `{"error":"Forbidden","message":"Do something else.","statusCode":403}`},
		{Shape{}, Refusal{Kind: Limited, RetryAfter: 1500 * time.Millisecond}, 429, `{"error":"Too Many Requests","message":"Rate limit exceeded","statusCode":429,"retryAfter":2}`},
		{Shape{}, Refusal{Kind: BadRequest, Detail: text}, 400, `{"error":"Bad Request","message":"Do something else.","statusCode":400}`},
		{Shape{}, Refusal{Kind: NotFound, Detail: text}, 404, `{"error":"Not Found","message":"Do something else.","statusCode":404}`},
		{Shape{}, Refusal{Kind: MethodNotAllowed, Detail: text}, 405, `{"error":"Method Not Allowed","message":"Do something else.","statusCode":405}`},
		{Shape{}, Refusal{Kind: Conflict, Detail: text}, 409, `{"error":"Conflict","message":"Do something else.","statusCode":409}`},
		{Shape{}, Refusal{Kind: TooLarge, Detail: text}, 413, `{"error":"Request Entity Too Large","message":"Do something else.","statusCode":413}`},
		{Shape{}, Refusal{Kind: MediaType, Detail: text}, 415, `{"error":"Unsupported Media Type","message":"Do something else.","statusCode":415}`},
		{Shape{}, Refusal{Kind: Failed, Detail: text}, 500, `{"error":"Internal Server Error","message":"Do something else.","statusCode":500}`},
		{Shape{}, Refusal{Kind: Unavailable, Detail: text}, 503, `{"error":"Service Unavailable","message":"Do something else.","statusCode":503}`},

		// Torvus: its own words, and 419 for an expired access token, never for a key.
		{torvus, Refusal{Kind: Invalid}, 401, `{"error":"Unauthorized","message":"Invalid or missing authentication token","statusCode":401}`},
		{torvus, Refusal{Kind: Expired, AccessToken: true}, 419, `{"error":"Token Expired","message":"Authentication token has expired","statusCode":419}`},
		{torvus, Refusal{Kind: Expired}, 401, `{"error":"Unauthorized","message":"Authentication token has expired","statusCode":401}`},

		{Shape{Name: "nested"}, Refusal{Kind: Missing}, 401, `{"error":{"code":"unauthorized","message":"Invalid API key","details":"No API key was sent; send it in the Authorization header, as a Bearer token."}}`},
		{Shape{Name: "nested"}, Refusal{Kind: Invalid}, 401, `{"error":{"code":"unauthorized","message":"Invalid API key","details":"The API key is invalid or has been revoked."}}`},
		{Shape{Name: "nested"}, Refusal{Kind: Expired, Detail: text}, 401, `{"error":{"code":"unauthorized","message":"Invalid API key","details":"Do something else."}}`},
		{Shape{Name: "nested"}, Refusal{Kind: Forbidden, Detail: text}, 403, `{"error":{"code":"forbidden","message":"Insufficient permissions","details":"Do something else."}}`},
		{Shape{Name: "nested"}, Refusal{Kind: Limited, RetryAfter: 7 * time.Second}, 429, `{"error":{"code":"rate_limit_exceeded","message":"Rate limit exceeded","details":"Try again in 7 seconds.","retryAfter":7}}`},
		{Shape{Name: "nested"}, Refusal{Kind: BadRequest, Detail: text}, 400, `{"error":{"code":"invalid_request","message":"The request is not valid","details":"Do something else."}}`},

		{Shape{Name: "envelope"}, Refusal{Kind: Missing}, 401, `{"success":false,"error":{"code":"MISSING_API_KEY","message":"API key is required","details":{"header":"Authorization"}}}`},
		{Shape{Name: "envelope"}, Refusal{Kind: Invalid}, 401, `{"success":false,"error":{"code":"INVALID_API_KEY","message":"The provided API key is invalid","details":{}}}`},
		{Shape{Name: "envelope"}, Refusal{Kind: Invalid, KeyID: "key_1"}, 401, `{"success":false,"error":{"code":"INVALID_API_KEY","message":"The provided API key is invalid","details":{"key_id":"key_1"}}}`},
		{Shape{Name: "envelope"}, Refusal{Kind: Expired, ExpiredAt: expired}, 401, `{"success":false,"error":{"code":"EXPIRED_API_KEY","message":"The API key has expired","details":{"expired_at":"2025-03-01T12:00:00Z"}}}`},
		{Shape{Name: "envelope"}, Refusal{Kind: Forbidden, Detail: text, Scope: "write"}, 403, `{"success":false,"error":{"code":"INSUFFICIENT_PERMISSIONS","message":"Insufficient permissions","details":{"required_scope":"write","reason":"Do something else."}}}`},
		{Shape{Name: "envelope"}, Refusal{Kind: Limited, RetryAfter: 7 * time.Second}, 429, `{"success":false,"error":{"code":"RATE_LIMIT_EXCEEDED","message":"Rate limit exceeded","details":{"retry_after":7}}}`},
		{Shape{Name: "envelope"}, Refusal{Kind: Conflict, Detail: text}, 409, `{"success":false,"error":{"code":"CONFLICT","message":"Do something else.","details":{}}}`},
	} {
		w := httptest.NewRecorder()
		test.shape.Write(w, &test.refusal)
		if body := strings.TrimSuffix(w.Body.String(), "\n"); w.Code != test.status || body != test.body {
			t.Errorf("%+v %+v: %d %s\nwant %d %s", test.shape, test.refusal, w.Code, body, test.status, test.body)
		}
		if got := w.Header().Get("Content-Type"); got != "application/json" {
			t.Errorf("Content-Type %q", got)
		}
	}
}

var torvus = Shape{
	Texts: Texts{
		Unauthorized: "Invalid or missing authentication token",
		Expired:      "Authentication token has expired",
	}, ExpiredStatus: StatusExpired,
}

func TestEveryShapeHasWordsForEveryKind(t *testing.T) {
	for _, name := range ShapeNames() {
		for kind, status := range statuses {
			got, body := Shape{Name: name}.Body(&Refusal{Kind: kind, Detail: "Do something else."})
			if got != status {
				t.Errorf("%s: kind %d has status %d, want %d", name, kind, got, status)
			}
			code, message := "", ""
			switch b := body.(type) {
			case Flat:
				code, message = b.Error, b.Message
			case Nested:
				code, message = b.Error.Code, b.Error.Message
			case Envelope:
				code, message = b.Error.Code, b.Error.Message
			}
			if code == "" || message == "" {
				t.Errorf("%s: kind %d has code %q and message %q", name, kind, code, message)
			}
		}
	}
}

func TestChallengesAreThoseOfRFC6750(t *testing.T) {
	for _, test := range []struct {
		refusal Refusal
		want    string
	}{
		{Refusal{Kind: Missing, Detail: "x"}, `Bearer realm="doorward"`},
		{Refusal{Kind: Invalid, KeyID: "key_1"}, `Bearer realm="doorward", error="invalid_token", error_description="The credential is unknown, has expired or was revoked."`},
		{Refusal{Kind: Expired}, `Bearer realm="doorward", error="invalid_token", error_description="The credential is unknown, has expired or was revoked."`},
		{Refusal{Kind: Forbidden, Detail: `Say "x\y" é.`, Scope: "accounts:write"}, `Bearer realm="doorward", error="insufficient_scope", error_description="Say 'x'y' ?.", scope="accounts:write"`},
		{Refusal{Kind: StepUp, Detail: "Sign in."}, `Bearer realm="doorward", error="insufficient_user_authentication", error_description="Sign in.", max_age="300"`},
		{Refusal{Kind: NotFound, Detail: "x"}, ""},
	} {
		w := httptest.NewRecorder()
		Shape{}.Write(w, &test.refusal)
		if got := w.Header().Get("WWW-Authenticate"); got != test.want {
			t.Errorf("%+v: %s\nwant %s", test.refusal, got, test.want)
		}
	}
}

func TestRetryAfterEqualsTheBody(t *testing.T) {
	for _, wait := range []time.Duration{0, time.Millisecond, time.Second, 3599*time.Second + 1} {
		w := httptest.NewRecorder()
		Shape{}.Write(w, &Refusal{Kind: Limited, RetryAfter: wait})
		if got := w.Header().Get("Retry-After"); got == "" || !strings.Contains(w.Body.String(), `"retryAfter":`+got+"}") {
			t.Errorf("wait %v: header %q, body %s", wait, got, w.Body)
		}
	}
}
