package main

import (
	"fmt"

	"github.com/handstamp/handstamp/move"
)

// movedReport is what a move did, for programs.
type movedReport struct {
	From     string       `json:"from"`
	To       string       `json:"to"`
	Log      string       `json:"log"`
	Head     uint64       `json:"head"`
	LeaseMS  int64        `json:"lease_ms"`
	PausedMS int64        `json:"paused_ms"`
	Already  bool         `json:"already"`
	Tables   []movedTable `json:"tables"`
	Error    string       `json:"error,omitempty"`
}

type movedTable struct {
	Name string `json:"name"`
	Rows int64  `json:"rows"`
	Sum  string `json:"sum,omitempty"` // SHA-256 of every row, added up
}

func moveReport(from, to openedSide, r move.Report, failed error) movedReport {
	out := movedReport{
		From: from.name, To: to.name, Log: r.Log, Head: r.Head, LeaseMS: r.Lease.Milliseconds(), PausedMS: r.Paused.Milliseconds(),
		Already: r.Already, Tables: []movedTable{},
	}
	for _, t := range r.Tables {
		row := movedTable{Name: t.Name, Rows: t.Rows}
		if t.Rows == 0 || t.Sum != ([4]uint64{}) {
			row.Sum = t.Digest.String()
		}
		out.Tables = append(out.Tables, row)
	}
	if failed != nil {
		out.Error = explain(failed)
	}
	return out
}

func rowsOf(tables []move.TableReport) [][]string {
	var rows [][]string
	for _, t := range tables {
		rows = append(rows, []string{t.Name, fmt.Sprint(t.Rows)})
	}
	return rows
}
