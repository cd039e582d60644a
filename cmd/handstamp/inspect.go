package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/token"
)

// inspectCmd is "handstamp inspect".
type inspectCmd struct {
	Token string `arg:"" optional:"" help:"The credential; without one, or with -, it is read from standard input, which keeps it out of the shell's history."`
	JSON  bool   `name:"json" help:"Print JSON."`
}

// maxCredential is longer than any credential, and any header around one.
const maxCredential = 16 << 10

// inspection is all that is said about a credential. It never holds the credential.
type inspection struct {
	Kind     string `json:"kind"`     // what it is
	Accepted bool   `json:"accepted"` // now, by a server with this configuration
	Meaning  string `json:"meaning"`  // one sentence for people
	Code     string `json:"code,omitempty"`
	Check    string `json:"check,omitempty"` // which check refused
	Since    *stamp `json:"since,omitempty"`
	Event    uint64 `json:"event,omitempty"`
	Reason   string `json:"reason,omitempty"` // why it was ended, as who ended it said

	User        handstamp.UserID `json:"user,omitempty"`
	Roles       []string         `json:"roles,omitempty"`
	Permissions []string         `json:"permissions,omitempty"`
	ExpiresAt   *stamp           `json:"expires_at,omitempty"`
	Session     *sessionView     `json:"session,omitempty"`
	ServiceKey  *serviceKeyView  `json:"service_key,omitempty"`
	Value       *valueView       `json:"token,omitempty"`
}

// Run explains a credential. That it is refused is an answer, not a failure.
func (c *inspectCmd) Run(ctx context.Context, a *app) error {
	text, err := c.credential(ctx, a)
	if err != nil {
		return err
	}
	t, err := a.openTool(ctx, need{secrets: true})
	if err != nil {
		return err
	}
	defer t.end()
	in, err := t.inspect(ctx, text)
	if err != nil {
		return fmt.Errorf("it could not be found out whether this credential is accepted: %w", err)
	}
	if c.JSON {
		return a.printJSON(in)
	}
	return in.print(a)
}

// credential is what was given, without the words that people copy along with it.
func (c *inspectCmd) credential(ctx context.Context, a *app) (string, error) {
	text := c.Token
	if text == "" || text == "-" {
		var err error
		if text, err = readLine(ctx, a.stdin, maxCredential); err != nil {
			return "", err
		}
	}
	text = strings.TrimSpace(text)
	for _, prefix := range []string{"Authorization:", "Bearer "} {
		if len(text) > len(prefix) && strings.EqualFold(text[:len(prefix)], prefix) {
			text = strings.TrimSpace(text[len(prefix):])
		}
	}
	if text == "" {
		return "", usage("give the credential as the argument or on standard input")
	}
	return text, nil
}

// inspect asks the engine what a server would answer now, and puts it into words. Another error than a refusal is "don't
// know".
func (t *tool) inspect(ctx context.Context, text string) (*inspection, error) {
	found := t.auth.Inspect(ctx, text)
	in := &inspection{Kind: found.Kind}
	refusal, refused := errors.AsType[*handstamp.DeniedError](found.Err)
	switch {
	case refused:
		in.refuse(refusal)
	case found.Err != nil:
		return nil, found.Err
	default:
		in.accept(found.Principal)
	}
	kind, _ := token.KindOf(text)
	if err := t.elsewhere(); err != nil && in.Check != "checksum" && (kind == token.Reference || kind == token.Anonymous || kind == token.Refresh) {
		return nil, err
	}
	in.known(found)
	switch {
	case kind == token.Reference:
		in.Kind = "a session token (hs_s_): it stands for a session that the server keeps"
	case kind == token.Anonymous:
		in.Kind = "a visitor's token (hs_a_): it stands for a session without a user, and logs nobody in"
	case kind == token.Refresh:
		in.refreshWords(found)
	case kind == token.ServiceKey:
		in.serviceKeyWords(found)
	case kind == token.Setup:
		return in, t.inspectSetup(ctx, in, text)
	case found.Kind == "value token":
		t.valueWords(in, found, text)
	default:
		in.noCredential(text)
	}
	return in, nil
}

func (in *inspection) accept(p handstamp.Principal) {
	in.Accepted, in.Meaning = true, "it is good"
	in.User, in.Roles, in.Permissions = p.User, p.Roles(), p.Permissions()
	if !p.ExpiresAt.IsZero() {
		end := stamp(p.ExpiresAt)
		in.ExpiresAt = &end
	}
}

// noCredential says what else it may be that was taken for a credential.
func (in *inspection) noCredential(text string) {
	in.Kind = "nothing that Handstamp made"
	in.Meaning = "it has neither a prefix of ours (hs_s_, hs_a_, hs_r_, hs_k_) nor the form of a value token, so it is refused before anything is looked up"
	for _, id := range [][2]string{{"usr_", "a user"}, {"ses_", "a session"}, {"key_", "a service key"}, {"evt_", "an audit entry"}, {"vrf_", "a verifier"}} {
		if strings.HasPrefix(text, id[0]) {
			in.Kind, in.Meaning = "the id of "+id[1], "an id is public and opens nothing: it is no credential"
		}
	}
}

// refuse writes down why the answer is no.
func (in *inspection) refuse(d *handstamp.DeniedError) {
	in.Code, in.Check, in.Event, in.Meaning = string(d.Reason), d.Check, d.By, meaning(d.Check)
	if !d.Since.IsZero() {
		s := stamp(d.Since)
		in.Since = &s
	}
}

