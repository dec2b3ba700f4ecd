package locale

import (
	"strconv"
	"time"
)

var months = [...]Text{
	New("January"), New("February"), New("March"), New("April"), New("May"), New("June"), New("July"), New("August"),
	New("September"), New("October"), New("November"), New("December"),
}

// Day returns the date of a time, such as 2 January 2006.
func (l Locale) Day(t time.Time) string {
	t = t.In(l.zone())
	return l.Text("date", strconv.Itoa(t.Day()), l.Of(months[t.Month()-1]), strconv.Itoa(t.Year()))
}

// ShortDay returns the date of a time without its year, such as 2 January.
func (l Locale) ShortDay(t time.Time) string {
	t = t.In(l.zone())
	return l.Text("date without year", strconv.Itoa(t.Day()), l.Of(months[t.Month()-1]))
}

// Moment returns a date with the time of day, to the minute, and its time zone.
func (l Locale) Moment(t time.Time) string {
	t = t.In(l.zone())
	return l.Text("date and time", l.Day(t), t.Format("15:04"), t.Format("MST"))
}

// Ago returns t relative to now: "3 days ago", "in 2 hours". Beyond 30 days, or if now is zero, it is the date.
func (l Locale) Ago(now, t time.Time) string {
	d := now.Sub(t)
	past := d >= 0
	d = d.Abs()
	const day = 24 * time.Hour
	switch {
	case now.IsZero() || d > 30*day:
		return l.Day(t)
	case d < time.Minute && past:
		return l.Text("just now")
	case d < time.Minute:
		return l.Text("in less than a minute")
	case d < time.Hour && past:
		return l.Text("%d minutes ago", int(d/time.Minute))
	case d < time.Hour:
		return l.Text("in %d minutes", int(d/time.Minute))
	case d < day && past:
		return l.Text("%d hours ago", int(d/time.Hour))
	case d < day:
		return l.Text("in %d hours", int(d/time.Hour))
	case past:
		return l.Text("%d days ago", int(d/day))
	default:
		return l.Text("in %d days", int(d/day))
	}
}

// Span returns a length of time in words, as it follows a preposition, in the largest unit that divides it: 90 minutes
// stay 90 minutes.
func (l Locale) Span(d time.Duration) string {
	const day = 24 * time.Hour
	whole := func(unit time.Duration) bool { return d >= unit && d%unit == 0 }
	switch {
	case whole(day):
		return l.Text("%d days", int(d/day))
	case whole(time.Hour):
		return l.Text("%d hours", int(d/time.Hour))
	case whole(time.Minute):
		return l.Text("%d minutes", int(d/time.Minute))
	default:
		return l.Text("%d seconds", int(d/time.Second))
	}
}
