// Package importer reads accounts of other systems from a file, one line after the other, and gives them to a [Sink].
//
// It reads JSON objects, one to a line ([JSONL]), and comma-separated values with a header ([CSV]). Every line becomes
// an account or a [Problem] that names the line, the field and what to do; a line that cannot be used never keeps
// another from being read. The same file can be read again after a failure: who is there already is told apart from who
// is there with something else.
//
// The fields are
//
//	id              kept; 1 to 128 bytes of UTF-8 without control characters; missing: a new one
//	email           must be there
//	email_verified  true or false; missing: false
//	password_hash   one of the texts that the caller's CheckHash accepts; missing: no password
//	password_salt   for systems that keep it beside the hash; joined with it by the caller's JoinSalt
//	roles           a list of names; in CSV divided by spaces; missing: the role of new accounts
//	disabled        true or false; missing: false
//	created_at      such as 2021-04-05T06:07:08Z; missing: now
//
// In JSON, null is the same as missing; in CSV, an empty field is. A field that is not in the list is a problem, since a
// field that is silently left out is a fact about a person that is lost.
//
// Package importer writes nothing by itself, hashes nothing, and never repeats a value of the file in a message.
package importer
