package grpcauth

import (
	"context"
	"strings"

	"github.com/handstamp/handstamp"
	"google.golang.org/grpc/metadata"
)

// Policy says who may call what. The zero Policy lets nobody call anything.
type Policy struct {
	// Verifier answers who calls: an Auth's.
	Verifier *handstamp.Verifier
	// Methods are those that need a login, by full name (/package.Service/Method), with the rules that a caller must meet.
	// A nil list of rules needs a login and no more. A method that is neither here nor in Public is refused: one that was
	// forgotten must not be open.
	Methods map[string][]handstamp.Rule
	// Public are methods that anybody may call, such as /grpc.health.v1.Health/Check. Nobody is asked who they are.
	Public map[string]bool
}

// check answers a context that carries the principal, or an error of Handstamp's. public is true where nobody was asked.
func (p Policy) check(ctx context.Context, method string) (_ context.Context, who handstamp.Principal, err error) {
	if p.Public[method] {
		return ctx, handstamp.Principal{}, nil
	}
	rules, listed := p.Methods[method]
	if !listed || p.Verifier == nil {
		return nil, handstamp.Principal{}, &handstamp.DeniedError{Reason: handstamp.ReasonForbidden, Check: "method"}
	}
	text, err := bearer(ctx)
	if err != nil {
		return nil, handstamp.Principal{}, err
	}
	if who, err = p.Verifier.CheckToken(ctx, text, rules...); err != nil {
		return nil, handstamp.Principal{}, err
	}
	return handstamp.NewContext(ctx, who), who, nil
}

// bearer finds the one credential of a call (RFC 6750 section 2.1). Two are refused, as two headers are over HTTP.
func bearer(ctx context.Context) (string, error) {
	found := ""
	for _, v := range metadata.ValueFromIncomingContext(ctx, "authorization") {
		scheme, text, _ := strings.Cut(v, " ")
		if !strings.EqualFold(scheme, "Bearer") {
			continue // somebody else's
		}
		if text = strings.TrimLeft(text, " "); text == "" || found != "" {
			return "", &handstamp.DeniedError{Reason: handstamp.ReasonInvalid, Check: "metadata"}
		}
		found = text
	}
	if found == "" {
		return "", &handstamp.DeniedError{Reason: handstamp.ReasonMissing, Check: "metadata"}
	}
	return found, nil
}
