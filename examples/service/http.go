package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/handstamp/handstamp"
)

// service is the whole application. The Verifier is all that it has of Handstamp.
type service struct {
	verifier *handstamp.Verifier
	orders   *orders
}

func newService(v *handstamp.Verifier) *service { return &service{verifier: v, orders: newOrders()} }

// refundRules are for what costs money: besides the permission, a login of the last five minutes, and an answer of the
// server itself instead of one from memory.
func refundRules() []handstamp.Rule {
	return []handstamp.Rule{handstamp.Permission("orders:refund"), handstamp.MaxAuthAge(5 * time.Minute), handstamp.Fresh()}
}

// routes lists who may do what.
func (s *service) routes() http.Handler {
	read := s.verifier.Require(handstamp.Permission("orders:read"))
	write := s.verifier.Require(handstamp.Permission("orders:write"))
	refund := s.verifier.Require(refundRules()...)

	mux := http.NewServeMux()
	mux.Handle("GET /orders", read(http.HandlerFunc(s.list)))
	mux.Handle("POST /orders", write(http.HandlerFunc(s.place)))
	mux.Handle("POST /orders/{id}/refund", refund(http.HandlerFunc(s.refund)))
	mux.Handle("GET /orders/feed", read(http.HandlerFunc(s.feed)))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	return mux
}

func (s *service) list(w http.ResponseWriter, r *http.Request) {
	p, _ := handstamp.FromContext(r.Context())
	list, _ := s.orders.of(p.User)
	answer(w, http.StatusOK, list)
}

func (s *service) place(w http.ResponseWriter, r *http.Request) {
	p, _ := handstamp.FromContext(r.Context())
	var in struct {
		What string `json:"what"`
	}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<10)).Decode(&in); err != nil {
		http.Error(w, "that is no order", http.StatusBadRequest)
		return
	}
	placed, err := s.orders.place(p.User, in.What)
	if err != nil {
		http.Error(w, err.Error(), http.StatusUnprocessableEntity)
		return
	}
	answer(w, http.StatusCreated, placed)
}

func (s *service) refund(w http.ResponseWriter, r *http.Request) {
	id, _ := strconv.Atoi(r.PathValue("id")) // there is no order 0
	refunded, err := s.orders.refund(id)
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	answer(w, http.StatusOK, refunded)
}

// How long a stream is silent at most, and how long a reader may take for what was written.
const (
	beatEvery     = 15 * time.Second
	writePatience = 5 * time.Second
)

// feed tells of the caller's orders as server-sent events, for as long as the session lasts. The last event says why it
// ends: the session is over, or that could not be found out and the client is to come again.
func (s *service) feed(w http.ResponseWriter, r *http.Request) {
	p, _ := handstamp.FromContext(r.Context())
	ctx, cancel := s.verifier.Guard(r.Context(), p)
	defer cancel()

	out := http.NewResponseController(w)
	_ = out.SetReadDeadline(time.Time{}) // the server's is for requests
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	send := func(format string, args ...any) error {
		_ = out.SetWriteDeadline(time.Now().Add(writePatience))
		if _, err := fmt.Fprintf(w, format, args...); err != nil {
			return err
		}
		return out.Flush()
	}
	beat := time.NewTicker(beatEvery)
	defer beat.Stop()
	for {
		list, changed := s.orders.of(p.User)
		text, err := json.Marshal(list)
		if err != nil || ctx.Err() == nil && send("event: orders\ndata: %s\n\n", text) != nil {
			return
		}
		for waiting := true; waiting; {
			select {
			case <-ctx.Done():
				_ = send("event: end\ndata: %s\n\n", why(ctx))
				return
			case <-changed:
				waiting = false
			case <-beat.C:
				if send(":\n\n") != nil {
					return
				}
			}
		}
	}
}

// why a stream ends: three answers here, too.
func why(guarded context.Context) string {
	cause := context.Cause(guarded)
	if reason, ok := handstamp.ReasonOf(cause); ok {
		return string(reason)
	}
	if _, ok := errors.AsType[*handstamp.UnavailableError](cause); ok {
		return "unavailable"
	}
	return "closed"
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the status is out; a lost connection has nobody to tell
}
