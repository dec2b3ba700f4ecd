# Everything a developer runs here. Longer logic is in Go: test/setup/install, test/postgres/run, test/bench.

GOLANGCI := go tool -modfile=tools/go.mod golangci-lint

.PHONY: help
help: ## what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# At a terminal, the demo runs as a job of its own (set -m), so that Ctrl-C reaches the demo only: it stops and succeeds.
# Else make would get the signal too and fail, and so does "go run", whatever the program returns.
DEMO := bin/doorward

.PHONY: run
run: ## the demo: Doorward, an app that signs in through it and an API, to be seen in a browser
	@CGO_ENABLED=0 go build -o $(DEMO) ./cmd/doorward
	@if [ -t 0 ]; then set -m; fi; $(DEMO) demo

.PHONY: example-generic
example-generic: ## an API behind Doorward, with its page for customers in examples/generic: an AI API
	@CGO_ENABLED=0 go run ./examples/run generic $(ARGS)

.PHONY: example-scopien
example-scopien: ## an API behind Doorward, with its page for customers in examples/scopien: a CRM: objects, test keys, plans
	@CGO_ENABLED=0 go run ./examples/run scopien $(ARGS)

.PHONY: example-sophic
example-sophic: ## an API behind Doorward, with its page for customers in examples/sophic: workspaces, personal access tokens, MCP
	@CGO_ENABLED=0 go run ./examples/run sophic $(ARGS)

.PHONY: example-sophosic
example-sophosic: ## an API behind Doorward, with its page for customers in examples/sophosic: tiers, Supabase sessions, OAuth
	@CGO_ENABLED=0 go run ./examples/run sophosic $(ARGS)

.PHONY: example-torvus
example-torvus: ## an API behind Doorward, with its page for customers in examples/torvus: JWTs, 419
	@CGO_ENABLED=0 go run ./examples/run torvus $(ARGS)

# Where goroutines of the server meet, tests run under the race detector; on the rest it would only cost time. The first
# run is for the packages with such tests: of those with a server of their own, only the tests whose requests meet
# (test/stores says how).
# The last run, beside the others, has all tests without the detector, but for test/gateways, which the first run has
# whole.
# "make lint" vets, and no test needs symbols for a debugger, so both are left out. Tests often wait for a database,
# a browser or another program, so there are two packages for each core, and one more for each under the detector.
CORES := $$(getconf _NPROCESSORS_ONLN)
GOTEST = go test -vet=off -ldflags=-s $(FIRST)
# test/security takes longest and runs one test after the other, so it goes before the packages beside it. Otherwise it
# would be left over at the end, with one processor idle.
FIRST := -exec 'sh -c "case $$0 in */security.test) exec $$0 $$@;; *) exec nice $$0 $$@;; esac"'
# The detector leaves out SQLite itself, which is C translated to Go: watching each of its steps takes ten times as long.
RACE := -race -gcflags=modernc.org/sqlite/lib=-race=false
DETECTED := ./test/gateways ./test/security ./storage ./web/api ./oauth/apikey ./oauth/identity ./oauth/limit \
	./oauth/resource ./cmd/doorward/process
LONGEST := ./test/interop ./test/security ./storage ./test/pages ./test/vendors ./cmd/doorward
REST = $$(go list ./... | grep -vxF "$$(go list $(LONGEST) ./test/gateways)")

# Compilers and tests collect garbage less often than Go does by itself: that saves a quarter of the time to compile.
test: export GOGC := 400

# On a new machine, packages are compiled while others are downloaded.
.PHONY: test
test: ## all tests, the longest packages first; installs what they need the first time
	@$(MAKE) --no-print-directory -j2 setup compiled
	@CGO_ENABLED=0 DOORWARD_TEST_FULL=1 go run ./test/postgres/run $(RECORD) -- \
		env CGO_ENABLED=1 DOORWARD_TEST_ONLY=at-once $(GOTEST) -p $(CORES) $(RACE) -shuffle=on -timeout 30m $(DETECTED) -- \
		env CGO_ENABLED=1 $(GOTEST) $(RACE) -run Serve ./cmd/doorward --- \
		$(GOTEST) -p $$(($(CORES) * 2)) -shuffle=on -timeout 30m $(LONGEST) $(REST)

.PHONY: test-times
test-times: RECORD = -record docs/test-times.md
test-times: test ## all tests; writes how long each package took to docs/test-times.md

.PHONY: test-short
test-short: ## the tests that need only Go
	CGO_ENABLED=0 go test -short ./...
	@echo "skipped: tests that need PostgreSQL, a browser, proxies and the clients of others; make test installs these"

.PHONY: setup
setup: ## install what tests need beside Go: PostgreSQL, Chromium, Node packages and others
	@CGO_ENABLED=0 go run ./test/setup/install

.PHONY: compiled
compiled:
	@CGO_ENABLED=0 go list -deps -test -export ./... >/dev/null

.PHONY: lint
lint: ## go vet and golangci-lint
	go vet ./...
	$(GOLANGCI) run

.PHONY: vuln
vuln: ## known vulnerabilities in dependencies; asks the Go vulnerability database
	go tool -modfile=tools/go.mod govulncheck ./...

.PHONY: generate
generate: ## Go code from templates, formatting, and the list of security tests
	go tool templ generate
	$(GOLANGCI) fmt
	go run ./test/security/list

.PHONY: check
check: lint ## all that must hold before a change goes in: lint, nothing left to generate, test
	@before=$$(git status --porcelain; git diff | git hash-object --stdin); $(MAKE) --no-print-directory generate && \
	after=$$(git status --porcelain; git diff | git hash-object --stdin); \
	[ "$$before" = "$$after" ] || { echo "make generate changed files: commit what it made"; git status --short; exit 1; }
	@$(MAKE) --no-print-directory test

.PHONY: bench
bench: setup ## speed against a bare handler and pgbench; writes docs/benchmarks.md
	go run ./test/bench

.PHONY: faults
faults: setup ## kills, restarts and cut connections under load; writes docs/faults.md
	DOORWARD_TEST_FULL=1 go test -tags faults -count=1 -timeout 25m -v ./test/faults -args -update $(FAULTS)
	DOORWARD_TEST_FULL=1 go test -tags faults -count=1 -timeout 20m -run 'F16_|H04_' ./test/gateways

.PHONY: up
up: .env ## Doorward and PostgreSQL in containers, at http://localhost:8080
	docker compose up --build --detach --wait

# The database takes the password when its volume is made, so this file is to stay as long as that.
.env:
	@umask 077; printf 'POSTGRES_PASSWORD=%s\n' "$$(head -c 24 /dev/urandom | od -An -tx1 | tr -d ' \n')" > $@
	@echo "made .env with a password for the database"
