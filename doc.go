// Package handstamp answers one question for every request: who is this, and may they do that?
//
// Open an [Auth] on a store. When somebody has proved who they are, [Auth.Login] starts a session and writes its cookie;
// [Verifier.Require] lets only good requests through to a handler; [FromContext] says who it is; [Auth.LogOut] and
// [Auth.EndUser] end one session or all of a user's.
//
//	auth, err := handstamp.Open(ctx, memory.New(), handstamp.Options{PublicURL: "http://localhost:8080"})
//	…
//	proof, err := auth.Prove(ctx, "ada")     // before the password is checked
//	if !passwordIsRight { … }
//	_, err = auth.Login(w, r, proof)         // a session, and its cookie
//	…
//	mux.Handle("/notes", auth.Require()(notes))
//
// Users may live in the application's own table: a [UserID] is any string. Package account keeps users for applications
// that have none, and package server is the whole of it over HTTP.
//
// One session stands behind every form of a credential ([ModeSession], [ModeToken], [ModeHybrid]); one list shows them
// all and one call ends them all. Every answer is one of three: yes (a nil error), no (an error that is
// [ErrUnauthenticated] or [ErrForbidden]), or "could not find out" (any other error), which is never taken for no: an
// outage logs nobody out.
//
// # How to read this package
//
// What an application uses, in the order it meets it:
//
//   - Opening: [Open], [Auth], [Options] and its chapters ([SessionOptions], [TokenOptions], [RefreshOptions],
//     [CookieOptions], [AnonymousOptions]), [Keys].
//   - Logging in: [Proof], [Grants], [StartOptions] ([Mode], [Transport]), [Grant], [RefreshRequest].
//   - Checking: [Verifier], [Rule] ([Permission], [MaxAuthAge], [Fresh]), [Principal], [FromContext].
//   - Refusing: the errors, [DeniedError] and its [Reason], [UnavailableError], [Problem].
//   - Ending: [EndOptions], [Ended], [Session], [SessionFilter].
//   - Keeping: [Data], [Codec].
//   - Looking into it: [Inspection], [Health].
//
// What is left is for who writes a backend or a way to log in, and can be skipped: [Store] and what its methods take and
// give, [Do], [Starting] and [Renewing]. It is here and not in a package of its own because the rule for when a session
// is alive ([Live]) is one rule, for the engine and for every store.
//
// The package never checks a password, never keeps a secret in the clear, and never lets a check wait for anything but
// a look-up, where memory cannot decide.
package handstamp
