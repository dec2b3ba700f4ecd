package storage

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
)

// EmailProof is a link, with or without a code, that is sent by email: using it proves that the user reads the emails
// of an address.
type EmailProof struct {
	ID      string
	Kind    string // what it is for: one of the Proof constants
	Subject string // EmailKey of the address, or the id of the user: a newer proof of the kind ends the older one
	Digest  []byte // SHA-256 of the token in the link
	Code    string // keyed hash of the code; empty: there is none, or it was tried too often
	Tries   int64  // wrong codes
	Browser []byte // SHA-256 of the cookie of the browser that asked; nil: none did
	UserID  string // whose account it is about; empty: there is none, so it never works
	Email   string // the address that it proves
	// Detail holds values of the page that asked, such as where to continue.
	Detail    map[string]string
	CreatedAt Time
	ExpiresAt Time
	ProvenAt  Time   // when the link or code was used; zero: not yet
	Prover    []byte // SHA-256 of the cookie of the browser that used it
	UsedAt    Time   // when what it is for was done; zero: not yet
}

// The kinds of proofs.
const (
	ProofSignIn   = "sign_in"  // sign in by link or code; the subject is an address
	ProofSignUp   = "sign_up"  // create an account; the subject is an address
	ProofReset    = "reset"    // choose a new password; the subject is an address
	ProofAddress  = "address"  // change an account's address to this one; the subject is a user
	ProofUndo     = "undo"     // go back to this address; the subject is a user and the address
	ProofFactor   = "factor"   // set up a second factor that the server asks for; the subject is a user
	ProofOperator = "operator" // a sign-in link that an operator created; the subject is a user
)

const proofColumns = `p.id, p.kind, p.subject, p.digest, p.code, p.tries, p.browser, p.user_id, p.email, p.detail,
	p.created_at, p.expires_at, p.proven_at, p.prover, p.used_at`

func (p *EmailProof) fields(detail *string) []any {
	return []any{
		&p.ID, &p.Kind, &p.Subject, &p.Digest, &p.Code, &p.Tries, &p.Browser, &p.UserID, &p.Email, detail, &p.CreatedAt,
		&p.ExpiresAt, &p.ProvenAt, &p.Prover, &p.UsedAt,
	}
}

// InsertEmailProof adds a proof. It ends the earlier one of the same kind and subject. CreatedAt is set to now.
func (s *Store) InsertEmailProof(ctx context.Context, p EmailProof) error {
	detail, err := json.Marshal(p.Detail)
	if err != nil {
		return fmt.Errorf("proof of an address: %w", err)
	}
	_, err = s.exec(ctx, plain(`INSERT INTO email_proofs (id, kind, subject, digest, code, browser, user_id, email,
		email_key, detail, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
		ON CONFLICT (kind, subject) DO UPDATE SET id = excluded.id, digest = excluded.digest, code = excluded.code, tries = 0,
		browser = excluded.browser, user_id = excluded.user_id, email = excluded.email, email_key = excluded.email_key,
		detail = excluded.detail, created_at = excluded.created_at, expires_at = excluded.expires_at, proven_at = NULL,
		prover = NULL, used_at = NULL`), p.ID, p.Kind, p.Subject, p.Digest, p.Code, p.Browser, p.UserID, p.Email,
		EmailKey(p.Email), string(detail), s.Now(), p.ExpiresAt)
	return err
}

// EmailProofByDigest finds the proof of a link that has not expired, used or not. It returns ErrNotFound if there is
// none.
func (s *Store) EmailProofByDigest(ctx context.Context, kind string, digest []byte) (EmailProof, error) {
	return s.emailProof(ctx, `p.kind = $2 AND p.digest = $3`, kind, digest)
}

// EmailProofOfBrowser finds the newest proof that a browser asked for and that has not expired, used or not. It returns
// ErrNotFound if there is none.
func (s *Store) EmailProofOfBrowser(ctx context.Context, kind string, browser []byte) (EmailProof, error) {
	return s.emailProof(ctx, `p.kind = $2 AND p.browser = $3`, kind, browser)
}

// EmailProofOfProver finds the newest proof that was used in a browser and that has not expired. It returns ErrNotFound
// if there is none.
func (s *Store) EmailProofOfProver(ctx context.Context, kind string, browser []byte) (EmailProof, error) {
	return s.emailProof(ctx, `p.kind = $2 AND p.prover = $3`, kind, browser)
}

