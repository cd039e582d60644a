package handstamp_test

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/permission"
	"github.com/handstamp/handstamp/store/memory"
)

// Every mistake in the options is reported at once.
func ExampleOpen() {
	_, err := handstamp.Open(context.Background(), memory.New(), handstamp.Options{
		PublicURL: "http://app.example.com",
		Modes:     []handstamp.Mode{handstamp.ModeHybrid},
	})
	fmt.Println(err)
	// Output:
	// handstamp: Options.Keys is needed for the mode hybrid
	// handstamp: Options.PublicURL: plain http is for loopback; use https, or set InsecureHTTP on a network you trust
	// handstamp: Options.Secrets is needed for the mode hybrid
}

func ExampleOptions() {
	auth, err := handstamp.Open(context.Background(), memory.New(), handstamp.Options{
		PublicURL: "https://app.example.com",
		LoginURL:  "/login",
		Session:   handstamp.SessionOptions{IdleTimeout: time.Hour, MaxPerUser: 10},
		Cookie:    handstamp.CookieOptions{SameSite: http.SameSiteLaxMode},
		Roles:     permission.Table{"editor": permission.NewSet("posts:*")},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer auth.Close()
	fmt.Println(auth.Modes())
	// Output: [session]
}

// Users, and what they may do, stay in the application's own tables. No check waits for this function.
func ExampleOptions_permissions() {
	mayPublish := true // in a table of the application
	auth := openAuth(memory.New(), handstamp.Options{
		Permissions: func(_ context.Context, u handstamp.UserID) (handstamp.Grants, error) {
			if u == "ada" && mayPublish {
				return handstamp.Grants{Permissions: []string{"posts:publish"}}, nil
			}
			return handstamp.Grants{}, nil
		},
	})
	defer auth.Close()
	publish := auth.Require(handstamp.Permission("posts:publish"))(hello)
	w := logIn(auth, "ada")
	fmt.Println(ask(publish, browse("POST", "/publish", w)))

	mayPublish = false
	_, err := auth.Changed(context.Background(), "ada", handstamp.EndOptions{})
	fmt.Println(err)
	fmt.Println(ask(publish, browse("POST", "/publish", w)))
	// Output:
	// 200 hello, ada
	// <nil>
	// 403 forbidden
}

// The application's own claims are the same in every form of a credential.
func ExampleOptions_claims() {
	auth := openAuth(memory.New(), handstamp.Options{
		Claims: func(_ context.Context, s handstamp.Session) (map[string]any, error) {
			return map[string]any{"tenant": "acme"}, nil
		},
	})
	defer auth.Close()
	p, err := auth.Verify(browse("GET", "/", logIn(auth, "ada")))
	var tenant string
	fmt.Println(p.Claim("tenant", &tenant), tenant, err)
	// Output: true acme <nil>
}
