// Package handstampgin lets gin run Handstamp's middleware. It never decides anything: it hands gin's request to the
// middleware and, if that does not let it through, stops gin.
package handstampgin

import (
	"net/http"

	"github.com/gin-gonic/gin"
)

// Wrap turns what [handstamp.Verifier.Require], [handstamp.Verifier.Optional] and [handstamp.Auth.Adopt] return into gin
// middleware. Later handlers find the principal with handstamp.FromContext(c.Request.Context()). A request that is not
// let through is answered, and no later handler runs, whatever the order in which they were registered.
//
// It is for middleware that passes the http.ResponseWriter on as it got it, as Handstamp's does: handlers go on with
// gin's own.
func Wrap(middleware func(http.Handler) http.Handler) gin.HandlerFunc {
	return func(c *gin.Context) {
		passed := false
		middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			passed = true
			c.Request = r
			c.Next()
		})).ServeHTTP(c.Writer, c.Request)
		if !passed {
			c.Abort() // gin would otherwise go on with the next handler after this one returned
		}
	}
}