func (s *Store) emailProof(ctx context.Context, where, kind string, key []byte) (p EmailProof, err error) {
	if len(key) == 0 {
		return p, ErrNotFound
	}
	var detail string
	err = s.one(ctx, p.fields(&detail), plain(`SELECT `+proofColumns+` FROM email_proofs p WHERE `+where+`
		AND p.expires_at > $1 ORDER BY p.created_at DESC, p.id DESC LIMIT 1`), s.Now(), kind, key)
	if err == nil {
		if err = json.Unmarshal([]byte(detail), &p.Detail); err != nil {
			err = fmt.Errorf("proof of an address: %w", err)
		}
	}
	return p, err
}

// maxCodeTries is how many wrong codes end a code.
const maxCodeTries = 5

// TakeCodeTry counts a try of the code of a proof, and returns the keyed hash of the code to compare with. It is empty
// if the proof has no code, or if it was used, has expired or was tried five times. Of many tries at once, each is
// counted.
func (s *Store) TakeCodeTry(ctx context.Context, id string) (code string, err error) {
	_, err = s.execReturning(ctx, []any{&code}, plain(`UPDATE email_proofs SET tries = tries + 1 WHERE id = $1
		AND tries < $2 AND proven_at IS NULL AND used_at IS NULL AND expires_at > $3 RETURNING code`), id, maxCodeTries,
		s.Now())
	return code, err
}

// ProveEmail records that the link or code of a proof was used in a browser. Of many requests at once, only one
// succeeds; the others get ErrConsumed. code is the keyed hash of the code that was entered; empty: the link was used.
func (s *Store) ProveEmail(ctx context.Context, id, code string, browser []byte) error {
	return s.execOne(ctx, ErrConsumed, plain(`UPDATE email_proofs SET proven_at = $2, prover = $3 WHERE id = $1
		AND proven_at IS NULL AND used_at IS NULL AND expires_at > $2 AND ($4 = '' OR code = $4)`), id, s.Now(), browser,
		code)
}

// UseEmailProof records that what a proof is for was done. Of many requests at once, only one succeeds; the others get
// ErrConsumed.
func (s *Store) UseEmailProof(ctx context.Context, id string) error {
	return s.execOne(ctx, ErrConsumed, plain(`UPDATE email_proofs SET used_at = $2 WHERE id = $1 AND used_at IS NULL
		AND expires_at > $2`), id, s.Now())
}

// EndEmailProofs ends the links and codes for an account, of these kinds.
func (s *Store) EndEmailProofs(ctx context.Context, userID string, kinds ...string) error {
	for _, kind := range kinds {
		if _, err := s.exec(ctx, plain(`DELETE FROM email_proofs WHERE user_id = $1 AND kind = $2`), userID,
			kind); err != nil {
			return err
		}
	}
	return nil
}

// EndLaterUndos ends the undos of changes of a user's address after a time: the undo of an older address wins.
func (s *Store) EndLaterUndos(ctx context.Context, userID string, after Time) error {
	_, err := s.exec(ctx, plain(`DELETE FROM email_proofs WHERE user_id = $1 AND kind = $2 AND created_at > $3`), userID,
		ProofUndo, after)
	return err
}

// AddressHeld reports whether an undo can give an address back to an account other than userID.
func (s *Store) AddressHeld(ctx context.Context, email, userID string) (bool, error) {
	var held bool
	err := s.one(ctx, []any{&held}, plain(`SELECT EXISTS (SELECT 1 FROM email_proofs p JOIN users u ON u.id = p.user_id
		WHERE p.kind = $1 AND p.email_key = $2 AND p.user_id <> $3 AND p.used_at IS NULL AND p.expires_at > $4)`),
		ProofUndo, EmailKey(email), userID, s.Now())
	return held, err
}

// AskedBy reports whether the browser with a cookie of this digest asked for the proof.
func (p *EmailProof) AskedBy(browser []byte) bool {
	return p.Browser != nil && bytes.Equal(p.Browser, browser)
}

// ProvenBy reports whether the proof was used in the browser with a cookie of this digest.
func (p *EmailProof) ProvenBy(browser []byte) bool {
	return p.Prover != nil && bytes.Equal(p.Prover, browser)
}
