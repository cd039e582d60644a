package main

import "strings"

// paging is what every command takes that prints a list.
type paging struct {
	After string `placeholder:"ID" help:"Go on after this one, the last of the page before."`
	Limit int    `default:"100" help:"At most so many, 1 to 1,000."`
	JSON  bool   `name:"json" help:"Print JSON."`
}

// check looks at what was typed. An id of something else would make an empty page, which looks like an end.
func (p paging) check(what, prefix string) error {
	if p.Limit < 1 || p.Limit > 1000 {
		return usage("--limit is 1 to 1,000")
	}
	if p.After != "" && !strings.HasPrefix(p.After, prefix) {
		return usage("--after: %q is no id of %s (%s...): the note below a list names the one to go on after", short(p.After), what, prefix)
	}
	return nil
}

// listing is how items of one kind are found and shown.
type listing[T, V any] struct {
	name  string // of the list in JSON
	fetch func(after string, limit int) ([]T, error)
	id    func(T) string
	view  func(T) V // for programs
	head  []string
	row   func(T) []string // for people
}

// page fetches one page. next says after which item the list goes on, nil that it ends here. Whether there is more is
// asked for by itself: no store gives more than a thousand items at once.
func (l listing[T, V]) page(p paging) (items []T, next *string, err error) {
	items, err = l.fetch(p.After, p.Limit)
	if err != nil || len(items) < p.Limit {
		return items, nil, err
	}
	last := l.id(items[len(items)-1])
	more, err := l.fetch(last, 1)
	if err != nil || len(more) == 0 {
		return items, nil, err
	}
	return items, &last, nil
}

// print fetches a page and prints it.
func (l listing[T, V]) print(a *app, p paging) error {
	items, next, err := l.page(p)
	if err != nil {
		return err
	}
	if p.JSON {
		views := make([]V, len(items))
		for i, item := range items {
			views[i] = l.view(item)
		}
		return a.printJSON(map[string]any{l.name: views, "next": next})
	}
	rows := make([][]string, len(items))
	for i, item := range items {
		rows[i] = l.row(item)
	}
	if next != nil {
		a.note("there are more: add --after %s", *next)
	}
	return a.printTable(l.head, rows)
}
