package adapters_test

import (
	"io"
	"net/http"
	"strings"

	"github.com/gin-gonic/gin"
	"github.com/go-chi/chi/v5"
	"github.com/gofiber/fiber/v3"
	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/adapters/handstampfiber"
	"github.com/handstamp/handstamp/adapters/handstampgin"
	"github.com/labstack/echo/v5"
)

// The blocks of README.md are in these functions, line for line; TestReadme compares.

func withChi(auth *handstamp.Auth) http.Handler {
	r := chi.NewRouter()
	r.With(auth.Require()).Get("/me", func(w http.ResponseWriter, r *http.Request) {
		p, _ := handstamp.FromContext(r.Context())
		_, _ = io.WriteString(w, "you are "+string(p.User))
	})
	return r
}

func withGin(auth *handstamp.Auth) http.Handler {
	r := gin.New()
	members := r.Group("/", handstampgin.Wrap(auth.Require()))
	members.GET("/me", func(c *gin.Context) {
		p, _ := handstamp.FromContext(c.Request.Context())
		c.String(http.StatusOK, "you are %s", p.User)
	})
	r.POST("/login", func(c *gin.Context) {
		proof, err := auth.Prove(c.Request.Context(), handstamp.UserID(c.PostForm("user")))
		if !passwordIsRight(c.PostForm("user"), c.PostForm("password")) {
			c.String(http.StatusUnauthorized, "wrong user or password")
			return
		}
		if err == nil {
			_, err = auth.Login(c.Writer, c.Request, proof)
		}
		if err != nil {
			auth.Deny(c.Writer, c.Request, err)
		}
	})
	return r
}

func withEcho(auth *handstamp.Auth) http.Handler {
	e := echo.New()
	e.GET("/me", func(c *echo.Context) error {
		p, _ := handstamp.FromContext(c.Request().Context())
		return c.String(http.StatusOK, "you are "+string(p.User))
	}, echo.WrapMiddleware(auth.Require()))
	return e
}

func withFiber(auth *handstamp.Auth) *fiber.App {
	app := fiber.New(fiber.Config{ReadBufferSize: 16 << 10})
	app.Get("/me", handstampfiber.Wrap(auth.Require()), func(c fiber.Ctx) error {
		p, _ := handstamp.FromContext(c.Context())
		return c.SendString("you are " + string(p.User))
	})
	app.Post("/login", func(c fiber.Ctx) error {
		user, password := strings.Clone(c.FormValue("user")), c.FormValue("password")
		proof, err := auth.Prove(c.Context(), handstamp.UserID(user))
		if !passwordIsRight(user, password) {
			return c.Status(http.StatusUnauthorized).SendString("wrong user or password")
		}
		return handstampfiber.Do(c, func(w http.ResponseWriter, r *http.Request) {
			if err == nil {
				_, err = auth.Login(w, r, proof)
			}
			if err != nil {
				auth.Deny(w, r, err)
			}
		})
	})
	return app
}

func passwordIsRight(user, password string) bool { return user == "ada" && password == "pass" }
