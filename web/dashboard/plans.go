package dashboard

import (
	"strings"

	"doorward/oauth/limit"
	"doorward/templates"
)

func inBrackets(text string) string {
	if text == "" {
		return ""
	}
	return " (" + text + ")"
}

// planText is a plan in words; empty for one without limits.
func planText(plan limit.Plan) string {
	var parts []string
	if plan.Hour > 0 {
		parts = append(parts, templates.Number(plan.Hour)+" requests per hour")
	}
	if plan.Day > 0 {
		parts = append(parts, templates.Number(plan.Day)+" per day")
	}
	if plan.Burst > 0 {
		parts = append(parts, templates.Number(plan.Burst)+" at once")
	}
	return strings.Join(parts, ", ")
}

// planOption is a plan of a workspace in words.
func (s *base) planOption(name string) string {
	if name == "" {
		return "No plan"
	}
	plan, known := s.catalog.Plan(name)
	switch {
	case !known:
		return name + " (not in the configuration; has no effect)"
	case plan == (limit.Plan{}):
		return name + " (no limits)"
	}
	return name + inBrackets(planText(plan))
}
