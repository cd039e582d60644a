package handstamp_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/store/memory"
)

// Require does this by itself; a handler that anybody may use and that changes something does it first.
func ExampleVerifier_CheckOrigin() {
	auth := openAuth(memory.New(), handstamp.Options{PublicURL: "https://app.example.com", Origins: []string{"https://www.example.com"}})
	defer auth.Close()
	for _, origin := range []string{"https://app.example.com", "https://www.example.com", "https://evil.example"} {
		r := httptest.NewRequest("POST", "/newsletter", nil)
		r.Header.Set("Origin", origin) // as a browser does
		err := auth.CheckOrigin(r)
		fmt.Println(origin, errors.Is(err, handstamp.ErrOrigin))
	}
	// Output:
	// https://app.example.com false
	// https://www.example.com false
	// https://evil.example true
}

// A WebSocket opens with a GET, which any page can make a browser send.
func ExampleVerifier_CheckHandshake() {
	auth := openAuth(memory.New(), handstamp.Options{})
	defer auth.Close()
	r := httptest.NewRequest("GET", "/socket", nil)
	r.Header.Set("Origin", "https://evil.example")
	fmt.Println(auth.CheckOrigin(r) == nil, auth.CheckHandshake(r) == nil)
	// Output: true false
}

func ExampleAuth_FormToken() {
	auth := openAuth(memory.New(), handstamp.Options{})
	defer auth.Close()
	page := httptest.NewRecorder()
	token := auth.FormToken(page, browse("GET", "/signup"))
	// In the page: <input type="hidden" name="handstamp_form" value="{{token}}">

	post := func(token string) error {
		r := browse("POST", "/signup", page)
		r.Form, r.PostForm = nil, url.Values{handstamp.FormField: {token}}
		return auth.CheckForm(r)
	}
	fmt.Println(post(token))
	fmt.Println(post("guessed"))
	// Output:
	// <nil>
	// handstamp: refused by the origin rules: form token
}

func ExampleAuth_CheckForm() {
	auth := openAuth(memory.New(), handstamp.Options{})
	defer auth.Close()
	w := logIn(auth, "ada")
	token := auth.FormToken(httptest.NewRecorder(), browse("GET", "/profile", w))

	save := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := auth.CheckForm(r); err != nil {
			auth.Deny(w, r, err)
			return
		}
		fmt.Fprint(w, "saved ", r.PostFormValue("name"))
	})
	r := browse("POST", "/profile", w)
	r.PostForm = url.Values{handstamp.FormField: {token}, "name": {"Ada"}}
	fmt.Println(ask(auth.Require()(save), r))
	// Output: 200 saved Ada
}

// Where a login sends the browser next is what a link says, so it is checked.
func ExampleVerifier_ReturnTo() {
	auth := openAuth(memory.New(), handstamp.Options{PublicURL: "https://app.example.com"})
	defer auth.Close()
	for _, target := range []string{"/orders?page=2", "https://app.example.com/orders", "https://evil.example/", "//evil.example"} {
		fmt.Println(auth.ReturnTo(target, "/home"))
	}
	// Output:
	// /orders?page=2
	// https://app.example.com/orders
	// /home
	// /home
}

// Page loads are sent to the login, everything else is told in JSON.
func ExampleVerifier_DenyDefault() {
	auth := openAuth(memory.New(), handstamp.Options{LoginURL: "/login"})
	defer auth.Close()
	page := browse("GET", "/orders")
	page.Header.Set("Accept", "text/html")
	w := httptest.NewRecorder()
	auth.Require()(hello).ServeHTTP(w, page)
	fmt.Println(w.Code, w.Header().Get("Location"))
	fmt.Println(ask(auth.Require()(hello), browse("GET", "/orders.json")))

	w = httptest.NewRecorder()
	_, err := auth.Verify(page)
	auth.DenyDefault(w, page, err) // what Options.OnDenied calls for what it leaves alone
	fmt.Println(w.Code)
	// Output:
	// 302 /login?return_to=%2Forders
	// 401 missing_credential
	// 302
}

func ExampleIsNavigation() {
	page := httptest.NewRequest("GET", "/", nil)
	page.Header.Set("Accept", "text/html,*/*")
	script := httptest.NewRequest("GET", "/api", nil)
	script.Header.Set("Sec-Fetch-Mode", "cors")
	fmt.Println(handstamp.IsNavigation(page), handstamp.IsNavigation(script))
	// Output: true false
}

func ExampleProblemOf() {
	w := httptest.NewRecorder()
	handstamp.ProblemOf(handstamp.ErrNotFound).Write(w)
	fmt.Println(w.Code, w.Header().Get("Content-Type"))
	fmt.Print(w.Body)
	// Output:
	// 404 application/problem+json
	// {"type":"urn:handstamp:problem:not_found","title":"Not found","status":404,"detail":"There is no such thing, or it is not yours.","code":"not_found"}
}

