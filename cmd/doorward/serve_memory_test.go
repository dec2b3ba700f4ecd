package main

import (
	"context"
	"errors"
	"log/slog"
	"testing"

	"doorward/config"
)

// errServed ends serve once a test has seen the server.
var errServed = errors.New("served")

// TestCacheAndLimitsAreWhereTheConfigurationSays starts servers with each value of cache and limits.
func TestCacheAndLimitsAreWhereTheConfigurationSays(t *testing.T) {
	onEachEngine(t, func(t *testing.T, c *cli) {
		for _, x := range []struct {
			vars             map[string]string
			current          bool
			memory, database bool // limits are counted in memory: on SQLite, on PostgreSQL
		}{
			{nil, true, true, false},
			{map[string]string{"DOORWARD_CACHE": "on", "DOORWARD_LIMITS": "memory"}, true, true, true},
			{map[string]string{"DOORWARD_CACHE": "off", "DOORWARD_LIMITS": "database"}, false, false, false},
		} {
			for _, name := range []string{"DOORWARD_CACHE", "DOORWARD_LIMITS"} {
				delete(c.vars, name)
				if v, ok := x.vars[name]; ok {
					c.vars[name] = v
				}
			}
			conf, err := config.Load("", map[string][]string{"listen": {"127.0.0.1:0"}, "admin_listen": {""}}, environ(c.vars))
			if err != nil {
				t.Fatal(err)
			}
			err = serve(t.Context(), conf, slog.New(slog.DiscardHandler), nil, func(s *services, _ []string) error {
				if err := s.store.CatchUp(context.WithoutCancel(t.Context())); err != nil {
					t.Error(err)
				}
				if s.store.Current() != x.current {
					t.Errorf("%v: answers come from memory: %v, want %v", x.vars, s.store.Current(), x.current)
				}
				want := x.memory
				if s.store.Engine() == "postgresql" {
					want = x.database
				}
				if got := s.limits != nil; got != want {
					t.Errorf("%v: limits are counted in memory: %v, want %v", x.vars, got, want)
				}
				return errServed
			})
			if !errors.Is(err, errServed) {
				t.Fatal(err)
			}
		}
	})
}
