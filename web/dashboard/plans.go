package dashboard

import (
	"doorward/locale"
	"doorward/oauth/limit"
	"doorward/templates"
)

// planOption is the name of a workspace's plan with what it allows, for a person to read.
func (s *base) planOption(name string) locale.Text {
	if name == "" {
		return locale.New("No plan")
	}
	plan, known := s.catalog.Plan(name)
	switch {
	case !known:
		return locale.New("%s (not in the configuration; has no effect)", name)
	case plan == (limit.Plan{}):
		return locale.New("%s (no limits)", name)
	}
	return planWith(name, plan)
}

// planWith is the name of a plan with what it allows; only the name if it has no limits.
func planWith(name string, plan limit.Plan) locale.Text {
	allows := planText(plan)
	if allows.IsZero() {
		return templates.AsIs(name)
	}
	return locale.New("plan with its limits", name, allows)
}

// planText says what a plan allows; empty if it has no limits.
func planText(plan limit.Plan) (text locale.Text) {
	for _, window := range []struct {
		most   int64
		allows locale.Text
	}{
		{plan.Hour, locale.New("%d requests per hour", plan.Hour)},
		{plan.Day, locale.New("%d requests per day", plan.Day)},
		{plan.Burst, locale.New("burst of %d", plan.Burst)},
	} {
		switch {
		case window.most <= 0:
		case text.IsZero():
			text = window.allows
		default:
			text = locale.New("%s, %s", text, window.allows)
		}
	}
	return text
}
