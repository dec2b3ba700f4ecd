package dashboard

import (
	"strings"

	"doorward/oauth/limit"
	"doorward/templates"
)

// planOption is the name of a workspace's plan with what it allows, for a person to read.
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

// inBrackets puts text that is not empty in brackets, after a space.
func inBrackets(text string) string {
	if text == "" {
		return ""
	}
	return " (" + text + ")"
}

// planText says what a plan allows; empty if it has no limits.
func planText(plan limit.Plan) string {
	var parts []string
	if plan.Hour > 0 {
		parts = append(parts, templates.Number(plan.Hour)+" requests per hour")
	}
	if plan.Day > 0 {
		parts = append(parts, templates.Number(plan.Day)+" per day")
	}
	if plan.Burst > 0 {
		parts = append(parts, "burst of "+templates.Number(plan.Burst))
	}
	return strings.Join(parts, ", ")
}
