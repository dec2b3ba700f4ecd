package vendors

import (
	"fmt"
	"net/http"
	"testing"
	"time"
)

// exhaust sends requests until a limit refuses one. It returns how many passed, how long that took and the refusal.
func exhaust(w *way, call func() *answer, most int) (passed int, took time.Duration, refused *answer) {
	w.t.Helper()
	began := time.Now()
	for range most {
		switch a := call(); a.status {
		case http.StatusOK:
			passed++
		case http.StatusTooManyRequests:
			return passed, time.Since(began), a
		default:
			w.t.Fatalf("answered %s", a)
		}
	}
	w.t.Fatalf("%d requests and no limit", most)
	return 0, 0, nil
}

// burst checks that a bucket, which fills up in a minute, holds as many requests as it should.
func burst(w *way, call func() *answer, depth int) *answer {
	w.t.Helper()
	passed, took, refused := exhaust(w, call, 10*depth)
	if most := depth + int(float64(depth)*took.Minutes()) + 1; passed < depth || passed > most {
		w.t.Errorf("%d requests passed in %s, want %d to %d", passed, took, depth, most)
	}
	return refused
}

func TestSophosic11_TierFree(t *testing.T) {
	each(t, func(t *testing.T, w *way) {
		k := w.key("free", readData)
		call := func() *answer { return w.get(data, k.text) }
		if a := call(); a.number("X-RateLimit-Limit") != 100 || a.number("X-RateLimit-Remaining") != 99 {
			t.Errorf("the first answer says %v", a.header)
		}
		w.pass(t, time.Minute)
		burst(w, call, 20)
		total := 0
		for range 10 { // minute by minute, until the hour's limit is used up
			w.pass(t, time.Minute)
			passed, _, refused := exhaust(w, call, 1000)
			total += passed
			if refused.number("X-RateLimit-Remaining") == 0 && refused.number("Retry-After") > 60 {
				return
			}
		}
		t.Errorf("after %d more requests the hour is not used up", total)
	})
}

func TestSophosic12_TierPro(t *testing.T) {
	each(t, func(t *testing.T, w *way) {
		k := w.key("pro", readData)
		call := func() *answer { return w.get(data, k.text) }
		if a := call(); a.number("X-RateLimit-Limit") != 1000 || a.number("X-RateLimit-Remaining") != 999 {
			t.Errorf("the first answer says %v", a.header)
		}
		w.pass(t, time.Minute)
		burst(w, call, 100)
	})
}

func TestSophosic13_TierEnterprise(t *testing.T) {
	each(t, func(t *testing.T, w *way) {
		for members, limit := range map[string]int64{readData: 20000, readData + `,"rateLimit":12345`: 12345} {
			k := w.key("enterprise", members)
			for range 150 { // more than the burst of the lower tier
				if a := w.get(data, k.text); a.status != http.StatusOK || a.number("X-RateLimit-Limit") != limit {
					t.Fatalf("%s: answered %s", members, a)
				}
			}
		}
	})
}

func TestSophosic14_EachKeyCountsForItself(t *testing.T) {
	each(t, func(t *testing.T, w *way) {
		one, two := w.key("free", readData), w.key("free", readData)
		for range 3 {
			w.get(data, one.text)
		}
		if a := w.get(data, two.text); a.number("X-RateLimit-Remaining") != 99 {
			t.Errorf("the other key has %v", a.header)
		}
	})
}

func TestSophosic15_RateHeaders(t *testing.T) {
	each(t, func(t *testing.T, w *way) {
		k := w.key("free", readData)
		for what, a := range map[string]*answer{
			"200":     w.get(data, k.text),
			"403":     w.request(http.MethodPost, data, k.text, `{"text":"x"}`),
			"404":     w.get(data+"/none", k.text),
			"builtin": w.get("/api/auth/me", k.text),
		} {
			reset := time.Unix(a.number("X-RateLimit-Reset"), 0)
			if a.number("X-RateLimit-Limit") != 100 || a.number("X-RateLimit-Remaining") < 0 || time.Until(reset) <= 0 ||
				time.Until(reset) > time.Hour+time.Second {
				t.Errorf("%s: %v", what, a.header)
			}
			if n := len(a.header.Values("X-RateLimit-Limit")); n != 1 {
				t.Errorf("%s: the header is there %d times", what, n)
			}
		}
	})
}

func TestSophosic16_RemainingFallsToZero(t *testing.T) {
	each(t, func(t *testing.T, w *way) {
		k := w.key("free", readData+`,"rateLimit":5`)
		for want := int64(4); want >= 0; want-- {
			a := w.get(data, k.text)
			if a.status != http.StatusOK || a.number("X-RateLimit-Remaining") != want ||
				a.number("X-RateLimit-Reset") <= time.Now().Unix() {
				t.Errorf("want %d left, got %s", want, a)
			}
		}
		for range 2 {
			a := w.get(data, k.text)
			if a.status != http.StatusTooManyRequests || a.number("X-RateLimit-Remaining") != 0 ||
				a.number("X-RateLimit-Reset") <= time.Now().Unix() {
				t.Errorf("then %s", a)
			}
		}
	})
}

func TestSophosic19_RateLimitBody(t *testing.T) {
	each(t, func(t *testing.T, w *way) {
		k := w.key("free", readData+`,"rateLimit":1`)
		w.get(data, k.text)
		a := w.get(data, k.text)
		seconds, isNumber := a.member("retryAfter").(float64)
		if !isNumber || seconds != float64(int64(seconds)) || seconds < 1 || seconds > 3600 {
			t.Fatalf("answered %s", a)
		}
		w.same("the body", a, http.StatusTooManyRequests,
			fmt.Sprintf(`{"error":"Too Many Requests","message":"Rate limit exceeded","statusCode":429,"retryAfter":%d}`,
				int64(seconds)))
	})
}

func TestSophosic20_RetryAfterHeader(t *testing.T) {
	each(t, func(t *testing.T, w *way) {
		k := w.key("free", readData+`,"rateLimit":1`)
		w.get(data, k.text)
		a := w.get(data, k.text)
		if seconds, _ := a.member("retryAfter").(float64); a.number("Retry-After") != int64(seconds) || seconds < 1 {
			t.Errorf("answered %s", a)
		}
	})
}

func TestSophosic21_AfterTheResetItWorksAgain(t *testing.T) {
	each(t, func(t *testing.T, w *way) {
		k := w.key("free", readData+`,"rateLimit":1`)
		w.get(data, k.text)
		a := w.get(data, k.text)
		w.want("at the limit", a, http.StatusTooManyRequests)
		w.pass(t, time.Until(time.Unix(a.number("X-RateLimit-Reset"), 0))-time.Minute)
		w.want("a minute before the reset", w.get(data, k.text), http.StatusTooManyRequests)
		w.pass(t, time.Minute)
		w.want("after the reset", w.get(data, k.text), http.StatusOK)
	})
}
