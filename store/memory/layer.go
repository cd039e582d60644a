package memory

// layer is a map as a unit of work sees it: what the unit wrote, over what is committed. Nothing under it moves until
// apply, so that leaving a unit without apply is a complete rollback, whatever happened in it.
type layer[K comparable, V any] struct {
	under map[K]V
	over  map[K]change[V]
}

// change is one write of a unit.
type change[V any] struct {
	value V
	gone  bool
}

func over[K comparable, V any](under map[K]V) layer[K, V] {
	return layer[K, V]{under: under}
}

func (l *layer[K, V]) get(k K) (V, bool) {
	if c, ok := l.over[k]; ok {
		return c.value, !c.gone
	}
	v, ok := l.under[k]
	return v, ok
}

func (l *layer[K, V]) put(k K, v V) { l.write(k, change[V]{value: v}) }

func (l *layer[K, V]) drop(k K) { l.write(k, change[V]{gone: true}) }

func (l *layer[K, V]) write(k K, c change[V]) {
	if l.over == nil {
		l.over = make(map[K]change[V])
	}
	l.over[k] = c
}

// apply writes the layer down.
func (l *layer[K, V]) apply() {
	for k, c := range l.over {
		if c.gone {
			delete(l.under, k)
		} else {
			l.under[k] = c.value
		}
	}
}
