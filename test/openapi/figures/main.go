// Command figures imports OpenAPI documents with `doorward routes from-openapi` and prints the result of each as a line
// of the table in docs/routes.md. It fails if a route lets a request pass that an operation of the document would not:
//
//	go run ./test/openapi/figures DOORWARD FILE…
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"doorward/test/openapi"
)

func main() {
	ok := true
	for _, file := range os.Args[2:] {
		line, problems, err := figures(os.Args[1], file)
		if err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", file, err)
			ok = false
			continue
		}
		fmt.Println(line)
		for _, problem := range problems[:min(len(problems), 20)] {
			fmt.Fprintf(os.Stderr, "%s: %s\n", file, problem)
		}
		ok = ok && len(problems) == 0
	}
	if !ok {
		os.Exit(1)
	}
}

// figures imports one document and tries each of its operations, as well as paths that several templates match.
func figures(doorward, file string) (line string, problems []string, err error) {
	folder := filepath.Dir(file)
	// The developer names the file.
	d, err := openapi.Read(filepath.Base(file), func(name string) ([]byte, error) {
		return os.ReadFile(filepath.Join(folder, name))
	})
	if err != nil {
		return "", nil, err
	}
	var stdout, stderr bytes.Buffer
	c := exec.Command(doorward, "routes", "from-openapi", "--json", file) //nolint:noctx // the developer names both
	c.Stdout, c.Stderr = &stdout, &stderr
	if err := c.Run(); err != nil {
		return "", nil, fmt.Errorf("%w: %s", err, stderr.String())
	}
	var routes []openapi.Route
	if err := json.Unmarshal(stdout.Bytes(), &routes); err != nil {
		return "", nil, err
	}
	tried, kept, refused, leftOut := 0, 0, 0, 0
	for _, path := range d.Examples() {
		for _, method := range openapi.Methods {
			if len(d.MeantFor(method, path)) == 0 {
				continue
			}
			tried++
			if problem := d.Looser(routes, method, path); problem != "" {
				problems = append(problems, problem)
			}
		}
	}
	for _, o := range d.Operations {
		if r := openapi.First(routes, o.Method, o.Example()); r != nil && !r.Refuse {
			kept++
		}
	}
	for _, r := range routes {
		if r.Refuse {
			refused++
		}
	}
	comments := strings.Split(strings.TrimSpace(stderr.String()), "\n")
	for _, comment := range comments {
		if strings.HasPrefix(comment, "Left out:") {
			leftOut++
		}
	}
	fmt.Fprintf(os.Stderr, "%s: %d of %d operations have a route; %d requests were tried, %d pass that should not\n", file,
		kept, len(d.Operations), tried, len(problems))
	return fmt.Sprintf("| %s | %s | %d | %d | %d | %d | %d |", d.Title, d.Version, len(d.Operations), len(routes),
		len(comments), refused, leftOut), problems, nil
}
