package handstamp

import (
	"time"

	"github.com/handstamp/handstamp/permission"
)

// Rule is one more thing that a request must meet: [Permission], [MaxAuthAge] or [Fresh]. The zero Rule is met by nobody.
type Rule struct {
	kind       ruleKind
	permission string
	maxAge     time.Duration
}

type ruleKind uint8

const (
	rulePermission ruleKind = iota + 1
	ruleMaxAuthAge
	ruleFresh
)

// Permission asks for a permission such as posts:write. It panics for a text that is no permission: a mistyped rule
// would otherwise be found out by the user who is refused.
func Permission(name string) Rule {
	if err := permission.CheckAsked(name); err != nil {
		panic("handstamp: Permission: " + err.Error())
	}
	return Rule{kind: rulePermission, permission: name}
}

// MaxAuthAge asks that the user proved who they are at most so long ago ("step-up"). A service key meets it: a program
// has nobody who could log in again.
func MaxAuthAge(d time.Duration) Rule { return Rule{kind: ruleMaxAuthAge, maxAge: d} }

// Fresh asks the store whatever copy and lease say, for actions where even the bound of a lease is too long.
func Fresh() Rule { return Rule{kind: ruleFresh} }

func wantFresh(rules []Rule) bool {
	for _, r := range rules {
		if r.kind == ruleFresh {
			return true
		}
	}
	return false
}

// obey reports the first rule that is not met.
func obey(p Principal, rules []Rule, now time.Time) error {
	for _, r := range rules {
		switch r.kind {
		case rulePermission:
			if !p.May(r.permission) {
				return &DeniedError{Reason: ReasonForbidden, Check: "permission", Permission: r.permission}
			}
		case ruleMaxAuthAge:
			if p.Form != Key && !now.Before(p.AuthTime.Add(r.maxAge)) {
				return denied(ReasonStepUp, "auth_age")
			}
		case ruleFresh:
		default:
			return denied(ReasonForbidden, "zero_rule")
		}
	}
	return nil
}
