package oauth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"doorward/management"
	"doorward/storage"
)

// Decision is the resource owner's answer to an authorization request.
type Decision struct {
	UserID      string
	SessionID   string // of the user; if it has ended meanwhile, nothing is granted
	WorkspaceID string // in which the tokens will act
	Role        string // of the user in it
	AuthTime    storage.Time
	AMR         []string // how the user authenticated, as storage.Session has it
	ACR         string   // the level that this reached
	Scopes      []string // of those requested; with Remember, the others are refused
	Remember    bool     // the user saw the consent page, which need not be shown again for these scopes
	FlowID      string   // can be answered once; empty: no page was shown
	// Choice identifies the choice made in the page's form. Sending the same choice again gets the same answer; see
	// [Server.SameAnswer].
	Choice string
}

// ErrAnswered means that the flow was answered before.
var ErrAnswered = errors.New("the request was answered before")

// ErrConsentWithdrawn means that no page was shown because of a remembered consent, and that this consent was withdrawn
// at the same moment.
var ErrConsentWithdrawn = errors.New("the consent was revoked")

// Approve issues a code for the request and returns the URL to redirect the browser to. One transaction records the
// decision, remembers the consent, and creates the grant and its code.
func (s *Server) Approve(ctx context.Context, a *AuthorizeRequest, d Decision) (string, error) {
	now := s.store.Now()
	scopes := a.Granted(d.Scopes, d.Role)
	if len(scopes) == 0 {
		return "", s.fail(a, AccessDenied, "None of the requested permissions can be granted in this workspace.", nil)
	}
	f := a.Flow
	f.Scopes = scopes
	x := &exchange{client: a.Client, redirect: a.RedirectURI, challenge: a.Challenge, dpopKeyOf: a.DPoPKey, grant: storage.Grant{
		ID:          storage.NewID("grant"),
		ClientID:    a.Client.ID,
		UserID:      d.UserID,
		WorkspaceID: d.WorkspaceID,
		Resource:    a.Resource.ID,
		Scopes:      scopes,
		AuthTime:    d.AuthTime,
		AMR:         d.AMR,
		ACR:         d.ACR,
		CreatedAt:   now,
		ExpiresAt:   now.Add(s.lifetimes.RefreshAbsolute),
	}}
	ctx = withExchange(storage.System(ctx), x)
	if a.Client.Registration != storage.RegisteredByDocument { // of such a client, the row may be written only below
		if err := s.clients.mayIssue(ctx, a.Client.ID); errors.Is(err, storage.ErrNotFound) {
			return "", appGone()
		} else if err != nil {
			return "", err
		}
	}
	if d.FlowID == "" {
		if err := s.chargeAnswer(ctx, a, d.UserID); err != nil {
			return "", approveError(err)
		}
	}
	ar, err := s.fositeAuthorize(ctx, &f)
	if err != nil {
		return "", err
	}
	for _, name := range scopes {
		ar.GrantScope(name)
	}
	ar.GrantAudience(a.Resource.ID)
	var code string
	err = s.store.InTx(ctx, func(ctx context.Context) error {
		if d.FlowID != "" {
			if err := s.decide(ctx, d.FlowID, "approved"); err != nil {
				return err
			}
			if err := s.chargeAnswer(ctx, a, d.UserID); err != nil { // after decide: a form sent twice counts once
				return err
			}
		}
		if err := s.usePushed(ctx, &a.Flow); err != nil {
			return err
		}
		if err := s.keepClient(ctx, &a.Client); err != nil {
			return err
		}
		// Read the role as it is now, not as it was when the page was rendered. If the member is removed at the same
		// moment, the removal either revokes the grant that is created here or prevents it.
		role, err := s.store.LockRole(ctx, d.WorkspaceID, d.UserID, d.SessionID)
		if err != nil {
			return fmt.Errorf("approve: %w", err)
		}
		if !management.RoleMay(role, management.MayConsent) {
			return storage.ErrNotFound
		}
		if d.Remember {
			err = s.remember(ctx, a, x.grant)
		} else if !a.Client.FirstParty {
			err = s.stillAllowed(ctx, &a.Client, x.grant)
		}
		if err != nil {
			return err
		}
		resp, err := s.fosite.NewAuthorizeResponse(ctx, ar, &fositeSession{subject: d.UserID})
		if err != nil {
			return err
		}
		code = resp.GetCode()
		if d.FlowID != "" {
			if err := s.keepAnswer(
				ctx, d.FlowID, answer{UserID: d.UserID, Choice: d.Choice, Response: url.Values{"code": {code}}},
			); err != nil {
				return err
			}
		}
		if !d.Remember {
			return nil // no page was shown
		}
		return s.store.Audit(ctx, storage.AuditEvent{
			Action:      "consent.granted",
			WorkspaceID: d.WorkspaceID,
			Target:      a.Client.ID,
			Detail: map[string]string{
				"grant": x.grant.ID, "scopes": strings.Join(scopes, " "), "resource": a.Resource.ID,
			},
		}, "")
	})
	if err != nil {
		return "", approveError(err)
	}
	LogFieldsOf(ctx).Subject = d.UserID
	return s.redirectTo(&a.Flow, url.Values{"code": {code}}), nil
}

