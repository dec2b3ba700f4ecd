package limit

import (
	"container/list"
	"context"
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
	saved  uint64     // the last use that is saved

	mu       sync.Mutex
	counters map[string]*list.Element
	order    *list.List // of *counted, the least recently used in front
	uses     uint64
}

type counted struct {
	storage.Limit
	use uint64 // number of the last use; increases along the list
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
	m.put(x.Limit, c.At)
	return result(x.LimitState, c, plan, admitted), nil
}

// put remembers a counter, as the most recently used one.
func (m *Memory) put(l storage.Limit, now storage.Time) {
	m.uses++
	if element := m.counters[l.Counter]; element != nil {
		*element.Value.(*counted) = counted{l, m.uses}
		m.order.MoveToBack(element)
		return
	}
	for range 2 { // drop more than is added, so that expired counters go in time
		if oldest := m.order.Front(); oldest != nil &&
			(len(m.counters) >= m.bound || oldest.Value.(*counted).ExpiresAt < now) {
			delete(m.counters, m.order.Remove(oldest).(*counted).Counter)
		}
	}
	m.counters[l.Counter] = m.order.PushBack(&counted{l, m.uses})
}

// Save writes the counters that were used since the last Save.
func (m *Memory) Save(ctx context.Context) error {
	m.saving.Lock()
	defer m.saving.Unlock()
	m.mu.Lock()
	uses := m.uses
	var used []storage.Limit
	for element := m.order.Back(); element != nil; element = element.Prev() {
		x := element.Value.(*counted)
		if x.use <= m.saved {
			break
		}
		used = append(used, x.Limit)
	}
	m.mu.Unlock()
	if err := m.store.SaveLimits(storage.System(ctx), used); err != nil {
		return err
	}
	m.saved = uses
	return nil
}

// Load reads the saved counters. Call it before the first request.
func (m *Memory) Load(ctx context.Context) error {
	m.saving.Lock()
	defer m.saving.Unlock()
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.store.Now()
	err := m.store.LoadLimits(storage.System(ctx), func(l storage.Limit) { m.put(l, now) })
	m.saved = m.uses
	return err
}
