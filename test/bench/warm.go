package main

import "context"

// warmRows are checks that the server answers from memory, and metadata.
func (b *bench) warmRows() []*row {
	const about = "Every credential was checked before, so no statement runs. The bare handler parses the same " +
		"form and writes a body of the same length. What limits it is the processor: HTTP, the client's secret, " +
		"the log line, metrics and JSON, beside the same work of the load driver, which shares it."
	keys := "Like introspection, and every key has a plan with three windows, which is counted in the server's " +
		"memory. Counting, and noting the use for the owner of the key, comes on top."
	database := "The same with the counters in PostgreSQL, as several servers need them. Each check waits for its " +
		"commit; the checks that arrive meanwhile share the next one. The database's work and its disk limit it."
	return []*row{
		b.againstBare("introspection, warm", "PostgreSQL", about, 0.55, reads, warm, false),
		b.againstBare("introspection, warm", "SQLite", about, 0.55, liteReads, warm, false),
		b.againstBare("key check with limit in memory", "PostgreSQL", keys, 0.55, reads, warm, true),
		b.againstBare("key check with limit in memory", "SQLite", keys, 0.55, liteReads, warm, true),
		b.againstBare("key check with limit in the database", "PostgreSQL", database, 0.20, reads, shared, true),
		b.metadata(),
	}
}

// againstBare introspects the tokens or checks the keys of a database.
func (b *bench) againstBare(topic, variant, about string, want float64, name, configuration string, keys bool) *row {
	var ours, bare load
	return &row{
		topic: topic, variant: variant, about: about, limit: "bare handler", want: want,
		setup: func(ctx context.Context) (err error) {
			ours, bare, err = b.pair(ctx, name, configuration, keys)
			return err
		},
		ours:    func(ctx context.Context, _ int) (float64, error) { return b.wrk(ctx, ours) },
		against: func(ctx context.Context, _ int) (float64, error) { return b.wrk(ctx, bare) },
	}
}

// pair is the load for a server that has answered each request of it before, and the same load for a bare handler with
// answers of the same length.
func (b *bench) pair(ctx context.Context, name, configuration string, keys bool) (ours, bare load, err error) {
	s, p, err := b.on(ctx, name, configuration)
	if err != nil {
		return ours, bare, err
	}
	ours = load{url: p.url + "/oauth/introspect", bodies: s.tokenForms, authorization: s.asAPI()}
	if keys {
		ours.bodies = s.keyForms
	}
	size, err := answerSize(ctx, ours.url, ours.bodies, ours.authorization)
	if err != nil {
		return ours, bare, err
	}
	handler, err := b.bare(ctx, size)
	if err != nil {
		return ours, bare, err
	}
	bare = ours
	bare.url = handler.url
	_, err = b.askEach(ctx, ours, 0, -1)
	return ours, bare, err
}

func (b *bench) metadata() *row {
	var ours, bare load
	return &row{
		topic: "metadata", limit: "bare handler", want: 0.60,
		about: "The metadata of RFC 8414, which are made at start. HTTP and the log line limit it.",
		setup: func(ctx context.Context) (err error) {
			ours, bare, err = b.pairOfGet(ctx, reads, warm, "/.well-known/oauth-authorization-server")
			return err
		},
		ours:    func(ctx context.Context, _ int) (float64, error) { return b.wrk(ctx, ours) },
		against: func(ctx context.Context, _ int) (float64, error) { return b.wrk(ctx, bare) },
	}
}

// pairOfGet is the load that asks for a page or document, and the same load for a bare handler with a body of the same
// length.
func (b *bench) pairOfGet(ctx context.Context, name, configuration, path string) (ours, bare load, err error) {
	_, p, err := b.on(ctx, name, configuration)
	if err != nil {
		return ours, bare, err
	}
	ours.url = p.url + path
	body, err := fetch(ctx, ours.url)
	if err != nil {
		return ours, bare, err
	}
	handler, err := b.bare(ctx, len(body))
	if err == nil {
		bare.url = handler.url
	}
	return ours, bare, err
}