// keepClient records that a client that registered itself is used. It writes the row of a client with a metadata
// document.
func (s *Server) keepClient(ctx context.Context, c *storage.Client) (err error) {
	switch c.Registration {
	case storage.RegisteredByDocument:
		if err = s.management.SaveDocumentClient(ctx, *c); err == nil {
			err = s.store.UseClient(ctx, c.ID)
		}
	case storage.RegisteredDynamically:
		err = s.store.UseClient(ctx, c.ID)
	}
	if errors.Is(err, storage.ErrNotFound) {
		return appGone()
	}
	return err
}

// chargeAnswer counts an answer of a user to a client, allowed or denied, against the limits.
func (s *Server) chargeAnswer(ctx context.Context, a *AuthorizeRequest, userID string) error {
	err := s.management.TakeAnswer(ctx, &a.Client, userID)
	var many *management.TooManyChanges
	if errors.As(err, &many) {
		e := s.fail(
			a,
			TemporarilyUnavailable,
			"Too many authorization requests for this user; reuse the existing tokens and try again later.",
			fmt.Errorf("answers of one user to this client, or to new clients: %w", err),
		)
		LogFieldsOf(ctx).ErrorCode, LogFieldsOf(ctx).Cause = e.Code, e
		return e
	}
	return err
}

// approveError turns an error of fosite into an *Error, and leaves those that callers of Approve look for.
func approveError(err error) error {
	var refused *AuthorizeError
	if errors.Is(err, ErrAnswered) || errors.Is(err, ErrConsentWithdrawn) || errors.Is(err, storage.ErrNotFound) ||
		errors.As(err, &refused) {
		return err
	}
	return asError(err)
}

func (s *Server) decide(ctx context.Context, flowID, decision string) error {
	err := s.store.DecideFlow(ctx, flowID, decision, 2*FlowLifetime)
	if errors.Is(err, storage.ErrConsumed) {
		return ErrAnswered
	}
	return err
}

// answer is stored, sealed, with a decided flow.
type answer struct {
	UserID   string     `json:"u"` // the resource owner who decided
	Choice   string     `json:"c"`
	Response url.Values `json:"r"` // the parameters that the app was sent, without state and iss
}

func flowAnswerPurpose(flowID string) string { return "answer of flow " + flowID }

// keepAnswer stores the answer to a flow for the lifetime of a code, in the transaction that decides the flow.
func (s *Server) keepAnswer(ctx context.Context, flowID string, x answer) error {
	text, err := json.Marshal(x)
	if err != nil {
		return fmt.Errorf("keep the answer: %w", err)
	}
	return s.store.KeepFlowAnswer(
		ctx, flowID, s.secrets.Seal(flowAnswerPurpose(flowID), text), s.store.Now().Add(s.lifetimes.Code),
	)
}

