// Package handstamptest is for tests of applications that use Handstamp: logged-in requests and clients in one line, a
// clock that moves by hand, and a store that can be taken down. A test of a protected handler:
//
//	h := handstamptest.New(t)
//	handler := h.Auth.Require(handstamp.Permission("notes:write"))(notes)
//	w := httptest.NewRecorder()
//	handler.ServeHTTP(w, h.Login(httptest.NewRequest("POST", "/notes", nil), "ada", "notes:write"))
//	// w.Code is 200; without "notes:write" it is 403, and without h.Login it is 401.
//
// Nothing is bypassed: sessions, cookies, tokens and refusals are those of the real [handstamp.Auth] on a store in
// memory. What needs a listening server uses [Harness.Client] with net/http/httptest; what needs only a context, see
// [NewContext].
//
// What a user may do belongs to the user and not to one session, as everywhere in Handstamp: each Login, Client and Token
// says anew what all sessions of that user may do from then on. Use one user for each set of permissions.
//
// Time stands still unless [Harness.Advance] moves it, so a test never sleeps and never depends on how fast the machine
// is.
//
// It is for tests only: the secrets it uses are in its source. Importing it pulls in package testing.
package handstamptest
