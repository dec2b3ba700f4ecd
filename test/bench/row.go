package main

import (
	"context"
	"fmt"
	"math"
	"slices"
)

// row is one line of the table: a figure of Doorward, and the limit that it is compared with.
type row struct {
	topic   string // what is measured; rows of the same topic are explained together
	variant string // what differs between the rows of a topic
	about   string // how to read the topic and what limits it, for the page
	limit   string // description of the limit; empty: the target is for the figure itself
	want    float64
	atMost  bool   // the result must not exceed want; otherwise it must reach it
	unit    string // of the figures; empty: requests a second
	rounds  int    // at most so many; zero: all
	peer    bool   // a comparison with another server, without a target

	setup   func(ctx context.Context) error // before the first round
	prepare func(ctx context.Context, round int) error
	ours    func(ctx context.Context, round int) (float64, error)
	against func(ctx context.Context, round int) (float64, error) // nil: nothing to compare with
	note    func() string                                         // said beside the figures

	missing                bool // a peer that cannot be had here
	figures, limits, ratio []float64
}

func (r *row) name() string {
	if r.variant == "" {
		return r.topic
	}
	return r.topic + ", " + r.variant
}

func (r *row) prepareOnce(ctx context.Context) error {
	if r.setup == nil {
		return nil
	}
	return r.setup(ctx)
}

// measure takes one round. The order of the two sides changes from round to round, so that neither always finds the
// machine warm.
func (r *row) measure(ctx context.Context, round int) error {
	if r.prepare != nil {
		if err := r.prepare(ctx, round); err != nil {
			return fmt.Errorf("prepare: %w", err)
		}
	}
	var ours, limit float64
	order := []func() error{func() (err error) { ours, err = r.ours(ctx, round); return err }}
	if r.against != nil {
		order = append(order, func() (err error) { limit, err = r.against(ctx, round); return err })
	}
	if round%2 == 1 {
		slices.Reverse(order)
	}
	for _, f := range order {
		if err := f(); err != nil {
			return err
		}
	}
	r.figures = append(r.figures, ours)
	text := r.figure(ours)
	if r.against != nil {
		r.limits, r.ratio = append(r.limits, limit), append(r.ratio, ours/limit)
		text += fmt.Sprintf(" against %s: %.2f", r.figure(limit), ours/limit)
	}
	say("round %d  %-48s %s%s", round+1, r.name(), text, r.said())
	return nil
}

func (r *row) said() string {
	if r.note == nil {
		return ""
	}
	return ", " + r.note()
}

// results are what the target is for: the ratios or, without a limit, the figures.
func (r *row) results() []float64 {
	if r.against == nil {
		return r.figures
	}
	return r.ratio
}

// met reports whether the median reaches the target.
func (r *row) met() bool {
	m := median(r.results())
	return r.want == 0 || len(r.results()) > 0 && (r.atMost && m <= r.want || !r.atMost && m >= r.want)
}

// figure writes a figure with its unit.
func (r *row) figure(v float64) string {
	if r.unit == "" {
		return fmt.Sprintf("%.0f", v)
	}
	return number(v) + " " + r.unit
}

// result writes a result as the target is written.
func (r *row) result(v float64) string {
	if r.against == nil {
		return r.figure(v)
	}
	return fmt.Sprintf("%.2f", v)
}

// number writes three digits, or all of the whole part.
func number(v float64) string {
	digits := max(0, 2-int(math.Floor(math.Log10(math.Max(math.Abs(v), 0.01)))))
	return fmt.Sprintf("%.*f", min(digits, 3), v)
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	if len(sorted) == 0 {
		return 0
	}
	return (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2
}
