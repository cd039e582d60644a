package main

import (
	"math"
	"time"

	"github.com/handstamp/handstamp/login/password"
)

// The report as a document for programs. Every time is in microseconds, and its name ends so.

type benchDocument struct {
	benchFacts
	Store        *benchStore       `json:"store"`
	Measurements []measurementView `json:"measurements"`
	Hash         *hashView         `json:"hash"`
	Notes        []string          `json:"notes"`
}

type measurementView struct {
	Name        string `json:"name"`
	Form        string `json:"form,omitempty"`
	Over        string `json:"over"`
	From        string `json:"from,omitempty"`
	Concurrency int    `json:"concurrency"`
	numbersView
}

type numbersView struct {
	Count      uint64  `json:"count"`
	Errors     uint64  `json:"errors"`
	FirstError string  `json:"first_error,omitempty"`
	ElapsedUS  float64 `json:"elapsed_us"`
	Rate       float64 `json:"rate_per_second"`
	P50US      float64 `json:"p50_us"`
	P90US      float64 `json:"p90_us"`
	P99US      float64 `json:"p99_us"`
	MaxUS      float64 `json:"max_us"`
}

type costsView struct {
	MemoryKiB   uint32 `json:"memory_kib"`
	Iterations  uint32 `json:"iterations"`
	Parallelism uint8  `json:"parallelism"`
}

type costsMeasuredView struct {
	costsView
	Concurrency     int   `json:"concurrency"`
	MemoryAtOnceKiB int64 `json:"memory_at_once_kib"`
	numbersView
}

type hashView struct {
	Configured costsMeasuredView   `json:"configured"`
	Candidates []costsMeasuredView `json:"candidates"`
	TargetUS   float64             `json:"target_us"`
	Proposal   proposalView        `json:"proposal"`
}

type proposalView struct {
	costsView
	P50US        float64 `json:"p50_us"`
	WithinTarget bool    `json:"within_target"`
	Configured   bool    `json:"configured"` // it is what is configured
}

// micros is a time in microseconds, with its nanoseconds.
func micros(d time.Duration) float64 { return float64(d) / 1e3 }

func viewNumbers(m *measured) numbersView {
	v := numbersView{
		Count: m.times.count, Errors: m.errors, ElapsedUS: micros(m.elapsed), Rate: math.Round(m.rate()*1000) / 1000, P50US: micros(m.times.percentile(0.5)),
		P90US: micros(m.times.percentile(0.9)), P99US: micros(m.times.percentile(0.99)), MaxUS: micros(m.times.most),
	}
	if m.first != nil {
		v.FirstError = oneLine(explain(m.first))
	}
	return v
}

func viewCosts(p password.Params) costsView {
	return costsView{MemoryKiB: p.MemoryKiB, Iterations: p.Iterations, Parallelism: p.Parallelism}
}

func (h *hashing) viewMeasured(p password.Params, m *measured) costsMeasuredView {
	return costsMeasuredView{viewCosts(p), h.atOnce, h.inAll(p), viewNumbers(m)}
}

func (h *hashing) view(target time.Duration) *hashView {
	v := &hashView{
		Configured: h.viewMeasured(h.current, h.configured), TargetUS: micros(target),
		Proposal: proposalView{viewCosts(h.proposal.costs), micros(h.proposal.takes), h.proposal.within, h.proposal.costs == h.current},
	}
	for i, m := range h.tried {
		v.Candidates = append(v.Candidates, h.viewMeasured(h.costs[i], m))
	}
	return v
}

// document is the whole report.
func (r *benchReport) document(target time.Duration) benchDocument {
	d := benchDocument{benchFacts: r.facts, Store: r.store, Measurements: []measurementView{}, Notes: orEmpty(r.notes)}
	for _, m := range r.steps {
		d.Measurements = append(d.Measurements, measurementView{m.step.name, m.step.form, m.step.over, m.step.from, m.step.atOnce, viewNumbers(m)})
	}
	if r.hash != nil {
		d.Hash = r.hash.view(target)
	}
	return d
}