// meaning says in plain words what a check found.
func meaning(check string) string {
	words := map[string]string{
		"checksum":                "its checksum does not fit: it was mistyped or cut off, or somebody made it up; nothing was looked up",
		"unknown":                 "no record belongs to it: it comes from another installation, or the record was swept after its end",
		"unknown_session":         "its session has no record here: it comes from another installation, or the record was swept after its end",
		"session_ended":           "its session was ended",
		"user_ended":              "all sessions of its user were ended, this one among them",
		"all_ended":               "everybody's sessions were ended",
		"user_disabled":           "its user is disabled or deleted",
		"absolute_end":            "its session has reached its absolute end, which no activity moves",
		"idle_end":                "nothing happened in its session for as long as the idle time",
		"signing_key":             "the key that signed it was revoked, and with it everything it ever signed",
		"event":                   "an event since it was made ended its session, its user's sessions or everybody's",
		"changed":                 "the roles of its user, or the secrets of its session, changed after it was made: refresh it",
		"service_key":             "the service key has ended",
		"other_user":              "its session belongs to another user than it says",
		"refresh_mac":             "no secret of this installation made it: it is foreign, forged, or older than the oldest secret that is still listed",
		"mode":                    "its session has no refresh tokens",
		"family":                  "the session got new secrets after it was made, such as by a new password",
		"generation":              "it was spent, and a later one is in use: whoever presents it now ends the session, since one of the two was stolen",
		"ahead_of_restored_store": "it is newer than the database, which was put back from a backup",
		"kind":                    "a token of this kind opens nothing but its own door",
		"setup":                   "this link was used, voided by a newer one, or has run out, or there is an administrator already",
		"size":                    "it is longer than any token of ours",
		"form":                    "it is not in the compact form of a token, or not in canonical base64url",
		"header":                  "its header is no strict JSON, or has a parameter that must not be there",
		"type":                    "its typ is not at+jwt: it is another kind of token",
		"key":                     "it names a signing key that this installation does not have: it is foreign, or its key was removed after its tokens had run out",
		"algorithm":               "its algorithm is not the key's",
		"signature":               "its signature does not fit: it was changed or forged",
		"claims":                  "its claims are not those of a token that Handstamp makes",
		"issuer":                  "its issuer (iss) is not the one configured here (token.issuer, by default public_url)",
		"audience":                "its audience (aud) is not the one configured here (token.audience, by default public_url)",
		"expiry":                  "it has run out (exp)",
		"not_before":              "it is not valid yet (nbf): the clock of who made it is ahead",
		"issued_at":               "it comes from the future (iat): the clock of who made it is ahead",
	}
	if w, ok := words[check]; ok {
		return w
	}
	return "it was refused by the check " + check
}

// print writes the inspection for a person.
func (in *inspection) print(a *app) error {
	now := a.now()
	rows := [][]string{{"accepted now", map[bool]string{true: "yes", false: "no"}[in.Accepted]}, {"because", in.Meaning}}
	add := func(name, value string) {
		if value != "" {
			rows = append(rows, []string{name, value})
		}
	}
	if in.Code != "" {
		add("answer", fmt.Sprintf("%s (check %s)", in.Code, in.Check))
	}
	if in.Since != nil {
		add("since", when(time.Time(*in.Since), now))
	}
	if in.Event != 0 {
		add("by event", strings.TrimSpace(fmt.Sprintf("%d %s", in.Event, quoted(in.Reason))))
	}
	add("user", string(in.User))
	add("roles", strings.Join(in.Roles, " "))
	add("permissions", strings.Join(in.Permissions, " "))
	if in.ExpiresAt != nil {
		add("stops", when(time.Time(*in.ExpiresAt), now))
	}
	if s := in.Session; s != nil {
		add("session", fmt.Sprintf("%s of %s, mode %s, transport %s", s.ID, cmp.Or(s.User, "nobody"), s.Mode, s.Transport))
		add("began", strings.TrimSpace(when(time.Time(s.CreatedAt), now)+" "+from(s)))
		add("last seen", when(time.Time(s.LastSeenAt), now))
		add("idle end", when(time.Time(s.IdleExpiresAt), now))
		add("absolute end", when(time.Time(s.ExpiresAt), now))
	}
	if k := in.ServiceKey; k != nil {
		add("service key", fmt.Sprintf("%s %q, may %s", k.ID, k.Name, wordsOf(k.Permissions)))
		add("made", when(time.Time(k.CreatedAt), now))
		add("ends", when(time.Time(k.ExpiresAt), now))
	}
	if in.Value != nil {
		rows = append(rows, in.Value.rows(now)...)
	}
	return a.printTable([]string{"what it is", in.Kind}, rows)
}

func quoted(s string) string {
	if s == "" {
		return ""
	}
	return fmt.Sprintf("(%q)", s)
}

func from(s *sessionView) string {
	if s.IP == "" {
		return ""
	}
	return "from " + s.IP
}

// known fills in what the record says, whatever the answer.
func (in *inspection) known(found handstamp.Inspection) {
	if found.Session.ID == "" {
		return
	}
	v := viewSession(found.Session)
	in.Session, in.User = &v, found.Session.User
	at := func(t time.Time, reason string) {
		in.Reason = reason
		if s := stamp(t); in.Since == nil && !t.IsZero() {
			in.Since = &s
		}
	}
	switch in.Event {
	case 0:
	case found.Session.EndedBy:
		at(found.Session.EndedAt, found.Session.EndReason)
	case found.Subject.Ended:
		at(found.Subject.EndedAt, found.Subject.EndReason)
	case found.Subject.AllEnded:
		at(found.Subject.AllEndedAt, "")
	}
}
