// Command ownusers is an application that keeps its users, as most do when they meet Handstamp: a table of its own with
// bcrypt hashes, roles of its own, a router and a connection pool of its own. Handstamp keeps the sessions and nothing
// else. It shows:
//
//   - a login after the application's own check, in the one order that is safe (login.go);
//   - roles that stay in the table: Options.Permissions is asked at login and by Changed (app.go, admin.go);
//   - the list of devices, log out here, on one device, on the others, everywhere (devices.go);
//   - a password once more before the account is deleted, and new secrets with it ("step-up", account.go);
//   - a new password, which ends the sessions of whoever knew the old one (account.go).
//
// It speaks JSON, so that a test reads well; forms are in examples/notes. The first who signs up is the manager.
//
//	go run ./examples/ownusers
//
// The folders python and node hold the same application in other languages, which ask a Handstamp server over HTTP. One
// test drives all three.
package main
