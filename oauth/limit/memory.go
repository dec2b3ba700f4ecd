package limit

import (
	"container/list"
	"context"
	"slices"
	"sync"

	"doorward/storage"
)

// countersBound is how many counters Memory remembers; the least recently used one makes room.
const countersBound = 1_000_000

// Memory is a Limiter that counts in memory, for one node. Call Load at start, and Save at intervals and at the end:
// counts that were not saved are lost with the process.
type Memory struct {
	store *storage.Store
	bound int

	saving sync.Mutex // one Save at a time

	mu       sync.Mutex
	counters map[string]*list.Element
	order    *list.List // of *counted, the least recently used in front
	unsaved  []*counted // those whose field unsaved is set
}

type counted struct {
	storage.Limit
	unsaved bool // used since it was saved
}

// NewMemory returns a Memory that saves to store and uses its clock.
func NewMemory(store *storage.Store) *Memory {
	return &Memory{store: store, bound: countersBound, counters: map[string]*list.Element{}, order: list.New()}
}

// Take implements Limiter. It fails only for invalid arguments.
func (m *Memory) Take(_ context.Context, counter string, cost int64, plan Plan) (Result, error) {
	if err := check(counter, cost, plan); err != nil {
		return Result{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	c := charge(m.store.Now(), cost, plan)
	var x counted
	element := m.counters[counter]
	if element != nil {
		x = *element.Value.(*counted)
	}
	if exceeds(cost, plan) {
		return result(x.LimitState, c, plan, false), nil
	}
	var admitted bool
	x.LimitState, admitted = take(x.LimitState, c)
	if admitted {
		x.ExpiresAt = c.ExpiresAt
	}
	x.Counter = counter
	m.unsave(m.put(x.Limit, c.At))
	return result(x.LimitState, c, plan, admitted), nil
}

// put remembers a counter, as the most recently used one.
func (m *Memory) put(l storage.Limit, now storage.Time) *counted {
	if element := m.counters[l.Counter]; element != nil {
		x := element.Value.(*counted)
		x.Limit = l
		m.order.MoveToBack(element)
		return x
	}
	for range 2 { // drop more than is added, so that expired counters go in time
		if oldest := m.order.Front(); oldest != nil &&
			(len(m.counters) >= m.bound || oldest.Value.(*counted).ExpiresAt < now) {
			delete(m.counters, m.order.Remove(oldest).(*counted).Counter)
		}
	}
	x := &counted{Limit: l, unsaved: false}
	m.counters[l.Counter] = m.order.PushBack(x)
	return x
}

// unsave notes that the next Save writes a counter.
func (m *Memory) unsave(x *counted) {
	if !x.unsaved {
		x.unsaved = true
		m.unsaved = append(m.unsaved, x)
	}
}

// saveBatch is how many counters Save copies while requests wait.
const saveBatch = 1000

// Save writes the counters that were used since they were last saved. Those that could not be written, the next call
// writes.
func (m *Memory) Save(ctx context.Context) error {
	m.saving.Lock()
	defer m.saving.Unlock()
	m.mu.Lock()
	unsaved := m.unsaved
	m.unsaved = nil
	m.mu.Unlock()
	for len(unsaved) > 0 {
		some := unsaved[:min(len(unsaved), saveBatch)]
		copies := make([]storage.Limit, len(some))
		m.mu.Lock()
		for i, x := range some {
			copies[i], x.unsaved = x.Limit, false // a use from now on is for the next Save
		}
		m.mu.Unlock()
		if err := m.store.SaveLimits(storage.System(ctx), copies); err != nil {
			m.keep(some, unsaved[len(some):])
			return err
		}
		unsaved = unsaved[len(some):]
	}
	return nil
}

// keep puts back the counters that Save could not write: some, which it had taken already, and the others.
func (m *Memory) keep(some, others []*counted) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, x := range others {
		x.unsaved = false
	}
	for _, x := range slices.Concat(some, others) {
		if element := m.counters[x.Counter]; element != nil && element.Value.(*counted) == x { // not forgotten since
			m.unsave(x)
		}
	}
}

// Load reads the saved counters. Call it before the first request.
func (m *Memory) Load(ctx context.Context) error {
	m.saving.Lock()
	defer m.saving.Unlock()
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.store.Now()
	return m.store.LoadLimits(storage.System(ctx), func(l storage.Limit) { m.put(l, now) })
}
