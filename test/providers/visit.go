package providers

import (
	"html"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"testing"
)

var (
	formAction = regexp.MustCompile(`action="([^"]*)"`)
	formInput  = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)">`)
)

// Visit opens an authorization URL as a browser does, and returns where the browser then goes: the redirect URI and the
// parameters of its query, or of the form that it posts there. It fails the test if the stand-in shows an error page.
func Visit(t testing.TB, authorizationURL string) (redirectURI string, params url.Values) {
	t.Helper()
	q, err := http.NewRequestWithContext(t.Context(), http.MethodGet, authorizationURL, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	browser := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	defer browser.CloseIdleConnections()
	resp, err := browser.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close() //nolint:errcheck // only read
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	switch resp.StatusCode {
	case http.StatusFound:
		to, err := resp.Location()
		if err != nil {
			t.Fatal(err)
		}
		params = to.Query()
		to.RawQuery = ""
		return to.String(), params
	case http.StatusOK:
		params = url.Values{}
		for _, field := range formInput.FindAllStringSubmatch(string(body), -1) {
			params.Add(html.UnescapeString(field[1]), html.UnescapeString(field[2]))
		}
		if action := formAction.FindStringSubmatch(string(body)); action != nil {
			return html.UnescapeString(action[1]), params
		}
	}
	t.Fatalf("the stand-in answered %s: %s", resp.Status, body)
	return "", nil
}
