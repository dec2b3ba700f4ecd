package management

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"doorward/oauth/bearer"
	"doorward/oauth/seal"
	"doorward/storage"
)

// expiryNotices are the days before its expiry at which the readers of a key are told, the last one first.
var expiryNotices = []int{1, 3, 14}

const (
	// noticeBatch is how many expiring keys one query reads.
	noticeBatch = 100
	// noticeLifetime is how long a notice is tried.
	noticeLifetime = 24 * time.Hour
)

// NotifyExpiring writes the emails about API keys and personal access tokens that expire soon. Each is written once,
// also if several processes call this at once. A key that is found late, because no server was running, gets one email.
func (m *Manager) NotifyExpiring(ctx context.Context) error {
	if !m.sends {
		return nil
	}
	ctx = storage.System(ctx)
	for i, days := range expiryNotices {
		for {
			keys, err := m.store.ExpiringKeys(ctx, day(days), expiryPrefix(days), noticeBatch)
			if err != nil {
				return fmt.Errorf("look for keys that expire: %w", err)
			}
			for j := range keys {
				if err := m.notifyExpiring(ctx, &keys[j], expiryNotices[i:]); err != nil {
					return fmt.Errorf("notice that a key expires: %w", err)
				}
			}
			if len(keys) < noticeBatch {
				break
			}
		}
	}
	return nil
}

func day(n int) time.Duration { return time.Duration(n) * 24 * time.Hour }

// expiryPrefix and the id of a key are the name under which a notice is counted.
func expiryPrefix(days int) string { return "expires in " + strconv.Itoa(days) + " " }

// notifyExpiring writes the email for the first of the days; the others are then too late.
func (m *Manager) notifyExpiring(ctx context.Context, k *storage.APIKey, days []int) error {
	return m.store.InTx(ctx, func(ctx context.Context) error {
		for i, d := range days {
			// It is remembered until the key has expired.
			first, err := m.store.CountEmail(ctx, expiryPrefix(d)+k.ID, 1, day(d+1))
			if err != nil {
				return err
			}
			if i == 0 && !first {
				return nil // another process was faster
			}
		}
		return m.tellReaders(ctx, "key_expiring", k, k.ExpiresAt, map[string]string{"days": strconv.Itoa(days[0])})
	})
}

// tellReaders writes an email about a key to each of its readers, in the transaction of its context. at is the moment
// that the email names.
func (m *Manager) tellReaders(
	ctx context.Context, kind string, k *storage.APIKey, at storage.Time, detail map[string]string,
) error {
	detail["key"], detail["at"] = k.Name, at.Time().Format(time.RFC3339)
	detail["path"] = "/settings/developer/personal-access-tokens/" + k.ID
	if k.WorkspaceID != "" {
		w, err := m.store.WorkspaceByID(ctx, k.WorkspaceID)
		if errors.Is(err, storage.ErrNotFound) {
			return nil // deleted meanwhile, with its keys
		}
		if err != nil {
			return err
		}
		detail["workspace"], detail["path"] = w.Name, "/settings/workspaces/"+w.Slug+"/api-keys/"+k.ID
	}
	readers, err := m.store.KeyReaders(ctx, k)
	if err != nil {
		return err
	}
	expires := m.store.Now().Add(noticeLifetime)
	for i := range readers {
		u := &readers[i]
		e := m.secrets.NewEmail(ctx, kind, u, u.Email, seal.EmailSecrets{}, detail, expires)
		if err := m.store.InsertEmail(ctx, e); err != nil {
			return err
		}
	}
	return nil
}

// tellRevoked writes the emails about an API key that was revoked, unless the members of its workspace did it
// themselves, in the transaction of its context. reason is "leaked", for someone who showed the key, or empty.
func (m *Manager) tellRevoked(ctx context.Context, by *Authority, k *storage.APIKey, reason string) error {
	if !m.sends || !by.Administrator || k.Kind != bearer.KindAPIKey {
		return nil
	}
	return m.tellReaders(ctx, "key_revoked", k, k.RevokedAt, map[string]string{"reason": reason})
}
