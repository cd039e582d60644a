// Command service is a small service that has no users, no sessions and no database of them: a Handstamp server somewhere
// else has. It takes orders, over HTTP and over gRPC, and package remote tells it who asks and what they may do.
//
//	handstamp role set customer orders:read orders:write
//	handstamp role set clerk orders:read orders:refund
//	handstamp service-key add orders handstamp.revocations handstamp.introspect
//	HANDSTAMP_URL=http://127.0.0.1:8080 HANDSTAMP_KEY=hs_k_… go run . # in examples/service
//
// Its address is http://127.0.0.1:8095, for gRPC 127.0.0.1:8096. Log in at Handstamp with "transport": "bearer" and send the
// access token along.
//
// Where to look: main.go opens the Verifier, http.go has the rules of each route and a stream that ends with its session,
// rpc.go the same for gRPC.
package main
