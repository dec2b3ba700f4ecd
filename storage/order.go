package storage

import (
	"fmt"
	"math"
	"strconv"
)

// Order says in which order a list is read, and after which row it starts. The zero value is the list's default order,
// from its first row.
type Order struct {
	By         string // a column by which the list can be sorted; empty or unknown: the default order
	Descending bool   // ignored in the default order
	After      string // id of the last row of the previous page; empty: the first page
	Value      string // the value of that row in the column By (its OrderValue)
}

// orderColumn is a column by which a list can be sorted.
type orderColumn struct {
	expression string // in SQL; never null
	number     bool
}

// never sorts after all times: it is the expiry of a key that never expires.
const never = math.MaxInt64

// clause returns the condition for the rows after After, with parameters from number n on, and the order. Rows with the
// same value are in the order of their ids, so that each row is on exactly one page. Without a column, the order is
// that of the ids.
func (o Order) clause(columns map[string]orderColumn, id string, n int) (condition, order string, args []any) {
	column, ok := columns[o.By]
	if !ok {
		if o.After == "" {
			return "TRUE", id, nil
		}
		return fmt.Sprintf("%s > $%d", id, n), id, []any{o.After}
	}
	direction, beyond := "", ">"
	if o.Descending {
		direction, beyond = " DESC", "<"
	}
	order = column.expression + direction + ", " + id + direction
	if o.After == "" {
		return "TRUE", order, nil
	}
	condition = fmt.Sprintf("(%s, %s) %s ($%d, $%d)", column.expression, id, beyond, n, n+1)
	if !column.number {
		return condition, order, []any{o.Value, o.After}
	}
	condition = fmt.Sprintf("(%s, %s) %s (CAST($%d AS BIGINT), $%d)", column.expression, id, beyond, n, n+1)
	value, _ := strconv.ParseInt(o.Value, 10, 64) // an invalid value counts as 0
	return condition, order, []any{value, o.After}
}

func orderNumber[T ~int64](n T) string { return strconv.FormatInt(int64(n), 10) }

// orderName returns the value by which users are sorted by name: the name, or the address if there is none.
func orderName(name, email string) string {
	if name == "" {
		return EmailKey(email)
	}
	return searchKey(name)
}

var userOrders = map[string]orderColumn{
	"name":      {"COALESCE(NULLIF(name_key, ''), email_key)", false},
	"email":     {"email_key", false},
	"created":   {"created_at", true},
	"last_seen": {"COALESCE(seen_at, 0)", true},
}

// OrderValue returns the user's value in a column by which users can be sorted: name, email, created or last_seen.
func (u *User) OrderValue(by string) string {
	switch by {
	case "name":
		return orderName(u.Name, u.Email)
	case "email":
		return EmailKey(u.Email)
	case "created":
		return orderNumber(u.CreatedAt)
	case "last_seen":
		return orderNumber(u.SeenAt)
	}
	return ""
}

var memberOrders = map[string]orderColumn{
	"name":   {"COALESCE(NULLIF(u.name_key, ''), u.email_key)", false},
	"role":   {roleOrder, true},
	"joined": {"m.created_at", true},
}

// roleOrder is the rank of a membership's role, the lowest first.
const roleOrder = "CASE m.role WHEN 'owner' THEN 4 WHEN 'admin' THEN 3 WHEN 'member' THEN 2 ELSE 1 END"

// OrderValue returns the member's value in a column by which members can be sorted: name, role or joined.
func (m *Member) OrderValue(by string) string {
	switch by {
	case "name":
		return orderName(m.Name, m.Email)
	case "role":
		for i, role := range []string{"member", "admin", RoleOwner} {
			if role == m.Role {
				return strconv.Itoa(i + 2)
			}
		}
		return "1"
	case "joined":
		return orderNumber(m.Since)
	}
	return ""
}

const memberCount = "(SELECT count(*) FROM memberships m WHERE m.workspace_id = w.id)"

var workspaceOrders = map[string]orderColumn{
	"name":    {"w.name_key", false},
	"members": {memberCount, true},
	"created": {"w.created_at", true},
}

// OrderValue returns the workspace's value in a column by which workspaces can be sorted: name, members or created.
func (w *ListedWorkspace) OrderValue(by string) string {
	switch by {
	case "name":
		return searchKey(w.Name)
	case "members":
		return orderNumber(w.Members)
	case "created":
		return orderNumber(w.CreatedAt)
	}
	return ""
}

var clientOrders = map[string]orderColumn{
	"name":    {"c.name_key", false},
	"created": {"c.created_at", true},
}

// OrderValue returns the client's value in a column by which clients can be sorted: name or created.
func (c *Client) OrderValue(by string) string {
	switch by {
	case "name":
		return searchKey(c.Name)
	case "created":
		return orderNumber(c.CreatedAt)
	}
	return ""
}

var keyOrders = map[string]orderColumn{
	"name":      {"k.name_key", false},
	"created":   {"k.created_at", true},
	"last_used": {keyLastUsed, true},
	"expires":   {fmt.Sprintf("COALESCE(k.expires_at, CAST(%d AS BIGINT))", int64(never)), true},
}

// OrderValue returns the key's value in a column by which keys can be sorted: name, created, last_used or expires. Keys
// that never expire come last.
func (k *APIKey) OrderValue(by string) string {
	switch by {
	case "name":
		return searchKey(k.Name)
	case "created":
		return orderNumber(k.CreatedAt)
	case "last_used":
		return orderNumber(k.LastUsedAt)
	case "expires":
		if k.ExpiresAt.IsZero() {
			return orderNumber(int64(never))
		}
		return orderNumber(k.ExpiresAt)
	}
	return ""
}
