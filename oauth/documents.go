package oauth

import (
	"context"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/maypok86/otter/v2"

	"doorward/locale"
	"doorward/management"
	"doorward/oauth/fetch"
	"doorward/oauth/limit"
	"doorward/oauth/redirecturi"
	"doorward/storage"
)

// DocumentHosts says from which hosts the URL of a metadata document is a client id
// (draft-ietf-oauth-client-id-metadata-document). The zero value means from none.
type DocumentHosts struct {
	Any   bool
	Hosts []string // in lower case, with a port that is not 443
}

// documentHost is a host as in DocumentHosts.
func documentHost(u *url.URL) string { return strings.TrimSuffix(strings.ToLower(u.Host), ":443") }

// The bounds of metadata documents.
const (
	maxDocument = 5 << 10 // bytes
	// A document is cached as its headers say, within these bounds.
	documentMin = 5 * time.Minute
	documentMax = time.Hour
	// documentStale is how long refreshing goes on with the last copy while a document cannot be fetched.
	documentStale = 7 * 24 * time.Hour
	// maxDocuments bounds how many documents are in memory.
	maxDocuments = 1000
)

var (
	// fetchesOfStrangers bounds how many documents visitors without a session cause to be fetched from one address.
	fetchesOfStrangers = limit.Rule{Count: 10, Per: time.Minute}
	// fetchesAgain bounds how often one document is fetched again early: because of keys that the copy does not have, or
	// because it could not be fetched before.
	fetchesAgain = limit.Rule{Count: 1, Per: 30 * time.Second}
)

// documents finds the clients whose ids are the URLs of their metadata documents.
type documents struct {
	hosts     DocumentHosts
	own       []string // the hosts of the issuer and the resources
	fetcher   *fetch.Fetcher
	now       func() storage.Time
	check     func(clientMetadata) (management.ClientSpec, error)
	open      func(*storage.Client) // Server.openTo
	strangers *limit.Rate
	again     *limit.Rate
	flight    fetch.Shared[*document]
	// cache is an otter.Cache, without its name; see clients.
	cache interface {
		GetIfPresent(id string) (d *document, ok bool)
		Set(id string, d *document) (old *document, ok bool)
	}
}

// document is a copy of a metadata document that was valid when it was fetched.
type document struct {
	client    storage.Client
	fetchedAt storage.Time
	lifetime  time.Duration
}

func newDocuments(
	c *Config, check func(clientMetadata) (management.ClientSpec, error), open func(*storage.Client),
) *documents {
	now := func() time.Time { return c.Store.Now().Time() }
	addresses := []string{c.Issuer}
	for _, r := range c.Catalog.Resources() {
		addresses = append(addresses, r.ID)
	}
	var own []string
	for _, address := range addresses {
		if u, err := url.Parse(address); err == nil {
			own = append(own, documentHost(u))
		}
	}
	return &documents{
		hosts: c.MetadataDocuments, own: own, fetcher: c.Fetcher, now: c.Store.Now, check: check, open: open,
		strangers: limit.NewRate(now, fetchesOfStrangers), again: limit.NewRate(now, fetchesAgain),
		cache: otter.Must(&otter.Options[string, *document]{MaximumSize: maxDocuments}),
	}
}

// on reports whether metadata documents are accepted from any host.
func (d *documents) on() bool { return d.hosts.Any || len(d.hosts.Hosts) > 0 }

// isDocumentID reports whether a client id has the form of a URL. Ids are compared byte for byte, so one with capital
// letters in its scheme is not a URL here.
func isDocumentID(id string) bool { return strings.HasPrefix(id, "https://") }

// documentError means that a metadata document was refused, or cannot be fetched.
type documentError struct {
	reason locale.Text // for the user
	cause  error
}

func (e *documentError) Error() string {
	if e.cause != nil {
		return e.reason.String() + " " + e.cause.Error()
	}
	return e.reason.String()
}

func (e *documentError) Unwrap() error { return e.cause }

// page is the error for the browser.
func (e *documentError) page() *AuthorizeError {
	p := pageError(e.reason)
	p.Cause = e.cause
	return p
}

// TooManyDocuments means that visitors from one address caused too many fetches.
type TooManyDocuments struct{ RetryAfter time.Duration }

// Error implements error.
func (*TooManyDocuments) Error() string {
	return fmt.Sprintf("more than %d metadata documents a minute for one address", fetchesOfStrangers.Count)
}

