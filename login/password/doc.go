// Package password stores, checks and judges passwords.
//
// It gives one way for a password to enter ([Prepare]), one form at rest (argon2id in the PHC string format), a
// reader of the hashes that other systems made ([Inspect]), which stay until the next login replaces them, a queue
// that bounds the processor time and the memory that hashing may take ([Queue]), the combination of these that
// servers use ([Hasher]), and the rule which passwords may be chosen ([Policy]).
//
// It never prints, logs or returns a password, never trims or changes the case of one, never takes the beginning of
// one for the whole (bcrypt hashes made elsewhere know 72 bytes, so that longer passwords match none of them), never
// hashes with costs that a stored string dictates without bounds, and never asks the network about a password.
package password
