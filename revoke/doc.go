// Package revoke makes revocation reach every verifier without a look-up per request. It holds the numbered events that
// end or change an identity, the set of recent events that a check consults in memory, the lease under which it may do
// so, the acknowledgements, and the waiting for a whole fleet.
//
// It is pure code over a clock and a [Log] that are given to it. It never decides by the time of one machine what
// happened on another: order is by number. It never answers from memory without a fresh lease.
package revoke