// Visitor is the cause of a request that may fetch a metadata document.
type Visitor struct {
	Address  netip.Addr
	SignedIn func() (bool, error) // nil: they are not
}

type visitorKey struct{}

// WithVisitor adds the visitor of a page to ctx. Without one, fetches are not counted.
func WithVisitor(ctx context.Context, v Visitor) context.Context {
	return context.WithValue(ctx, visitorKey{}, v)
}

// take counts a fetch for the visitor in ctx.
func (d *documents) take(ctx context.Context) error {
	v, ok := ctx.Value(visitorKey{}).(Visitor)
	if !ok {
		return nil
	}
	if v.SignedIn != nil {
		if in, err := v.SignedIn(); err != nil || in {
			return err
		}
	}
	if ok, wait := d.strangers.Take(limit.AddressKey(v.Address)); !ok {
		return &TooManyDocuments{wait}
	}
	return nil
}

// checkID returns why a client id is not the URL of a document that this server accepts; nil: it is.
func (d *documents) checkID(id string) error {
	u, err := url.Parse(id)
	switch {
	case !d.on():
		return &documentError{reason: locale.New("This app identifies itself by a URL, which this server does not accept. Ask " +
			"the operator of this server to register the app, or to accept metadata documents.")}
	case err != nil, !d.fetcher.CheckURL(id).IsZero():
		return &documentError{
			reason: badDocumentURL(), cause: errors.New("the client id " + d.fetcher.CheckURL(id).String()),
		}
	case u.Path == "" || u.Path == "/" || hasDotSegments(u.EscapedPath()):
		return &documentError{
			reason: badDocumentURL(), cause: errors.New("the path of the client id is missing, or has . or .. segments"),
		}
	}
	// Where any host is accepted, the operator's own is not: what others may upload there would ask in its name.
	host := documentHost(u)
	if !slices.Contains(d.hosts.Hosts, host) && (!d.hosts.Any || slices.Contains(d.own, host)) {
		return &documentError{reason: locale.New("This server does not accept apps from %s. Ask its operator to add that host "+
			"to metadata_documents.", u.Host)}
	}
	return nil
}

func badDocumentURL() locale.Text {
	return locale.New("The app's client ID is not a valid address of a metadata document. Its developer must use an https " +
		"URL with a path, and without user information, fragment and dot segments.")
}

// hasDotSegments reports whether a path has . or .. segments, also percent-encoded.
func hasDotSegments(path string) bool {
	path = strings.ReplaceAll(strings.ToLower(path), "%2e", ".")
	return slices.ContainsFunc(strings.Split(path, "/"), func(s string) bool { return s == "." || s == ".." })
}

// get returns a copy of a document that was fetched at a time or later. It fetches the document unless it has a fresh
// copy of that age.
func (d *documents) get(ctx context.Context, id string, since storage.Time) (*document, error) {
	if x, ok := d.cached(id, since); ok {
		return x, nil
	}
	if err := d.take(ctx); err != nil {
		return nil, err
	}
	return d.fetch(ctx, id, since)
}

// cached returns a copy that is still fresh and was fetched at a time or later.
func (d *documents) cached(id string, since storage.Time) (*document, bool) {
	x, ok := d.cache.GetIfPresent(id)
	return x, ok && x.fetchedAt >= since && d.now().Sub(x.fetchedAt).Abs() < x.lifetime
}

// hasOrigin reports whether the copy of a document has a redirect URI of an origin.
func (d *documents) hasOrigin(id, origin string) bool {
	x, ok := d.cached(id, 0)
	return ok && slices.ContainsFunc(x.client.RedirectURIs, func(uri string) bool { return redirecturi.Origin(uri) == origin })
}

// fetch fetches a document, once for all requests that need it at the same moment. A failure is not cached.
func (d *documents) fetch(ctx context.Context, id string, since storage.Time) (*document, error) {
	return d.flight.Do(ctx, id, func(ctx context.Context) (*document, error) {
		// Another request may have fetched it since this one looked.
		if x, ok := d.cached(id, since); ok {
			return x, nil
		}
		x, err := d.read(ctx, id)
		if err == nil {
			d.cache.Set(id, x)
		}
		return x, err
	})
}

