package adapters_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"testing"

	"github.com/gin-gonic/gin"
	"github.com/go-chi/chi/v5"
	"github.com/gofiber/fiber/v3"
	"github.com/labstack/echo/v5"

	"github.com/handstamp/handstamp/adapters/handstampfiber"
	"github.com/handstamp/handstamp/adapters/handstampgin"
)

// Every router answers the same routes. Around them is middleware of the router's own, which names a header that
// Handstamp names too, and turns a panic into an answer.

const (
	outer     = "Accept-Language"
	recovered = "recovered: %v"
	plain     = "text/plain; charset=utf-8"
	headers   = 16 << 10 // what fiber takes of a request's headers
)

// routers are what is compared with net/http.
func routers() map[string]func(testing.TB, []route) string {
	return map[string]func(testing.TB, []route) string{
		"chi":  onChi,
		"gin":  onGin,
		"echo": onEcho,
		"fiber": func(t testing.TB, routes []route) string {
			return onFiber(t, fiber.New(fiber.Config{ReadBufferSize: headers}), routes)
		},
		"fiber with streams": func(t testing.TB, routes []route) string {
			return onFiber(t, fiber.New(fiber.Config{StreamRequestBody: true, ReadBufferSize: headers}), routes)
		},
		"fiber after its own look at the cookies": func(t testing.TB, routes []route) string {
			app := fiber.New(fiber.Config{ReadBufferSize: headers})
			app.Use(func(c fiber.Ctx) error {
				_ = c.Cookies("handstamp")
				return c.Next()
			})
			return onFiber(t, app, routes)
		},
	}
}

func around(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if v := recover(); v != nil {
				w.WriteHeader(http.StatusInternalServerError)
				_, _ = fmt.Fprintf(w, recovered, v)
			}
		}()
		w.Header().Add("Vary", outer)
		next.ServeHTTP(w, r)
	})
}

func (rt route) handler() http.Handler {
	if rt.serve != nil {
		return rt.serve
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Content-Type", plain)
		_, _ = io.WriteString(w, rt.say(userOf(r.Context()), string(body)))
	})
}

func onNetHTTP(t testing.TB, routes []route) string {
	mux := http.NewServeMux()
	for _, rt := range routes {
		h := rt.handler()
		for _, wrap := range slices.Backward(rt.wraps) {
			h = wrap(h)
		}
		mux.Handle("GET "+rt.path, h)
		mux.Handle("POST "+rt.path, h)
	}
	return serveHTTP(t, around(mux))
}

func onChi(t testing.TB, routes []route) string {
	r := chi.NewRouter()
	r.Use(around)
	for _, rt := range routes {
		with := r.With(rt.wraps...)
		with.Method(http.MethodGet, rt.path, rt.handler())
		with.Method(http.MethodPost, rt.path, rt.handler())
	}
	return serveHTTP(t, r)
}

func onGin(t testing.TB, routes []route) string {
	gin.SetMode(gin.ReleaseMode)
	r := gin.New()
	r.Use(func(c *gin.Context) {
		defer func() {
			if v := recover(); v != nil {
				c.String(http.StatusInternalServerError, recovered, v)
			}
		}()
		c.Writer.Header().Add("Vary", outer)
		c.Next()
	})
	for _, rt := range routes {
		var chain []gin.HandlerFunc
		for _, wrap := range rt.wraps {
			chain = append(chain, handstampgin.Wrap(wrap))
		}
		chain = append(chain, func(c *gin.Context) {
			if rt.serve != nil {
				rt.serve(c.Writer, c.Request)
				return
			}
			body, _ := c.GetRawData()
			c.String(http.StatusOK, "%s", rt.say(userOf(c.Request.Context()), string(body)))
		})
		r.GET(rt.path, chain...)
		r.POST(rt.path, chain...)
	}
	return serveHTTP(t, r)
}

func onEcho(t testing.TB, routes []route) string {
	e := echo.New()
	e.Use(func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c *echo.Context) (err error) {
			defer func() {
				if v := recover(); v != nil {
					err = c.String(http.StatusInternalServerError, fmt.Sprintf(recovered, v))
				}
			}()
			c.Response().Header().Add("Vary", outer)
			return next(c)
		}
	})
	for _, rt := range routes {
		var chain []echo.MiddlewareFunc
		for _, wrap := range rt.wraps {
			chain = append(chain, echo.WrapMiddleware(wrap))
		}
		h := func(c *echo.Context) error {
			if rt.serve != nil {
				rt.serve(c.Response(), c.Request())
				return nil
			}
			body, err := io.ReadAll(c.Request().Body)
			if err != nil {
				return err
			}
			c.Response().Header().Set("Content-Type", plain)
			return c.String(http.StatusOK, rt.say(userOf(c.Request().Context()), string(body)))
		}
		e.GET(rt.path, h, chain...)
		e.POST(rt.path, h, chain...)
	}
	return serveHTTP(t, e)
}

func onFiber(t testing.TB, app *fiber.App, routes []route) string {
	app.Use(func(c fiber.Ctx) (err error) {
		defer func() {
			if v := recover(); v != nil {
				err = c.Status(http.StatusInternalServerError).SendString(fmt.Sprintf(recovered, v))
			}
		}()
		c.Append("Vary", outer)
		return c.Next()
	})
	for _, rt := range routes {
		var chain []any
		for _, wrap := range rt.wraps {
			chain = append(chain, handstampfiber.Wrap(wrap))
		}
		chain = append(chain, func(c fiber.Ctx) error {
			if rt.serve != nil {
				return handstampfiber.Do(c, rt.serve)
			}
			return c.SendString(rt.say(userOf(c.Context()), string(c.Body())))
		})
		app.Add([]string{http.MethodGet, http.MethodPost}, rt.path, chain[0], chain[1:]...)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- app.Listener(l, fiber.ListenConfig{DisableStartupMessage: true}) }()
	t.Cleanup(func() {
		if err := app.Shutdown(); err != nil {
			t.Error(err)
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}
