package handstamp_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// requirements are what must hold before a version is given to anybody, each by its short name. Each has at least one
// test whose name begins with it: TestS5_…
const requirements = `
P1  passwords of eight characters and more
P2  passwords of up to 1,024 bytes
P3  passwords are verified exactly as received
P4  no composition rules
P5  common passwords are refused
P7  changing a password needs the current one
P8  argon2id, raised at the next login
P9  an answer does not tell whether an account exists
P10 the same work on every early exit
P11 failed logins are counted, atomically
P12 nobody can lock an owner out
P13 every spelling of an account shares one budget
P14 the client's address is found by the rules for trusted proxies
P15 no default and no weak secrets
P20 passwords are normalised in one way on every path
E9  equality of addresses is one documented function
E10 one plain address per field
E14 an empty token never matches
S1  tokens have 256 bits
S2  a store holds only hashes
S3  new secrets at login and step-up
S4  an id that a client presents is never adopted
S5  log-out ends every form
S6  the idle end is the server's
S7  the absolute end is never moved
S8  disabling a user ends everything
S9  a new password ends the other sessions
S10 an administrator can end one, all of a user, all
S11 users see and end their own sessions
S12 sensitive changes need a recent login
S13 a slow request never brings a session back
S15 a check from memory never outlives a revocation
S16 any change to a token is refused
S17 tokens are never taken from a URL
S18 two credentials have one documented answer
C1  the cookie's name and attributes
C2  SameSite is explicit
C3  a cookie's secret is never in a body
C5  cookies are read byte for byte
C6  how much of the cookies is read is bounded
C7  unsafe methods obey the origin rules
C8  so do login, sign-up, log-out and refresh
C9  JSON endpoints take JSON only
C11 safe methods change nothing
C12 HSTS on every answer over TLS
C13 CORS answers a list of origins only
C15 nothing about identity is cached
C17 return_to stays here
C18 errors encode what they show
J1  the key decides the algorithm
J2  keys and addresses in a token are ignored
J3  what has two readings is refused
J4  exp, nbf and iat are enforced
J5  iss and aud are enforced
J6  every kind of token opens its own door only
J7  keys are strong
J8  the key set holds public parameters only
J9  keys are published before they sign, and kept while they verify
J10 kid is only a map's key
J11 the cost of parsing is bounded
J12 an error comes without claims
J13 base64url is strict
J14 ECDSA signatures have their width and range
J16 a value token holds no personal data
J17 refresh tokens rotate; an old one ends the session
J18 of many refreshes one rotates
J19 what was spent or ended stays so over a restart
A1  every administrative route needs its permission
A2  other people's ids behave like absent ones
A3  nobody sets a field that is not theirs
A4  a role that was taken away is gone from live tokens
A5  the acting user comes from the credential only
A7  cursors are authenticated
A8  identity headers from outside are never believed
L1  every security event is in the audit log
L2  no secret in logs, metrics, errors
L3  nothing can be injected into a log
L4  errors are generic, and closed
L5  metrics and health details are on a listener of their own
R1  limits of size and time
R2  JSON is strict
R4  secrets are compared in constant time or by hash
`

// later are requirements that have nothing to hold yet, each with the reason.
const later = `
P17 there are no hints or secret questions anywhere in the API
E1  there is no mail: resets, verification and links come with it
E2  as E1
E4  as E1
E5  as E1; the one link there is comes from the public URL (P16)
E6  as E1
E7  as E1
E8  as E1
E11 as E1
E12 as E1
E13 as E1
A9  there are no rules that skip authentication by path
`

// TestRequirementsHaveTests fails when a requirement has lost its test.
func TestRequirementsHaveTests(t *testing.T) {
	tests := map[string]bool{}
	named := regexp.MustCompile(`(?m)^func Test([A-Z][0-9]+)_`)
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") && !strings.Contains(path, "storetest/") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, m := range named.FindAllSubmatch(text, -1) {
			tests[string(m[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(strings.TrimSpace(requirements)) {
		name, what, _ := strings.Cut(strings.TrimSpace(line), " ")
		if !tests[name] {
			t.Errorf("no test is named Test%s_…: %s", name, strings.TrimSpace(what))
		}
	}
	for line := range strings.Lines(strings.TrimSpace(later)) {
		if name, why, _ := strings.Cut(strings.TrimSpace(line), " "); why == "" || strings.Contains(requirements, "\n"+name+" ") {
			t.Errorf("%s: a requirement without a test needs a reason, and stands in one list only", name)
		}
	}
}
