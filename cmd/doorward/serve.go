package main

// serveCommand runs the server. Its flags are the settings of the configuration's top level.
type serveCommand struct {
	Issuer             *string  `help:"The server's own URL, as apps and browsers see it. Default: http://localhost:8080" placeholder:"URL"`
	Listen             []string `sep:"none" help:"Address to listen on; repeat for several. Default: 127.0.0.1:8080" placeholder:"HOST:PORT"`
	AdminListen        *string  `help:"Address of metrics and pprof; empty for none. Default: 127.0.0.1:8081" placeholder:"HOST:PORT"`
	DatabaseURL        *string  `name:"database-url" help:"sqlite:PATH or postgres://... Default: sqlite:data/doorward.db" placeholder:"URL"`
	DatabaseMigrateURL *string  `name:"database-migrate-url" help:"PostgreSQL login that may change the schema, when that of --database-url may not." placeholder:"URL"`
	TrustedProxies     []string `sep:"none" help:"Proxy whose X-Forwarded-* headers count; repeat for several." placeholder:"CIDR"`
	SignUp             *string  `help:"Who may make an account: closed." placeholder:"closed"`
	AuditRetention     *string  `help:"How long audit events are kept. Default: 400d" placeholder:"DURATION"`
	UsageRetention     *string  `help:"How long usage is kept. Default: 400d" placeholder:"DURATION"`
}

// settings are the flags given, by the key of the configuration.
func (s serveCommand) settings() map[string][]string {
	given := map[string][]string{}
	for key, value := range map[string]*string{
		"issuer": s.Issuer, "admin_listen": s.AdminListen, "database_url": s.DatabaseURL, "database_migrate_url": s.DatabaseMigrateURL,
		"sign_up": s.SignUp, "audit_retention": s.AuditRetention, "usage_retention": s.UsageRetention,
	} {
		if value != nil {
			given[key] = []string{*value}
		}
	}
	for key, values := range map[string][]string{"listen": s.Listen, "trusted_proxies": s.TrustedProxies} {
		if values != nil {
			given[key] = values
		}
	}
	return given
}
