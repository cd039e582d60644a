// Package server is the HTTP API of Handstamp, its two small pages and its operator's endpoints, as handlers that any Go
// program can mount. Everything it does it asks of the engine, of package account and of a login method; what it adds is
// the outside: routes, strict reading of requests, the origin rules before anything else, one place where every refusal
// is written, and an OpenAPI document made from the same table as the routes.
// What it says to reverse proxies is package forwardauth's. A person who loads a page is refused with a page, a program
// with problem+json.
//
// Package server never opens a store, never checks a password itself, never listens and starts nothing. Nothing a client
// sends says who is acting: that is the credential alone.
package server
