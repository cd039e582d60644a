// Package adapters is where Handstamp meets other routers than net/http's: one package per router that needs one, in a
// module of its own so that nobody inherits a router that they do not use.
//
// What [handstamp.Verifier.Require], [handstamp.Verifier.Optional] and [handstamp.Auth.Adopt] return is a
// func(http.Handler) http.Handler. Chi takes that as it is, and echo with its own echo.WrapMiddleware; package handstampgin
// turns it into a gin.HandlerFunc and package handstampfiber into a fiber.Handler.
//
// An adapter decides nothing: status, headers and body of every answer are those that net/http would send, and the tests
// of this package compare them byte for byte.
package adapters
