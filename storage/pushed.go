package storage

import "context"

// PushedRequest is an authorization request that a client sent directly (RFC 9126).
type PushedRequest struct {
	Digest    []byte // SHA-256 of the request_uri
	ClientID  string
	Request   string // the validated parameters, as JSON
	ExpiresAt Time   // of the request_uri
	UsedAt    Time   // when a user answered it; zero: not yet
}

// InsertPushedRequest adds a pushed request.
func (s *Store) InsertPushedRequest(ctx context.Context, p PushedRequest) error {
	_, err := s.exec(ctx, plain(`INSERT INTO pushed_requests (digest, client_id, request, expires_at)
		VALUES ($1, $2, $3, $4)`), p.Digest, p.ClientID, p.Request, p.ExpiresAt)
	return err
}

// PushedRequestByDigest finds a pushed request, answered or not, expired or not. It returns ErrNotFound if there is
// none, or if it was purged.
func (s *Store) PushedRequestByDigest(ctx context.Context, digest []byte) (PushedRequest, error) {
	p := PushedRequest{Digest: digest}
	err := s.one(ctx, []any{&p.ClientID, &p.Request, &p.ExpiresAt, &p.UsedAt}, plain(`SELECT client_id, request,
		expires_at, used_at FROM pushed_requests WHERE digest = $1`), digest)
	return p, err
}

// ConsumePushedRequest marks a pushed request as answered. It returns ErrConsumed if it was answered before, or does
// not exist.
func (s *Store) ConsumePushedRequest(ctx context.Context, digest []byte) error {
	return s.execOne(ctx, ErrConsumed, plain(`UPDATE pushed_requests SET used_at = $2 WHERE digest = $1
		AND used_at IS NULL`), digest, s.Now())
}
