package web

import (
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"doorward/oauth"
	"doorward/oauth/bearer"
	"doorward/storage"
)

// metrics are the metrics of the admin listener. No label contains text from a request, except those listed in methods.
type metrics struct {
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	grants   *prometheus.CounterVec
	refusals *prometheus.CounterVec
	logins   *prometheus.CounterVec
	notSent  *prometheus.CounterVec

	mu     sync.RWMutex
	series map[series]observed // because finding a child by its labels costs more than counting
}

// series is a combination of labels.
type series struct {
	route, method string
	status        int
}

// observed has the metrics of a series.
type observed struct {
	requests prometheus.Counter
	duration prometheus.Observer
}

func newMetrics(registry *prometheus.Registry, store *storage.Store) *metrics {
	m := &metrics{
		series: map[series]observed{},
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "doorward_http_requests_total", Help: "Requests answered, by route, method and status.",
		}, []string{"route", "method", "status"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "doorward_http_request_duration_seconds",
			Help:    "Time from a request's headers to the end of its answer, by route.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5},
		}, []string{"route"}),
		grants: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "doorward_tokens_issued_total", Help: "Successful token requests, by grant type.",
		}, []string{"grant_type"}),
		refusals: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "doorward_oauth_errors_total", Help: "OAuth errors answered, by error code.",
		}, []string{"error"}),
		logins: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "doorward_logins_total", Help: "Attempts to sign in with a password or a code, by outcome.",
		}, []string{"outcome"}),
		notSent: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "doorward_emails_not_sent_total",
			Help: "Emails that visitors asked for and that were not sent, because too many were asked for, by kind.",
		}, []string{"kind"}),
	}
	registry.MustRegister(m.requests, m.duration, m.grants, m.refusals, m.logins, m.notSent,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), pools{store})
	return m
}

// pools collects the state of the store's connection pools.
type pools struct{ store *storage.Store }

var (
	poolMax = prometheus.NewDesc(
		"doorward_database_connections_max", "Connections that a pool may open.", []string{"pool"}, nil,
	)
	poolNow = prometheus.NewDesc(
		"doorward_database_connections", "Connections of a pool, by state.", []string{"pool", "state"}, nil,
	)
	poolWaited = prometheus.NewDesc(
		"doorward_database_wait_seconds_total", "Total time that statements waited for a connection.", []string{"pool"},
		nil,
	)
)

// Describe implements prometheus.Collector.
func (p pools) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(p, ch) }

// Collect implements prometheus.Collector.
func (p pools) Collect(ch chan<- prometheus.Metric) {
	for name, s := range p.store.PoolStats() {
		ch <- prometheus.MustNewConstMetric(poolMax, prometheus.GaugeValue, float64(s.Max), name)
		ch <- prometheus.MustNewConstMetric(poolNow, prometheus.GaugeValue, float64(s.InUse), name, "in_use")
		ch <- prometheus.MustNewConstMetric(poolNow, prometheus.GaugeValue, float64(s.Idle), name, "idle")
		ch <- prometheus.MustNewConstMetric(poolWaited, prometheus.CounterValue, s.Waited.Seconds(), name)
	}
}

// inMemory collects what the verifier of credentials keeps in memory.
type inMemory struct {
	verifier *bearer.Verifier
	store    *storage.Store
}

var (
	cacheRequests = prometheus.NewDesc("doorward_cache_requests_total",
		"Credentials that were found in memory (hit) and that were not (miss).", []string{"result"}, nil)
	cacheCurrent = prometheus.NewDesc("doorward_cache_current",
		"1 if credentials are looked up in memory; 0 if the cache is off, or changes by other servers cannot be seen.", nil, nil)
)

// Describe implements prometheus.Collector.
func (m inMemory) Describe(ch chan<- *prometheus.Desc) {
	ch <- cacheRequests
	ch <- cacheCurrent
}

// Collect implements prometheus.Collector.
func (m inMemory) Collect(ch chan<- prometheus.Metric) {
	hits, misses := m.verifier.CacheStats()
	ch <- prometheus.MustNewConstMetric(cacheRequests, prometheus.CounterValue, float64(hits), "hit")
	ch <- prometheus.MustNewConstMetric(cacheRequests, prometheus.CounterValue, float64(misses), "miss")
	current := 0.0
	if m.store.Current() {
		current = 1
	}
	ch <- prometheus.MustNewConstMetric(cacheCurrent, prometheus.GaugeValue, current)
}

// methods are the HTTP methods that the server accepts, and that a label may have.
var methods = map[string]bool{
	http.MethodGet: true, http.MethodHead: true, http.MethodPost: true, http.MethodPut: true, http.MethodPatch: true,
	http.MethodDelete: true, http.MethodOptions: true,
}

func (m *metrics) observe(route, method string, status int, took time.Duration, fields *oauth.LogFields) {
	if !methods[method] {
		method = "other"
	}
	if route == "" {
		route = "none"
	}
	key := series{route, method, status}
	m.mu.RLock()
	o, ok := m.series[key]
	m.mu.RUnlock()
	if !ok {
		o = observed{
			m.requests.WithLabelValues(route, method, strconv.Itoa(status)), m.duration.WithLabelValues(route),
		}
		m.mu.Lock()
		m.series[key] = o
		m.mu.Unlock()
	}
	o.requests.Inc()
	o.duration.Observe(took.Seconds())
	if fields.ErrorCode != "" {
		m.refusals.WithLabelValues(fields.ErrorCode).Inc()
	} else if fields.GrantType != "" && status == http.StatusOK {
		m.grants.WithLabelValues(fields.GrantType).Inc()
	}
}