// keptAnswer opens the answer that keepAnswer stored. It returns ErrNotAnswered for a flow that was not decided, and a
// zero answer if the answer is too old or was sealed under a secret that has been removed from the list.
func (s *Server) keptAnswer(ctx context.Context, flowID string) (x answer, err error) {
	sealed, err := s.store.FlowAnswer(storage.System(ctx), flowID)
	if errors.Is(err, storage.ErrNotFound) {
		return x, ErrNotAnswered
	}
	if err != nil || sealed == "" {
		return x, err
	}
	text, err := s.secrets.Open(flowAnswerPurpose(flowID), sealed)
	if err != nil {
		return answer{}, nil
	}
	if err := json.Unmarshal(text, &x); err != nil {
		return answer{}, fmt.Errorf("kept answer: %w", err)
	}
	return x, nil
}

// ErrNotAnswered means that the flow has not been answered yet.
var ErrNotAnswered = errors.New("the request has not been answered yet")

// SameAnswer returns the URL that the browser was redirected to when the same user made the same choice before, so that
// a form sent twice leads to one code and one URL. It returns ErrAnswered if the flow was answered differently, by
// another user, or longer ago than the lifetime of a code, and ErrNotAnswered if the flow is still open.
func (s *Server) SameAnswer(ctx context.Context, f *Flow, userID, choice string) (string, error) {
	x, err := s.keptAnswer(ctx, f.ID)
	if err != nil {
		return "", err
	}
	if x.UserID == "" || x.UserID != userID || x.Choice != choice {
		return "", ErrAnswered
	}
	return s.redirectTo(f, x.Response), nil
}

// UnredeemedRedirect returns the URL to which the user's answer to a flow redirected the browser, until the app redeems
// the code in it, and then "". Without such an answer it returns "" too. It serves users who go back before the app has
// signed them in.
func (s *Server) UnredeemedRedirect(ctx context.Context, f *Flow, userID string) (string, error) {
	x, err := s.keptAnswer(ctx, f.ID)
	if errors.Is(err, ErrNotAnswered) {
		return "", nil
	}
	if err != nil || x.UserID == "" || x.UserID != userID {
		return "", err
	}
	if code := x.Response.Get("code"); code != "" {
		c, err := s.store.CodeByDigest(storage.System(ctx), storage.Digest(code))
		if errors.Is(err, storage.ErrNotFound) || err == nil && !c.UsedAt.IsZero() {
			return "", nil
		}
		if err != nil {
			return "", err
		}
	}
	return s.redirectTo(f, x.Response), nil
}

// stillAllowed checks, where no page was shown, that the remembered consent still exists, and locks it until the
// transaction ends. If the app's access is withdrawn at the same moment, the withdrawal either revokes the grant that
// is created here or prevents it.
func (s *Server) stillAllowed(ctx context.Context, client *storage.Client, g storage.Grant) error {
	c, err := s.store.LockConsent(ctx, g.UserID, g.ClientID, g.Resource, g.WorkspaceID)
	switch {
	case err != nil && !errors.Is(err, storage.ErrNotFound):
		return err
	case err != nil, c.Described != Describe(client),
		slices.ContainsFunc(g.Scopes, func(name string) bool { return !c.Scopes.Has(name) }):
		return ErrConsentWithdrawn
	}
	return nil
}

// Granted lists the scopes that a grant may hold if its user, who has this role, allows these of the requested scopes.
// All other requested scopes are refused. A refused scope is never granted through another: a scope that includes it is
// refused too.
func (a *AuthorizeRequest) Granted(allowed []string, role string) []string {
	refused := slices.DeleteFunc(
		slices.Clone(a.Scopes), func(name string) bool { return slices.Contains(allowed, name) },
	)
	within := a.Resource.Effective(allowed, role, true)
	return slices.DeleteFunc(slices.Clone(a.Scopes), func(name string) bool {
		return !slices.Contains(allowed, name) || !slices.Contains(within, name) ||
			slices.ContainsFunc(refused, func(no string) bool { return a.Resource.Includes(name, no) })
	})
}

