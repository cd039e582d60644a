// Command live is a chat whose connections end with the session that opened them: WebSocket, server-sent events and gRPC.
//
//	go run . # in examples/live; then http://127.0.0.1:8091
//
// Log in as ada (who administers), bob or eve; the password of all of them is "correct horse battery". Open a second
// browser, log out everywhere in the first, and see the second one's page close.
//
// Where to look: socket.go for a WebSocket, events.go for server-sent events, ending.go for what a client is told when its
// session ended and when that could not be found out, and package grpcauth for gRPC. It keeps everything in memory.
package main
