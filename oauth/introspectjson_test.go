package oauth

import (
	"encoding/json"
	"math"
	"reflect"
	"strings"
	"testing"
)

// An introspection response is what json.Marshal makes of the struct, whichever members it has and whatever is in them.
func TestIntrospectionIsWrittenAsItsStructSays(t *testing.T) {
	check := func(i Introspection) {
		t.Helper()
		want, err := json.Marshal(i)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(i.appendJSON(nil)); got != string(want) {
			t.Errorf("written as\n%s\nwant\n%s", got, want)
		}
	}
	var all Introspection
	fill(t, reflect.ValueOf(&all).Elem(), 1)
	check(Introspection{})
	check(all)
	check(Introspection{Addresses: []string{}, RateLimit: &RateLimit{}})
	for f := range reflect.TypeFor[Introspection]().NumField() {
		var one Introspection // has this member alone
		fill(t, reflect.ValueOf(&one).Elem().Field(f), f+1)
		check(one)
		without := all
		reflect.ValueOf(&without).Elem().Field(f).SetZero()
		check(without)
	}
	for f := range reflect.TypeFor[RateLimit]().NumField() {
		without := *all.RateLimit
		reflect.ValueOf(&without).Elem().Field(f).SetZero()
		check(Introspection{RateLimit: &without})
	}
	texts := []string{
		"", "\xff", "\u2028\u2029", "\ufeff", "\ufffd", "😀", `\"`, "</script>&",
		strings.Repeat("x", 100_000),
	}
	for c := range rune(0x120) {
		texts = append(texts, "a"+string(c)+"b")
	}
	for _, text := range texts {
		check(Introspection{Subject: text, Workspace: text, Addresses: []string{text, "", text}})
	}
	for _, n := range []int64{0, -1, math.MinInt64, math.MaxInt64} {
		check(Introspection{ExpiresAt: n, RateLimit: &RateLimit{Limit: n, Remaining: n, Reset: n, RetryAfter: n}})
	}
}

// fill sets v, and what is in it, to values that are not zero and differ.
func fill(t *testing.T, v reflect.Value, n int) {
	t.Helper()
	switch v.Kind() {
	case reflect.Struct:
		for f := range v.NumField() {
			fill(t, v.Field(f), 10*n+f)
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(t, v.Elem(), n)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range 2 {
			fill(t, v.Index(i), 10*n+i)
		}
	case reflect.String:
		v.SetString(strings.Repeat("text", n%7+1))
	case reflect.Int64:
		v.SetInt(int64(n))
	case reflect.Bool:
		v.SetBool(true)
	default:
		t.Fatalf("a member is of the kind %s; teach fill and appendJSON to write it", v.Kind())
	}
}

func BenchmarkIntrospectionJSON(b *testing.B) {
	i := Introspection{
		Active: true, Issuer: "https://auth.example.com", Audience: "https://api.example.com",
		Subject: "user_01890c2e-0000-7000-8000-000000000000", ClientID: "app_01890c2e-0000-7000-8000-000000000000",
		Scope: "read write", TokenType: "Bearer", Credential: "api_key", ExpiresAt: 1_700_000_000, IssuedAt: 1_700_000_000,
		ID: "key_01890c2e-0000-7000-8000-000000000000", WorkspaceID: "ws_01890c2e-0000-7000-8000-000000000000",
		Workspace: "acme", Role: "member", Plan: "pro", KeyID: "key_01890c2e-0000-7000-8000-000000000000",
		RateLimit: &RateLimit{Allowed: true, Limit: 1000, Remaining: 999, Reset: 1_700_000_000},
	}
	b.Run("own", func(b *testing.B) {
		for b.Loop() {
			i.appendJSON(make([]byte, 0, 1024))
		}
	})
	b.Run("json.Marshal", func(b *testing.B) {
		for b.Loop() {
			_, _ = json.Marshal(i)
		}
	})
}
