// Package grpcauth lets a gRPC server ask Handstamp who calls: interceptors that check the metadata
// "authorization: Bearer …" and, for streams, end the call with the session.
//
// The three answers are three codes: Unauthenticated and PermissionDenied are no, Unavailable is "could not find out" and
// says when to ask again. Package grpcauth reads no cookie: a browser does not speak gRPC.
package grpcauth