func (d *documents) read(ctx context.Context, id string) (*document, error) {
	now := d.now()
	body, header, err := d.fetcher.Get(ctx, id, "application/json", maxDocument)
	if err != nil {
		return nil, &documentError{
			reason: locale.New("The app describes itself at %s, and this server cannot read that right now. Try again; if it "+
				"happens again, tell the app's developer.", id),
			// Not wrapped: a timeout of the app's host does not mean that this server lacks something.
			cause: errors.New(err.Error()),
		}
	}
	p, err := d.parse(id, header.Get("Content-Type"), body)
	if err != nil {
		return nil, &documentError{
			reason: locale.New("The app describes itself at %s, and what it says there is not valid. The reason is for its "+
				"developer: %s", id, asError(err).Description),
			cause: err,
		}
	}
	c := management.DocumentClient(id, &p, now)
	d.open(&c)
	return &document{c, now, documentLifetime(header, now.Time())}, nil
}

// parse checks a document. Its error is an *Error, as the client would get it at the registration endpoint.
func (d *documents) parse(id, contentType string, body []byte) (p management.ClientSpec, err error) {
	mediaType, _, err := mime.ParseMediaType(contentType)
	if err != nil || mediaType != "application/json" &&
		(!strings.HasPrefix(mediaType, "application/") || !strings.HasSuffix(mediaType, "+json")) {
		return p, badMetadata("The document must be served as application/json.")
	}
	m, err := readClientMetadata(body)
	if err != nil {
		return p, err
	}
	var named string
	if err := m.text("client_id", &named); err != nil {
		return p, err
	}
	if named != id {
		return p, badMetadata("client_id in the document must be the URL of the document itself.")
	}
	for _, name := range []string{"client_secret", "client_secret_expires_at"} {
		if _, has := m[name]; has {
			return p, badMetadata(name + " must not be in the document, which anyone can read.")
		}
	}
	switch m["token_endpoint_auth_method"] {
	case nil:
		m["token_endpoint_auth_method"] = management.AuthNone
	case management.AuthNone, management.AuthPrivateKey:
	default:
		return p, badMetadata("token_endpoint_auth_method must be none or private_key_jwt.")
	}
	m.keep("grant_types", GrantAuthorizationCode, GrantRefreshToken)
	m.keep("response_types", "code")
	return d.check(m)
}

// documentLifetime is how long a document may be cached (RFC 9111, section 4.2), within the bounds.
func documentLifetime(h http.Header, now time.Time) time.Duration {
	var age time.Duration
	known := false
	for directive := range strings.SplitSeq(strings.Join(h.Values("Cache-Control"), ","), ",") {
		name, value, _ := strings.Cut(strings.ToLower(strings.TrimSpace(directive)), "=")
		switch name {
		case "no-store", "no-cache", "private":
			return documentMin
		case "max-age":
			if n, err := strconv.ParseInt(strings.Trim(value, `"`), 10, 32); err == nil && n >= 0 {
				age, known = time.Duration(n)*time.Second, true
			}
		}
	}
	if expires, err := http.ParseTime(h.Get("Expires")); err == nil && !known {
		if date, err := http.ParseTime(h.Get("Date")); err == nil {
			now = date
		}
		age = expires.Sub(now)
	}
	if n, err := strconv.ParseInt(h.Get("Age"), 10, 32); err == nil && n > 0 {
		age -= time.Duration(n) * time.Second
	}
	return min(max(age, documentMin), documentMax)
}

// findForUser finds the client of a request that a user is to answer: a registered one, or one that a metadata document
// describes. It returns storage.ErrNotFound for a client that does not exist or is disabled, *AuthorizeError for a
// document that is refused or cannot be read, and *TooManyDocuments.
func (s *Server) findForUser(ctx context.Context, id string) (storage.Client, error) {
	if !isDocumentID(id) {
		return s.clients.find(ctx, id)
	}
	c, err := s.describedClient(ctx, id)
	var refused *documentError
	if errors.As(err, &refused) {
		return c, refused.page()
	}
	return c, err
}

// describedClient finds the client that a metadata document describes. Its row, if a user has ever allowed it, says
// whether it is disabled, and since when it is known here.
func (s *Server) describedClient(ctx context.Context, id string) (storage.Client, error) {
	if err := s.documents.checkID(id); err != nil {
		return storage.Client{}, err
	}
	row, usable, err := s.store.ClientInUse(storage.System(ctx), id)
	switch known := !errors.Is(err, storage.ErrNotFound); {
	case known && err != nil:
		return storage.Client{}, fmt.Errorf("client: %w", err)
	case known && !usable:
		return storage.Client{}, storage.ErrNotFound
	}
	if _, ok := s.documents.cached(id, row.DocumentAt); !ok && s.documents.now().Sub(row.DocumentAt) < documentMin {
		s.openTo(&row) // another node has just fetched it
		return row, nil
	}
	x, err := s.documents.get(ctx, id, row.DocumentAt)
	if err != nil {
		return storage.Client{}, err
	}
	c := x.client
	c.CreatedAt = row.CreatedAt
	return c, nil
}

