package server

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/handstamp/handstamp"
)

// HashQueue is how the queue of password hashes stands. Hasher.Load of package password says it.
type HashQueue struct {
	Running int    // hashes that are computed
	Waiting int    // hashes that wait for their turn
	Refused uint64 // hashes that were not computed since the start, because too many waited or one waited too long
}

// readings are metrics that are read where they are kept, at the moment somebody asks. All labels are of closed lists:
// states of the queue, and the parts that the program named.
type readings struct {
	s    *Server
	desc map[string]*prometheus.Desc
}

// newReadings describes each of them; what this server was not given is left out.
func newReadings(s *Server) readings {
	r := readings{s: s, desc: map[string]*prometheus.Desc{}}
	is := func(name, help string, labels ...string) {
		r.desc[name] = prometheus.NewDesc("handstamp_"+name, help, labels, nil)
	}
	is("revocation_lag_seconds", "From the commit of an event to its effect on checks here; of those that were heard of under a fresh lease.")
	is("copies_served_age_seconds", "How old the copies were that checks were answered from: since they were read from the store.")
	is("cache_hits_total", "Checks that were answered from memory.")
	is("cache_misses_total", "Checks that asked the store, or checked a signature.")
	is("cache_joined_total", "Of the misses, those that shared a question which was under way.")
	is("cache_unknown_total", "Checks that were refused from memory: the store had said a moment ago that it never heard of the secret.")
	is("cache_entries", "Copies in memory.")
	is("cache_bytes", "Bytes that they take, estimated.")
	is("waiters", "Calls that wait for the fleet.")
	is("revocation_streams", "Event streams that are open.")
	is("store_up", "Whether a part answers: 1 or 0.", "store")
	is("store_seconds", "How long the part took to answer that.", "store")
	if s.opt.HashQueue != nil {
		is("hash_queue", "Password hashes that are computed, and that wait for it.", "state")
		is("hash_refused_total", "Password hashes that were not computed, because too many waited or one waited too long.")
	}
	if s.opt.Throttle != nil {
		is("login_local_attempts_total", "Login attempts that were let through by this process's own count, since the store of the counters did not answer.")
		is("login_local_refused_total", "Login attempts that were refused by this process's own count.")
	}
	if s.opt.Health != nil {
		is("revocation_applied", "Number of the last event of the log that checks here obey.")
		is("revocation_low", "Number of the last event that the log has forgotten.")
		is("revocation_lease_left_seconds", "How long checks may still answer from memory; 0 is a lapsed lease.")
	}
	return r
}

// Describe implements prometheus.Collector.
func (r readings) Describe(out chan<- *prometheus.Desc) {
	for _, d := range r.desc {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (r readings) Collect(out chan<- prometheus.Metric) {
	gauge := func(name string, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(r.desc[name], prometheus.GaugeValue, v, labels...)
	}
	counter := func(name string, v uint64) {
		out <- prometheus.MustNewConstMetric(r.desc[name], prometheus.CounterValue, float64(v))
	}
	stats := r.s.auth.Stats()
	out <- histogram(r.desc["revocation_lag_seconds"], stats.Lag)
	out <- histogram(r.desc["copies_served_age_seconds"], stats.Cache.Age)
	counter("cache_hits_total", stats.Cache.Hits)
	counter("cache_misses_total", stats.Cache.Misses)
	counter("cache_joined_total", stats.Cache.Joined)
	counter("cache_unknown_total", stats.Cache.Unknown)
	gauge("cache_entries", float64(stats.Cache.Entries))
	gauge("cache_bytes", float64(stats.Cache.Bytes))
	gauge("waiters", float64(stats.Waiters))
	gauge("revocation_streams", float64(r.s.streams.count()))
	if r.s.opt.HashQueue != nil {
		q := r.s.opt.HashQueue()
		gauge("hash_queue", float64(q.Running), "running")
		gauge("hash_queue", float64(q.Waiting), "waiting")
		counter("hash_refused_total", q.Refused)
	}
	if r.s.opt.Throttle != nil {
		t := r.s.opt.Throttle()
		counter("login_local_attempts_total", t.Passed)
		counter("login_local_refused_total", t.Refused)
	}
	if r.s.opt.Health != nil { // one view is one moment: the three numbers belong together
		v := r.s.opt.Health()
		gauge("revocation_applied", float64(v.Applied))
		gauge("revocation_low", float64(v.Low))
		gauge("revocation_lease_left_seconds", v.LeaseLeft.Seconds())
	}
	for _, p := range r.s.probe(context.Background()) {
		up := 1.0
		if p.err != nil {
			up = 0
		}
		gauge("store_up", up, p.part.Name)
		gauge("store_seconds", p.took.Seconds(), p.part.Name)
	}
}

// histogram prints a distribution as Prometheus has it: every bucket counts those below it, too.
func histogram(desc *prometheus.Desc, d handstamp.Distribution) prometheus.Metric {
	buckets, below := make(map[float64]uint64, len(d.Bounds)), uint64(0)
	for i, n := range d.Counts {
		below += n
		if i < len(d.Bounds) {
			buckets[float64(d.Bounds[i])/float64(time.Second)] = below
		}
	}
	return prometheus.MustNewConstHistogram(desc, below, d.Sum.Seconds(), buckets)
}
