package remote

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/jwt"
)

// authority asks the server what a credential is worth.
type authority struct{ client *client }

const (
	introspectPath = "/v1/introspect"
	permIntrospect = "handstamp.introspect"
)

// answerTimeout is how long a check may wait for the server altogether, and nodeTimeout for one node where there is another
// one to ask: whoever waits for the check is answered within 3 s.
const (
	answerTimeout = 2500 * time.Millisecond
	nodeTimeout   = 1200 * time.Millisecond
)

// Introspect implements [handstamp.Authority]. A node that cannot say is followed by the next one, once.
func (a *authority) Introspect(ctx context.Context, credential string) (handstamp.Introspected, error) {
	switch {
	case credential == "":
		return handstamp.Introspected{}, errors.New("remote: asked about no credential") // says nothing about anybody's
	case !askable(credential):
		return handstamp.Introspected{}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	if len(a.client.nodes) == 1 {
		return a.introspect(ctx, credential)
	}
	first, stop := context.WithTimeout(ctx, nodeTimeout)
	defer stop()
	in, err := a.introspect(first, credential)
	if err == nil || ctx.Err() != nil {
		return in, err
	}
	return a.introspect(ctx, credential)
}

// askable refuses without a question what cannot be a credential of any kind: all of them are visible ASCII and bounded.
func askable(credential string) bool {
	return len(credential) <= jwt.MaxTokenBytes &&
		!strings.ContainsFunc(credential, func(r rune) bool { return r <= ' ' || r > '~' })
}

func (a *authority) introspect(ctx context.Context, credential string) (handstamp.Introspected, error) {
	body, err := json.Marshal(introspectionOut{Token: credential})
	if err != nil {
		return handstamp.Introspected{}, fmt.Errorf("ask about a credential: %w", err)
	}
	said, err := a.client.send(ctx, call{
		pool: a.client.ask, path: introspectPath, body: body, secret: true, limit: maxIntrospectionBytes, media: []string{"application/json"},
	})
	if err == nil && said.status != http.StatusOK {
		err = said.refusal(introspectPath, permIntrospect)
	}
	if err != nil {
		return handstamp.Introspected{}, fmt.Errorf("ask about a credential: %w", err)
	}
	in, err := parseIntrospection(said.body)
	if err != nil {
		a.client.leave(said.node)
		return handstamp.Introspected{}, fmt.Errorf("ask about a credential: %w", &handstamp.UnavailableError{Err: err})
	}
	return in, nil
}

// words are the parts of a scope (RFC 6749 section 3.3).
func words(scope string) []string {
	if scope == "" {
		return nil
	}
	return strings.Split(scope, " ")
}
