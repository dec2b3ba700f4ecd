package page

import (
	"strings"

	"doorward/locale"
	"doorward/templates"
)

// product is a browser or system: the part of a User-Agent by which it is recognised, and its name.
type product struct{ part, name string }

// The first product whose part is in a User-Agent counts: most browsers also claim to be Chrome or Safari.
var (
	browsers = []product{
		{"Edg", "Edge"},
		{"OPR/", "Opera"},
		{"SamsungBrowser", "Samsung Internet"},
		{"Firefox/", "Firefox"},
		{"FxiOS", "Firefox"},
		{"CriOS", "Chrome"},
		{"Chrome/", "Chrome"},
		{"Safari/", "Safari"},
		{"curl/", "curl"},
	}
	systems = []product{
		{"iPhone", "iPhone"},
		{"iPad", "iPad"},
		{"Android", "Android"},
		{"Windows", "Windows"},
		{"Mac OS X", "macOS"},
		{"CrOS", "ChromeOS"},
		{"Linux", "Linux"},
	}
)

// BrowserName names the browser and system of a User-Agent, so that users recognise their own; empty if unknown.
func BrowserName(agent string) locale.Text {
	find := func(list []product) string {
		for _, p := range list {
			if strings.Contains(agent, p.part) {
				return p.name
			}
		}
		return ""
	}
	browser, system := find(browsers), find(systems)
	switch {
	case browser != "" && system != "":
		return locale.New("%s on %s", browser, system)
	case browser != "":
		return templates.AsIs(browser)
	case system != "":
		return templates.AsIs(system)
	}
	return locale.Text{}
}
