package main

import (
	"context"
	"errors"

	"github.com/coder/websocket"
	"github.com/handstamp/handstamp"
)

// ending is what a client is told when its connection ends. The page shows it and, unless it was logged out, connects
// again after a while.
type ending struct {
	code websocket.StatusCode // RFC 6455 section 7.4.2: 4000 to 4999 are the application's own
	text string               // at most 123 bytes, no detail of a cause
}

const statusLoggedOut websocket.StatusCode = 4401

// endingOf turns the cause of a guarded context's end into what the client is told. Three answers here, too: the session
// is over; it could not be found out, which is no log-out; or it has nothing to do with the session.
func endingOf(ctx context.Context) ending {
	cause := context.Cause(ctx)
	if reason, ok := handstamp.ReasonOf(cause); ok {
		if reason == handstamp.ReasonExpired {
			return ending{statusLoggedOut, "your session has expired"}
		}
		return ending{statusLoggedOut, "you were logged out"}
	}
	if _, ok := errors.AsType[*handstamp.UnavailableError](cause); ok {
		return ending{websocket.StatusTryAgainLater, "unavailable"}
	}
	if errors.Is(cause, errShutdown) {
		return ending{websocket.StatusGoingAway, "the server restarts"}
	}
	return ending{websocket.StatusNormalClosure, ""}
}
