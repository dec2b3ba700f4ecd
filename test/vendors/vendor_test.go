package vendors

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	generic "doorward/examples/generic/api"
	scopien "doorward/examples/scopien/api"
	sophic "doorward/examples/sophic/api"
	sophosic "doorward/examples/sophosic/api"
	torvus "doorward/examples/torvus/api"
	"doorward/test/postgres"
	"doorward/test/rig"
	"doorward/test/setup"
)

const (
	ownerEmail = "olive@example.com"
	password   = "seven kites over the bay"
	// supabaseSecret is the secret that the vendors share with their Supabase project.
	supabaseSecret = "a secret that a vendor shares with Supabase"
)

// vendor is one of the five, running: the real server with the configuration of examples/ on PostgreSQL, the vendor's
// API behind it, and nginx. All tests of the vendor share it.
type vendor struct {
	name     string
	title    string
	upstream func() http.Handler
	plans    []string // each has a workspace, whose slug is the plan's name

	started sync.Once
	problem error

	folder    string
	database  string // its owner's URL
	app       string // the app's host, which is the issuer
	api       string // the API's host, where Doorward itself is the proxy
	nginx     string // the same behind nginx
	env       []string
	stop      []func()
	log       rig.Log
	callsMu   sync.Mutex
	calls     map[string]http.Header // headers that the upstream received, by request id
	person    *person                // the owner of the workspaces, who is an administrator
	countedMu sync.Mutex
	counted   int
}

var all = []*vendor{
	{name: "sophosic", title: "Sophosic", upstream: sophosic.New, plans: []string{"free", "pro", "enterprise"}},
	{name: "sophic", title: "Sophic", upstream: sophic.New, plans: []string{"team"}},
	{name: "torvus", title: "Torvus", upstream: torvus.New, plans: []string{"service"}},
	{name: "scopien", title: "Scopien", upstream: scopien.New, plans: []string{"starter", "professional", "enterprise"}},
	{name: "generic", title: "Generic AI API", upstream: generic.New, plans: []string{"standard"}},
}

// ports are the ports in the configurations, which a test replaces with free ones.
var ports = regexp.MustCompile(`\b(localhost|127\.0\.0\.1):(9[012][1-5]0)\b`)

// running holds the vendors by name. A vendor is started when a test first needs it.
func running(t *testing.T) *vendor {
	t.Helper()
	setup.Long(t)
	cluster := postgres.Shared(t)
	nginx, err := setup.Nginx()
	setup.Need(t, err)
	m := pointName.FindStringSubmatch(t.Name())
	if m == nil {
		t.Fatalf("%s is not named by vendor and point", t.Name())
	}
	v := all[slices.IndexFunc(all, func(v *vendor) bool { return strings.EqualFold(v.name, m[1]) })]
	v.started.Do(func() { v.problem = v.start(cluster, nginx) })
	if v.problem != nil {
		t.Fatalf("start %s: %v\n%s", v.title, v.problem, v.log.String())
	}
	return v
}

func (v *vendor) start(cluster *postgres.Cluster, nginx string) error {
	ctx := context.Background()
	var err error
	if v.folder, err = os.MkdirTemp("", "doorward-"+v.name+"-"); err != nil {
		return err
	}
	remove, err := setup.Sweep(v.folder, "true")
	if err != nil {
		return err
	}
	v.stop = append(v.stop, func() { _ = remove() })
	if v.database, err = cluster.CreateDatabase(ctx, "vendors", nil); err != nil {
		return err
	}
	v.stop = append(v.stop, func() { _ = cluster.DropDatabase(ctx, v.database) })
	v.calls = map[string]http.Header{}
	behind := v.upstream()
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v.callsMu.Lock()
		v.calls[r.Header.Get("X-Request-Id")] = r.Header.Clone()
		v.callsMu.Unlock()
		behind.ServeHTTP(w, r)
	}))
	v.stop = append(v.stop, upstream.Close)

	text, err := v.configuration(ctx, map[string]string{"2": strings.TrimPrefix(upstream.URL, "http://127.0.0.1:")})
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(v.folder, "doorward.yaml"), []byte(text), 0o600); err != nil {
		return err
	}
	v.env = append(os.Environ(), "DOORWARD_CONFIG=doorward.yaml", "DOORWARD_DATABASE_URL="+v.database,
		"DOORWARD_TRUSTED_PROXIES=127.0.0.1",
		"DOORWARD_CACHE=off", // pass lets time pass with SQL, past the server
		"DOORWARD_SECRET=a-master-secret-of-the-tests-of-vendors", "SUPABASE_JWT_SECRET="+supabaseSecret)
	if err := v.run(v.app+"/readyz", binary, "serve"); err != nil {
		return err
	}
	if err := v.startNginx(ctx, nginx, strings.TrimPrefix(v.api, "http://"),
		strings.TrimPrefix(upstream.URL, "http://")); err != nil {
		return err
	}
	if _, err := v.doorward(password, "user", "create", "--email", ownerEmail, "--name", "Olive", "--admin",
		"--password-stdin"); err != nil {
		return err
	}
	for _, plan := range v.plans {
		_, err := v.doorward("", "workspace", "create", "--name", v.title+" "+plan, "--slug", plan, "--owner",
			ownerEmail, "--plan", plan)
		if err != nil {
			return err
		}
	}
	v.person, err = v.signIn(ownerEmail)
	return err
}

