package server

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/revoke"
)

// TestLost is the whole rule of when a stream has to begin anew.
func TestLost(t *testing.T) {
	head := revoke.Head{Log: "A", Seq: 10, Low: 4}
	for name, tc := range map[string]struct {
		at   place
		lost bool
		seq  uint64 // where it stands then, if nothing is lost
	}{
		"at the beginning":             {place{}, false, 4},
		"at the beginning, as it said": {place{given: true}, true, 0},
		"forgotten":                    {place{seq: 3, given: true}, true, 0},
		"at low":                       {place{seq: 4, given: true}, false, 4},
		"between":                      {place{seq: 7, given: true}, false, 7},
		"at the head":                  {place{seq: 10, given: true}, false, 10},
		"further than this node":       {place{seq: 11, given: true}, false, 11},
		"under way":                    {place{seq: 10, given: true, log: "A", told: 10}, false, 10},
		"the node began anew":          {place{seq: 11, given: true, log: "A", told: 11}, true, 0},
		"another log":                  {place{seq: 7, given: true, log: "B", told: 7}, true, 0},
		"another log, nothing told":    {place{seq: 7, given: true, log: "B"}, true, 0},
	} {
		at := tc.at
		if got := at.lost(head); got != tc.lost || !tc.lost && (at.seq != tc.seq || at.log != "A") {
			t.Errorf("%s: lost = %v at %+v", name, got, at)
		}
	}
}

// TestHistogram: every bucket counts those below it, too.
func TestHistogram(t *testing.T) {
	registry := prometheus.NewRegistry()
	d := handstamp.Distribution{Bounds: []time.Duration{time.Millisecond, time.Second}, Counts: []uint64{2, 3, 4}, Sum: 5 * time.Second}
	registry.MustRegister(constant{histogram(prometheus.NewDesc("x", "", nil, nil), d)})
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	h := families[0].GetMetric()[0].GetHistogram()
	b := h.GetBucket()
	if h.GetSampleCount() != 9 || h.GetSampleSum() != 5 || len(b) != 2 || b[0].GetUpperBound() != 0.001 || b[0].GetCumulativeCount() != 2 ||
		b[1].GetUpperBound() != 1 || b[1].GetCumulativeCount() != 5 {
		t.Errorf("%v", h)
	}
}

type constant struct{ m prometheus.Metric }

func (c constant) Describe(out chan<- *prometheus.Desc) { out <- c.m.Desc() }
func (c constant) Collect(out chan<- prometheus.Metric) { out <- c.m }
