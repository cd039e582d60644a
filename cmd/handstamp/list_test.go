package main

import (
	"fmt"
	"testing"
)

// Page after page gives every item once, whatever their number, from a store that gives at most a thousand at once.
func TestList_pages(t *testing.T) {
	for _, total := range []int{0, 1, 2, 3, 999, 1000, 1001, 2000} {
		l := listing[int, int]{
			id: func(n int) string { return fmt.Sprintf("%06d", n) },
			fetch: func(after string, limit int) ([]int, error) {
				items := []int{}
				for n := range total {
					if fmt.Sprintf("%06d", n) > after && len(items) < min(limit, 1000) {
						items = append(items, n)
					}
				}
				return items, nil
			},
		}
		for _, limit := range []int{1, 2, 1000} {
			if limit < 3 && total > 3 {
				continue
			}
			var got []int
			for p := (paging{Limit: limit}); ; {
				items, next, err := l.page(p)
				if err != nil || len(items) > limit {
					t.Fatal(len(items), err)
				}
				got = append(got, items...)
				if next == nil {
					break
				}
				p.After = *next
			}
			if len(got) != total {
				t.Errorf("%d items by pages of %d = %d", total, limit, len(got))
			}
			for i, n := range got {
				if i != n {
					t.Fatalf("item %d is %d", i, n)
				}
			}
		}
	}
}
