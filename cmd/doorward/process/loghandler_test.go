package process

import (
	"errors"
	"io"
	"log/slog"
	"math"
	"strings"
	"testing"
	"time"
)

// records are like those of requests, and others.
func records() []slog.Record {
	at := time.Date(2026, 11, 22, 12, 0, 0, 120_000_000, time.FixedZone("", 3600))
	record := func(level slog.Level, message string, attrs ...slog.Attr) slog.Record {
		r := slog.NewRecord(at, level, message, 0)
		r.AddAttrs(attrs...)
		at = at.Add(time.Hour + time.Nanosecond)
		return r
	}
	all := []slog.Record{
		record(slog.LevelInfo, "request", slog.String("request_id", "0123456789abcdef01234567"),
			slog.String("method", "POST"), slog.String("route", "/oauth/introspect"), slog.Int("status", 200),
			slog.Float64("ms", 0.123), slog.String("address", "192.0.2.1"), slog.String("client_id", "app_1"), slog.String("empty", "")),
		record(slog.LevelInfo, "nothing"),
		record(slog.LevelInfo, ""),
		record(slog.LevelInfo, "not \"plain\""),
		record(slog.LevelInfo, "any", slog.Any("error", errors.New("an error")), slog.Bool("bool", true),
			slog.Duration("duration", time.Second), slog.Group("group", slog.Int("a", 1)),
			slog.Uint64("large", math.MaxUint64)),
		record(slog.LevelInfo, "keys", slog.String("", "no key"), slog.String("a\nb", "c"), slog.String("a", "b")),
		record(slog.LevelInfo, "no attribute", slog.Attr{}),
		record(slog.LevelWarn, "warning", slog.String("a", "b")),
		record(slog.LevelError, "error", slog.Int("status", 503)),
		slog.NewRecord(time.Time{}, slog.LevelInfo, "no time", 0),
		record(slog.LevelInfo, "long", slog.String("a", strings.Repeat("x", 100<<10))),
	}
	for _, n := range []int64{0, -1, math.MinInt64, math.MaxInt64} {
		all = append(all, record(slog.LevelInfo, "number", slog.Int64("n", n)))
	}
	for _, f := range []float64{
		0, math.Copysign(0, -1), -1, 0.001, 12.345, 1e-6, 9e-7, 1e20, 1e21, 123456789.25, math.MaxFloat64, math.Inf(1),
		math.NaN(),
	} {
		all = append(all, record(slog.LevelInfo, "number", slog.Float64("f", f)))
	}
	for c := range rune(0x120) {
		all = append(all, record(slog.LevelInfo, "character", slog.String("c", "<"+string(c)+">")))
	}
	for _, text := range []string{"\xff", "\u2028", "\ufeff", "😀", `\`, `"`, "</script>&"} {
		all = append(all, record(slog.LevelInfo, "text", slog.String("a", text), slog.Int("b", 1)))
	}
	return all
}

// TestLogHandlerWritesTheLinesOfSlog compares them byte by byte: operators parse them.
func TestLogHandlerWritesTheLinesOfSlog(t *testing.T) {
	var got, want strings.Builder
	buffer := NewLogBuffer(&got)
	ours, theirs := slog.Handler(NewLogHandler(buffer)), slog.Handler(slog.NewJSONHandler(&want, nil))
	compare := func(r slog.Record) {
		t.Helper()
		got.Reset()
		want.Reset()
		err := errors.Join(ours.Handle(t.Context(), r), theirs.Handle(t.Context(), r))
		buffer.Flush()
		if err != nil || got.String() != want.String() {
			t.Errorf("%q, and slog writes %q; %v", got.String(), want.String(), err)
		}
	}
	for _, r := range records() {
		compare(r)
	}
	if ours.Enabled(t.Context(), slog.LevelDebug) {
		t.Error("it takes debug records")
	}
	ours, theirs = ours.WithGroup("g").WithAttrs([]slog.Attr{slog.Int("a", 1)}),
		theirs.WithGroup("g").WithAttrs([]slog.Attr{slog.Int("a", 1)})
	for _, r := range records()[:3] {
		compare(r)
	}
}

func BenchmarkLogHandler(b *testing.B) {
	line := records()[0]
	for name, h := range map[string]slog.Handler{
		"own":  NewLogHandler(NewLogBuffer(io.Discard)),
		"slog": slog.NewJSONHandler(NewLogBuffer(io.Discard), nil),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_ = h.Handle(b.Context(), line)
			}
		})
	}
}