// renew brings the row of a client with a metadata document up to date. While the document cannot be fetched, the row
// counts for documentStale; then it returns storage.ErrNotFound.
func (s *Server) renew(ctx context.Context, row *storage.Client) error {
	d := s.documents
	if err := d.checkID(row.ID); err != nil {
		return errors.Join(storage.ErrNotFound, err)
	}
	x, fresh := d.cached(row.ID, row.DocumentAt)
	now := d.now()
	if !fresh && now.Sub(row.DocumentAt) < documentMin {
		return nil // another node, or this one before it was restarted, has just fetched it
	}
	var failed error
	if !fresh {
		if ok, _ := d.again.Take(row.ID); ok {
			x, failed = d.fetch(ctx, row.ID, row.DocumentAt)
			fresh = failed == nil
		} else {
			failed = errors.New("it could not be fetched a moment ago")
		}
	}
	if !fresh {
		if now.Sub(row.DocumentAt) < documentStale {
			return nil
		}
		return errors.Join(storage.ErrNotFound, &documentError{
			reason: locale.New("The metadata document could not be read for a week."), cause: failed,
		})
	}
	return s.useDocument(ctx, row, x)
}

// completeClient brings a client that registered itself up to date with its metadata document and the configuration.
func (s *Server) completeClient(ctx context.Context, c *storage.Client) error {
	if c.Registration == storage.RegisteredByDocument {
		if err := s.renew(ctx, c); err != nil {
			return err
		}
	}
	if !s.management.OpenIDCompatible() { // it may have been when the client registered
		c.PKCEOptional, c.TokenEndpointAudience = false, false
	}
	s.openTo(c)
	return nil
}

// loadPushing finds the client of a pushed request as findForUser does, for its authentication.
func (s *Server) loadPushing(r *http.Request) func(context.Context, string) (cachedClient, error) {
	return func(ctx context.Context, id string) (cachedClient, error) {
		if !isDocumentID(id) {
			return s.clients.load(ctx, id)
		}
		c, err := s.describedClient(WithVisitor(ctx, Visitor{Address: s.address(r)}), id)
		var refused *documentError
		if errors.As(err, &refused) {
			return cachedClient{}, errors.Join(storage.ErrNotFound, err)
		}
		found := cachedClient{Client: c, usable: err == nil}
		if err == nil {
			err = found.parseKeys()
		}
		return found, err
	}
}

// useDocument replaces the row of a client by a copy of its document, if that is newer. It returns storage.ErrNotFound
// if the client was deleted or disabled meanwhile.
func (s *Server) useDocument(ctx context.Context, row *storage.Client, x *document) error {
	if x.fetchedAt <= row.DocumentAt {
		return nil
	}
	c := x.client
	if !row.CreatedAt.IsZero() { // otherwise the row is only made when a user allows the client
		if err := s.management.UpdateDocumentClient(ctx, c); err != nil {
			return fmt.Errorf("metadata document: %w", err)
		}
	}
	c.CreatedAt, c.ChangedAt = row.CreatedAt, row.ChangedAt
	*row = c
	return nil
}

// withNewKeys fetches the document of a client again because an assertion is signed with a key that the copy does not
// have. It reports whether it did.
func (s *Server) withNewKeys(ctx context.Context, c *cachedClient) (bool, error) {
	if c.Registration != storage.RegisteredByDocument || c.JWKSURI != "" {
		return false, nil
	}
	if ok, _ := s.documents.again.Take(c.ID); !ok {
		return false, nil
	}
	x, err := s.documents.fetch(ctx, c.ID, c.DocumentAt+1)
	if err != nil {
		LogFieldsOf(ctx).Cause = err
		return false, nil //nolint:nilerr // the assertion is refused, and the log says why
	}
	if err := s.useDocument(ctx, &c.Client, x); err != nil {
		return false, err
	}
	return true, c.parseKeys()
}