// configuration returns the vendor's configuration, with free ports and without limits on changes, because the tests
// change more than a user does. Ports of the kind "2" are the upstream's.
func (v *vendor) configuration(ctx context.Context, taken map[string]string) (string, error) {
	root, err := setup.Root()
	if err != nil {
		return "", err
	}
	text, err := os.ReadFile(filepath.Join(root, "examples", v.name, "doorward.yaml"))
	if err != nil {
		return "", err
	}
	out := ports.ReplaceAllStringFunc(string(text), func(address string) string {
		m := ports.FindStringSubmatch(address)
		kind := m[2][1:2]
		if taken[kind] == "" {
			port, failure := setup.FreePort(ctx)
			err = errors.Join(err, failure)
			taken[kind] = strconv.Itoa(port)
		}
		return m[1] + ":" + taken[kind]
	})
	v.app, v.api = "http://localhost:"+taken["0"], "http://127.0.0.1:"+taken["1"]
	const limits = "client_requests: 0"
	switch {
	case strings.Contains(out, "\ntokens: {"):
		out = strings.Replace(out, "\ntokens: {", "\ntokens: {"+limits+", ", 1)
	case strings.Contains(out, "\ntokens:\n"):
		out = strings.Replace(out, "\ntokens:\n", "\ntokens:\n  "+limits+"\n", 1)
	default:
		out += "tokens: {" + limits + "}\n"
	}
	return out, err
}

// run starts one of our servers and waits until an address answers with 200.
func (v *vendor) run(ready string, name string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = v.folder, v.env, &v.log, &v.log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // not reached by a terminal's interrupt
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // it was killed
		close(ended)
	}()
	// Also if this process ends in a panic.
	end, err := setup.Sweep(filepath.Join(v.folder, "run-"+strconv.Itoa(cmd.Process.Pid)),
		fmt.Sprintf("echo %d", cmd.Process.Pid))
	if err != nil {
		_ = cmd.Process.Kill()
		return err
	}
	v.stop = append(v.stop, func() {
		_ = cmd.Process.Kill() // faster than Sweep, which then finds no process
		<-ended
		_ = end()
	})
	for range 1500 {
		resp, err := http.Get(ready)
		if err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-ended:
			return fmt.Errorf("%s has exited: %s", name, v.log.String())
		case <-time.After(20 * time.Millisecond):
		}
	}
	return fmt.Errorf("%s is not ready", name)
}

