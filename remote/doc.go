// Package remote gives other Go services the same [handstamp.Verifier] that a Handstamp server has itself: [Open] follows a
// server's revocations, reads its public keys and asks it about what cannot be judged from memory.
//
// Value tokens are checked by their signature and by the events since they were made; opaque credentials, service keys and
// encrypted tokens are asked about once (RFC 7662) and then kept like any other copy, for as long as no event hits them.
// Renewals of the lease are the only thing that keeps memory trusted; the event stream merely makes the next one happen at
// once. Where the stream is cut off, polling keeps the bound of one second. Where nothing of the server can be reached, the
// lease lapses, checks ask, and the answer is "don't know": 503, never a wrong yes, and never "you are logged out".
//
// Package remote never starts, refreshes or ends a session, never takes an answer that it does not understand for a yes,
// never follows a redirect, never sends the service key to anybody but the nodes it was given, and never prints it.
package remote
