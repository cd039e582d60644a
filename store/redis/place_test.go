package redis

import (
	"github.com/handstamp/handstamp/revoke"
)

func sampleEvents() []revoke.Event {
	return []revoke.Event{
		{Seq: 1, Kind: revoke.KindUser, ID: "u", Effect: revoke.End, Except: "s"},
		{Seq: 2, Kind: revoke.KindSession, ID: "s", Effect: revoke.Change},
		{Seq: 3, Kind: revoke.KindSession, ID: "s", Effect: revoke.End, Reason: "first"},
		{Seq: 4, Kind: revoke.KindUser, ID: "u", Effect: revoke.End, Except: "s"},
		{Seq: 5, Kind: revoke.KindSession, ID: "s", Effect: revoke.Change},
		{Seq: 6, Kind: revoke.KindSession, ID: "s", Effect: revoke.End, Reason: "second"},
	}
}

func permutations(n int) [][]int {
	if n == 0 {
		return [][]int{{}}
	}
	var all [][]int
	for _, p := range permutations(n - 1) {
		for i := range n {
			q := append(append(append([]int{}, p[:i]...), n-1), p[i:]...)
			all = append(all, q)
		}
	}
	return all
}
