package revoke

import "fmt"

// journal is the log as one verifier applied it: every event after low, in order and without a gap, so an event's place in
// the slice is its number.
type journal struct {
	log    string // id of the log; empty before the first registration
	low    uint64
	lowTag Tag
	events []*Event
}

// startAt is the journal of a verifier that begins where the log begins.
func startAt(h Head) journal { return journal{log: h.Log, low: h.Low, lowTag: h.LowTag} }

func (j *journal) applied() uint64 { return j.low + uint64(len(j.events)) }

// tag returns the tag of event n; ok is false where n is not in the journal.
func (j *journal) tag(n uint64) (t Tag, ok bool) {
	switch {
	case n == j.low:
		return j.lowTag, true
	case n < j.low || n > j.applied():
		return "", false
	}
	return j.events[n-j.low-1].Tag, true
}

// extend appends the events that come next, passes over those it has, and stops at a gap.
func (j *journal) extend(events []Event) ([]*Event, error) {
	first := len(j.events)
	for i := range events {
		switch next := j.applied() + 1; {
		case events[i].Seq < next:
		case events[i].Seq > next:
			return j.events[first:], fmt.Errorf("revoke: the log answered event %d where %d comes next", events[i].Seq, next)
		default:
			j.events = append(j.events, new(events[i]))
		}
	}
	return j.events[first:], nil
}

// forget drops the events up to and including low, which must not be more than was applied.
func (j *journal) forget(low uint64) {
	if low <= j.low {
		return
	}
	j.lowTag, _ = j.tag(low)
	n := low - j.low
	clear(j.events[:n]) // the array behind the slice lives on until the next growth
	j.events, j.low = j.events[n:], low
}

// after returns the events after n, at most limit, and whether there are more. ok is false where (n, tag) is no place in
// this journal.
func (j *journal) after(n uint64, tag Tag, limit int) (events []Event, more, ok bool) {
	have, ok := j.tag(n)
	if !ok || have != tag {
		return nil, false, false
	}
	rest := j.events[n-j.low:]
	if len(rest) > limit {
		rest, more = rest[:limit], true
	}
	for _, e := range rest {
		events = append(events, *e)
	}
	return events, more, true
}
