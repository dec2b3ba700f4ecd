package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"doorward/oauth/seal"
	"doorward/storage"
	"doorward/web/gateway"
)

// reply is a response before it is written.
type reply struct {
	status   int
	body     []byte // empty: none
	replayed bool   // it is the stored response to an earlier request with the same Idempotency-Key
}

func (a reply) write(w http.ResponseWriter) {
	if a.replayed {
		w.Header().Set("Idempotency-Replayed", "true")
	}
	if len(a.body) == 0 {
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(a.status)
		return
	}
	gateway.WriteJSON(w, a.status, a.body)
}

// action is what an operation does after its request was read. It may run more than once, see storage.InTx.
type action func(ctx context.Context) (any, error)

// act runs the operation. A tenant's operation runs in one transaction, and a request with an Idempotency-Key only
// once.
func (c *call) act(ctx context.Context, do action) (reply, error) {
	run := func(ctx context.Context) (reply, error) {
		answer, err := do(ctx)
		if err != nil || c.op.status == http.StatusNoContent {
			return reply{status: c.op.status}, err
		}
		body, err := json.Marshal(answer)
		if err != nil {
			return reply{}, fmt.Errorf("write the answer: %w", err)
		}
		return reply{status: c.op.status, body: body}, nil
	}
	ctx = c.withStorageScope(ctx)
	key, err := c.idempotencyKey()
	if err != nil {
		return reply{}, err
	}
	switch {
	case key != "":
		return c.once(ctx, key, run)
	case c.op.storageScope == asSystem:
		return run(ctx) // the operation has its own transactions
	}
	var done reply
	err = c.store.InTx(ctx, func(ctx context.Context) (err error) { done, err = run(ctx); return err })
	return done, err
}

// idempotencyKey returns the Idempotency-Key of a POST request; empty: there is none.
func (c *call) idempotencyKey() (string, error) {
	values := c.r.Header.Values("Idempotency-Key")
	if c.r.Method != http.MethodPost || len(values) == 0 {
		return "", nil
	}
	fits := len(values) == 1 && len(values[0]) >= 1 && len(values[0]) <= 255
	for i := 0; fits && i < len(values[0]); i++ {
		fits = values[0][i] > ' ' && values[0][i] <= '~'
	}
	if !fits {
		return "", badRequest("Send Idempotency-Key once, with 1 to 255 visible ASCII characters.")
	}
	return values[0], nil
}

var errAnswered = errors.New("answered already")

// once runs a change and stores its response in the same transaction, so that the same request, later or concurrently,
// gets the same response.
func (c *call) once(ctx context.Context, key string, run func(context.Context) (reply, error)) (reply, error) {
	digest := digestOf("idempotency key", c.caller(), key)
	request := digestOf(c.r.Method, c.r.URL.RequestURI(), c.by.WorkspaceID, string(c.body))
	if before, err := c.kept(ctx, digest, request); !errors.Is(err, storage.ErrNotFound) {
		return before, err
	}
	var done reply
	err := c.store.InTx(ctx, func(ctx context.Context) (err error) {
		if done, err = run(ctx); err != nil {
			return err
		}
		err = c.store.KeepAnswer(ctx, storage.IdempotentAnswer{
			Digest: digest, WorkspaceID: c.by.WorkspaceID, UserID: c.by.UserID, Request: request, Status: done.status,
			Answer: c.secrets.Seal(seal.AnswerPurpose(digest), done.body),
		})
		if errors.Is(err, storage.ErrExists) {
			err = errAnswered
		}
		return err
	})
	if err == nil {
		return done, nil
	}
	// The error may be a conflict with a concurrent request with the same key that was faster.
	before, lookup := c.kept(ctx, digest, request)
	switch {
	case !errors.Is(lookup, storage.ErrNotFound):
		return before, lookup
	case errors.Is(err, errAnswered):
		return reply{}, conflict("This Idempotency-Key has expired; use a new one.")
	}
	return reply{}, err
}

// kept returns the stored response to an earlier request. storage.ErrNotFound: there is none.
func (c *call) kept(ctx context.Context, digest, request []byte) (reply, error) {
	var answer storage.IdempotentAnswer
	err := c.store.InTx(ctx, func(ctx context.Context) (err error) {
		answer, err = c.store.KeptAnswer(ctx, digest)
		return err
	})
	if err != nil {
		return reply{}, err
	}
	if !bytes.Equal(answer.Request, request) {
		return reply{}, conflict(keyOfAnotherRequest)
	}
	body, err := c.secrets.Open(seal.AnswerPurpose(digest), answer.Answer)
	if err != nil {
		return reply{}, conflict("The response to this Idempotency-Key is no longer available; use a new one.")
	}
	return reply{status: answer.Status, body: body, replayed: true}, nil
}

// digestOf returns a digest of several texts, which also depends on where each ends.
func digestOf(parts ...string) []byte {
	sum := sha256.New()
	for _, part := range parts {
		fmt.Fprintf(sum, "%d:%s", len(part), part)
	}
	return sum.Sum(nil)
}
