package gateway

import (
	"net/netip"
	"sync"
	"time"

	"doorward/oauth/limit"
)

// Concurrency bounds the concurrent requests without a credential. Zero means no bound.
type Concurrency struct {
	Total      int
	PerAddress int // per IPv4 address, or /64 of IPv6
}

// anonymousCount counts the running anonymous requests of an API.
type anonymousCount struct {
	mu    sync.Mutex
	total int
	by    map[string]int
}

// enter counts a request until leave is called, or refuses it.
func (c *anonymousCount) enter(from netip.Addr, most Concurrency) (leave func(), refusal *Refusal) {
	key := limit.AddressKey(from)
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case most.PerAddress > 0 && c.by[key] >= most.PerAddress:
		return nil, &Refusal{
			Kind:       Limited,
			Detail:     "Too many concurrent requests from your IP address; wait until some have finished.",
			RetryAfter: time.Second,
		}
	case most.Total > 0 && c.total >= most.Total:
		return nil, &Refusal{
			Kind:       Unavailable,
			Detail:     "Too many concurrent requests; try again shortly.",
			RetryAfter: time.Second,
			Cause:      errTooManyAnonymous,
		}
	}
	if c.by == nil {
		c.by = map[string]int{}
	}
	c.total++
	c.by[key]++
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.total--
		if c.by[key]--; c.by[key] == 0 {
			delete(c.by, key)
		}
	}, nil
}
