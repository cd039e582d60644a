package handstamp_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/store/memory"
)

// Who was logged in before the application came to Handstamp stays logged in.
func ExampleAuth_Adopt() {
	auth := openAuth(memory.New(), handstamp.Options{Secrets: [][]byte{testSecret()}})
	defer auth.Close()
	type oldSession struct {
		user handstamp.UserID
		at   time.Time
	}
	old := map[string]oldSession{"8d969eef6ecad3c2": {"ada", time.Now().Add(-time.Hour)}} // of the system before

	adopt := auth.Adopt(func(r *http.Request) (handstamp.Proof, error) {
		c, err := r.Cookie("old_session")
		if err != nil {
			return handstamp.Proof{}, handstamp.ErrUnauthenticated
		}
		s, ok := old[c.Value]
		if !ok {
			return handstamp.Proof{}, handstamp.ErrUnauthenticated
		}
		proof, err := auth.Prove(r.Context(), s.user)
		return proof.Replacing(c.Value, s.at), err
	})
	handler := adopt(auth.Require()(hello))

	r := browse("GET", "/")
	r.AddCookie(&http.Cookie{Name: "old_session", Value: "8d969eef6ecad3c2"})
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	fmt.Println(w.Code, w.Body)
	fmt.Println(ask(handler, browse("GET", "/", w))) // with our cookie, and without the old one

	r = browse("GET", "/")
	r.AddCookie(&http.Cookie{Name: "old_session", Value: "made up"})
	fmt.Println(ask(handler, r))
	// Output:
	// 200 hello, ada
	// 200 hello, ada
	// 401 missing_credential
}

// Without the time of its issue an old credential counts as older than everything: a rule for a recent login is not met.
func ExampleProof_Replacing() {
	auth := openAuth(memory.New(), handstamp.Options{Secrets: [][]byte{testSecret()}})
	defer auth.Close()
	adopt := auth.Adopt(func(r *http.Request) (handstamp.Proof, error) {
		proof, err := auth.Prove(r.Context(), "ada")
		return proof.Replacing("the text of the old cookie", time.Time{}), err
	})
	fmt.Println(ask(adopt(auth.Require()(hello)), browse("GET", "/")))
	fmt.Println(ask(adopt(auth.Require(handstamp.MaxAuthAge(time.Hour))(hello)), browse("GET", "/")))
	// Output:
	// 200 hello, ada
	// 403 step_up_required
}