// Answers of the application's own look like the others.
func ExampleNewProblem() {
	p := handstamp.NewProblem(http.StatusUnprocessableEntity, "invalid_input", "Invalid input", "Two fields are wrong.")
	p.Errors = []handstamp.FieldError{{Field: "name", Message: "is needed"}}
	p.RetryAfter = time.Minute
	w := httptest.NewRecorder()
	p.Write(w)
	fmt.Println(w.Code, w.Header().Get("Retry-After"))
	fmt.Println(strings.Contains(w.Body.String(), `"errors":[{"field":"name","message":"is needed"}]`))
	// Output:
	// 422 60
	// true
}

// Clients tell answers apart by the code, which is stable, and not by the text.
func ExampleProblem() {
	auth := openAuth(memory.New(), handstamp.Options{})
	defer auth.Close()
	_, err := auth.Verify(browse("GET", "/"))
	var p handstamp.Problem = handstamp.ProblemOf(err)
	fmt.Println(p.Status, p.Code)
	// Output: 401 missing_credential
}

func ExampleCookieOptions() {
	auth := openAuth(memory.New(), handstamp.Options{
		PublicURL: "https://app.example.com",
		Cookie:    handstamp.CookieOptions{Domain: "example.com", SameSite: http.SameSiteLaxMode},
	})
	defer auth.Close()
	c := logIn(auth, "ada").Result().Cookies()[0]
	fmt.Println(c.Name, c.Domain, c.SameSite == http.SameSiteLaxMode)
	// Output: __Secure-handstamp example.com true
}

// A refresh endpoint for browsers reads the refresh cookie and writes both cookies anew.
func ExampleAuth_RefreshCookie() {
	store := memory.New()
	auth := openAuth(store, handstamp.Options{Keys: openKeys(store, time.Now), Secrets: [][]byte{testSecret()}, RefreshPath: "/refresh"})
	defer auth.Close()
	refresh := func(w http.ResponseWriter, r *http.Request) {
		if err := auth.CheckOrigin(r); err != nil {
			auth.Deny(w, r, err)
			return
		}
		token, ok := auth.RefreshCookie(r)
		if !ok {
			http.Error(w, "log in", http.StatusUnauthorized)
			return
		}
		grant, err := auth.Refresh(r.Context(), handstamp.RefreshRequest{Token: token, Client: auth.ClientOf(r)})
		if err != nil {
			if reason, _ := handstamp.ReasonOf(err); reason == handstamp.ReasonReused {
				auth.ClearCookies(w)
			}
			auth.Deny(w, r, err)
			return
		}
		auth.Deliver(w, grant)
	}

	proof, err := auth.Prove(context.Background(), "ada")
	fatal(err)
	proof.Mode, proof.Transport = handstamp.ModeHybrid, handstamp.TransportCookie
	login, answer := httptest.NewRecorder(), httptest.NewRecorder()
	_, err = auth.Login(login, browse("POST", "/login"), proof)
	fatal(err)
	refresh(answer, browse("POST", "/refresh", login))
	for _, c := range answer.Result().Cookies() {
		fmt.Println(c.Name, c.Path)
	}
	// Output:
	// __Host-handstamp /
	// __Secure-handstamp-refresh /refresh
}

// Two cookies of one name: which of them is the user's is not known, so nothing is done in anybody's name.
func ExampleVerifier_CheckCookies() {
	auth := openAuth(memory.New(), handstamp.Options{})
	defer auth.Close()
	r := browse("POST", "/logout", logIn(auth, "ada"), logIn(auth, "bob"))
	err := auth.CheckCookies(r)
	reason, _ := handstamp.ReasonOf(err)
	fmt.Println(reason == handstamp.ReasonDuplicate, len(auth.Credentials(r)))
	// Output: true 2
}

func ExampleAuth_FromRequest() {
	auth := openAuth(memory.New(), handstamp.Options{})
	defer auth.Close()
	ctx := context.Background()
	old := logIn(auth, "ada")

	how, err := auth.FromRequest(browse("POST", "/login", old), handstamp.StartOptions{BrowserSession: true})
	fatal(err)
	proof, err := auth.Prove(ctx, "ada")
	fatal(err)
	proof.StartOptions = how
	grant, err := auth.Start(ctx, proof) // takes the place of the session before
	fatal(err)
	fmt.Println(grant.Session.BrowserSession)
	fmt.Println(ask(auth.Require()(hello), browse("GET", "/", old)))
	// Output:
	// true
	// 401 revoked
}

// A reverse proxy asks about a request that it was sent; what counts is that request.
func ExampleAuth_CheckForwarded() {
	auth := openAuth(memory.New(), handstamp.Options{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}})
	defer auth.Close()
	r := browse("GET", "/v1/check", logIn(auth, "ada"))
	r.RemoteAddr = "127.0.0.1:1234"
	r.Header.Set("X-Forwarded-Method", "POST")
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	fmt.Println(auth.CheckForwarded(r))
	// Output: handstamp: refused by the origin rules: Sec-Fetch-Site
}
