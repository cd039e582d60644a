// Command notes is a small application that embeds Handstamp: a board of notes for people who have an account. It shows
// everything that a server-rendered application needs, and nothing else:
//
//   - sign-up, login and logout by forms, each with a form token (app.go, account.go);
//   - pages that send visitors to the login and back (Options.LoginURL, Auth.ReturnTo);
//   - notes that only their owner may delete, or who has the permission notes:delete (board.go);
//   - a page for administrators, behind a permission and a recent login (admin.go);
//   - log out here, and log out everywhere.
//
// Accounts, sessions and notes are in one SQLite file: Handstamp's tables begin with handstamp_, the application's own
// stand beside them.
//
//	go run ./examples/notes
//	go run ./examples/notes -make-admin ada@example.com   # after ada has signed up
package main