// remember adds the allowed scopes to the remembered consent. Requested scopes that the user left out are withdrawn:
// from that consent, and from each of the user's grants to this client for this resource and workspace. The grant of
// this answer does not exist yet.
func (s *Server) remember(ctx context.Context, a *AuthorizeRequest, g storage.Grant) error {
	// Locked until the transaction ends, so that the later of two answers at once sees the earlier one.
	before, err := s.store.LockConsent(ctx, g.UserID, g.ClientID, g.Resource, g.WorkspaceID)
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return fmt.Errorf("remember consent: %w", err)
	}
	refused := slices.DeleteFunc(
		slices.Clone(a.Scopes), func(name string) bool { return slices.Contains(g.Scopes, name) },
	)
	c := storage.Consent{
		UserID: g.UserID, ClientID: g.ClientID, Resource: g.Resource, WorkspaceID: g.WorkspaceID,
		Scopes: slices.Clone(g.Scopes), Described: Describe(&a.Client),
	}
	kept := before.Scopes
	if before.Described != c.Described {
		kept = nil // it was given to the client as it described itself then
	}
	for _, name := range a.Resource.Without(kept, refused) {
		if !c.Scopes.Has(name) {
			c.Scopes = append(c.Scopes, name)
		}
	}
	if err := s.store.SaveConsent(ctx, c); err != nil {
		return fmt.Errorf("remember consent: %w", err)
	}
	if len(refused) == 0 {
		return nil
	}
	narrowed, err := s.store.NarrowGrants(
		ctx, g, func(held []string) []string { return a.Resource.Without(held, refused) },
	)
	if err != nil {
		return fmt.Errorf("narrow grants: %w", err)
	}
	for _, id := range narrowed {
		err := s.store.Audit(ctx, storage.AuditEvent{
			Action: "grant.narrowed", WorkspaceID: g.WorkspaceID, Target: id,
			Detail: map[string]string{"app": g.ClientID, "refused": strings.Join(refused, " ")},
		}, "")
		if err != nil {
			return fmt.Errorf("narrow grants: %w", err)
		}
	}
	return nil
}

// Deny records that the resource owner denied the request, and returns the URL to redirect the browser to. Access that
// they allowed the app before stays; they can withdraw it under Connected apps. choice is as in [Decision].
func (s *Server) Deny(ctx context.Context, a *AuthorizeRequest, userID, choice string) (string, error) {
	response := url.Values{"error": {AccessDenied}, "error_description": {"The resource owner denied the request."}}
	err := s.store.InTx(storage.System(ctx), func(ctx context.Context) error {
		if err := s.decide(ctx, a.ID, "denied"); err != nil {
			return err
		}
		if err := s.usePushed(ctx, &a.Flow); err != nil {
			return err
		}
		if err := s.chargeAnswer(ctx, a, userID); err != nil { // after decide: a form sent twice counts once
			return err
		}
		if err := s.keepAnswer(ctx, a.ID, answer{UserID: userID, Choice: choice, Response: response}); err != nil {
			return err
		}
		return s.store.Audit(ctx, storage.AuditEvent{Action: "consent.denied", Target: a.Client.ID}, userID)
	})
	if err != nil {
		return "", approveError(err)
	}
	return s.redirectTo(&a.Flow, response), nil
}

// Refuse returns the error for a request with prompt=none that would need a page.
func (s *Server) Refuse(a *AuthorizeRequest, code string) *AuthorizeError {
	description := "The user must sign in; send the request again without prompt=none."
	if code == ConsentRequired {
		description = "The user must consent; send the request again without prompt=none."
	}
	return s.fail(a, code, description, nil)
}
