// Package handstampfiber lets fiber run Handstamp's middleware, and gives what Handstamp needs for a login: fiber stands
// on fasthttp, which has requests and answers of its own. Package handstampfiber never decides anything.
//
// Do not use fiber's middleware/adaptor for this. Of a header that was sent twice it keeps the last, so that two Origin or
// two Authorization headers look like one, which Handstamp refuses for good reason.
package handstampfiber

import (
	"net/http"

	"github.com/gofiber/fiber/v3"
)

// Wrap turns what [handstamp.Verifier.Require], [handstamp.Verifier.Optional] and [handstamp.Auth.Adopt] return into
// fiber middleware. Later handlers find the principal with handstamp.FromContext(c.Context()). A request that is not let
// through is answered, and no later handler runs.
//
// Cookies are read as they came over the wire: what other middleware makes of them, such as fiber's encryptcookie, is not
// seen here. Leave Handstamp's cookies out of that.
func Wrap(middleware func(http.Handler) http.Handler) fiber.Handler {
	return func(c fiber.Ctx) (err error) {
		failed := Do(c, func(w http.ResponseWriter, r *http.Request) {
			middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				c.SetContext(r.Context())
				fiber.Locals(c, requestKey{}, r) // middleware such as Adopt gives the request more than its context
				w.(*answer).handOver()
				err = c.Next()
			})).ServeHTTP(w, r)
		})
		if failed != nil {
			return failed
		}
		return err
	}
}

// Do calls fn with the request and the answer of c as net/http has them, for what takes these two:
//
//	err := handstampfiber.Do(c, func(w http.ResponseWriter, r *http.Request) {
//		_, failed = auth.Login(w, r, proof)
//	})
//
// Headers and cookies that fn sets are in c's answer when Do returns; the handler then goes on with c, or leaves the
// answer at what fn wrote. Neither argument may be used after fn returned. The error is a *fiber.Error with status 400,
// for a request that net/http would not have let in either; fn is not called then.
func Do(c fiber.Ctx, fn func(w http.ResponseWriter, r *http.Request)) error {
	r, err := request(c)
	if err != nil {
		return err
	}
	w := newAnswer(c)
	fn(w, r)
	w.handOver()
	return nil
}