// startNginx runs nginx with examples/nginx/nginx.conf, changed where its comments say so: the addresses, and the paths
// that Doorward itself serves.
func (v *vendor) startNginx(ctx context.Context, program, doorward, upstream string) error {
	port, err := setup.FreePort(ctx)
	if err != nil {
		return err
	}
	root, err := setup.Root()
	if err != nil {
		return err
	}
	file, err := os.ReadFile(filepath.Join(root, "examples", "nginx", "nginx.conf"))
	if err != nil {
		return err
	}
	text := string(file)
	for from, to := range map[string]string{
		"server 127.0.0.1:8080;": "server " + doorward + ";",
		"server 127.0.0.1:9000;": "server " + upstream + ";",
		"listen 80;":             fmt.Sprintf("listen 127.0.0.1:%d;", port),
		"\nhttp {\n": fmt.Sprintf("\nhttp {\naccess_log off; client_body_temp_path %[1]s/body; proxy_temp_path "+
			"%[1]s/proxy; fastcgi_temp_path %[1]s/fastcgi; "+
			"uwsgi_temp_path %[1]s/uwsgi; scgi_temp_path %[1]s/scgi; keepalive_requests 100000;\n", v.folder),
		"worker_processes auto;": "worker_processes 1;",
	} {
		if strings.Count(text, from) != 1 {
			return fmt.Errorf("nginx.conf has %q not once", from)
		}
		text = strings.Replace(text, from, to, 1)
	}
	paths := regexp.MustCompile(`location ~ \^\((/[^)]*)\)\(/\|\$\)`)
	if !paths.MatchString(text) {
		return errors.New("nginx.conf has no location of what Doorward serves itself")
	}
	text = paths.ReplaceAllLiteralString(text, `location ~ ^(`+strings.Join(v.builtin(), "|")+`)(/|$)`)
	conf := filepath.Join(v.folder, "nginx.conf")
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		return err
	}
	v.nginx = fmt.Sprintf("http://127.0.0.1:%d", port)
	return v.run(v.nginx+"/.well-known/oauth-protected-resource", program, "-p", v.folder, "-c", conf, "-e", "stderr",
		"-g", "daemon off; master_process off; error_log stderr warn; pid "+filepath.Join(v.folder, "nginx.pid")+";")
}

// builtin returns the paths that Doorward itself serves on the API's host, as regular expressions.
func (v *vendor) builtin() []string {
	own := []string{
		"/oauth/token", "/oauth/revoke", "/oauth/introspect", "/v1/api-keys", "/v1/auth/test", "/api/auth/me", "/api/me",
	}
	text, _ := os.ReadFile(filepath.Join(v.folder, "doorward.yaml")) // it was written at the start
	if m := regexp.MustCompile(`\n +builtin: \[([^\]]*)\]`).FindStringSubmatch(string(text)); m != nil {
		own = strings.Split(strings.ReplaceAll(m[1], " ", ""), ",")
	}
	return append(own, `/\.well-known/oauth-protected-resource`)
}

// doorward runs an administrative command and returns its output.
func (v *vendor) doorward(stdin string, args ...string) (map[string]any, error) {
	cmd := exec.Command(binary, append(args, "--json")...)
	cmd.Dir, cmd.Env, cmd.Stdin = v.folder, v.env, strings.NewReader(stdin)
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("doorward %s: %w\n%s", strings.Join(args, " "), err, complaint.String())
	}
	var made map[string]any
	if len(bytes.TrimSpace(out)) > 0 && out[0] == '{' {
		err = json.Unmarshal(out, &made)
	}
	return made, err
}

func (v *vendor) close() {
	for _, stop := range slices.Backward(v.stop) {
		stop()
	}
}

// command is like doorward, for a test.
func (v *vendor) command(t *testing.T, stdin string, args ...string) map[string]any {
	t.Helper()
	made, err := v.doorward(stdin, args...)
	ok(t, err)
	return made
}

// connect opens the database as its owner.
func (v *vendor) connect(t *testing.T) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), v.database)
	ok(t, err)
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// pass lets time pass: it makes every time in the database earlier, except those of browser sessions and signing keys.
// The clock of a running server cannot be moved, and every time that matters here is in the database.
func (v *vendor) pass(t *testing.T, d time.Duration) {
	t.Helper()
	conn := v.connect(t)
	rows, err := conn.Query(t.Context(), `SELECT table_name, column_name FROM information_schema.columns
		WHERE table_schema = current_schema() AND data_type = 'bigint' AND table_name NOT IN ('sessions', 'signing_keys')
		AND (column_name LIKE '%\_at' OR column_name IN ('hour_began', 'day_began', 'burst_full', 'auth_time', 'at'))`)
	ok(t, err)
	type column struct{ Table, Column string }
	columns, err := pgx.CollectRows(rows, pgx.RowToStructByPos[column])
	ok(t, err)
	if len(columns) < 20 {
		t.Fatalf("only %d columns hold times", len(columns))
	}
	for _, c := range columns {
		_, err := conn.Exec(t.Context(),
			fmt.Sprintf(`UPDATE %s SET %[2]s = %[2]s - $1 WHERE %[2]s > 0`, pgx.Identifier{c.Table}.Sanitize(),
				pgx.Identifier{c.Column}.Sanitize()), d.Microseconds())
		ok(t, err)
	}
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
