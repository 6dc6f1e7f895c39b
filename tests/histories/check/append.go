package main

import (
	"fmt"
	"sort"
	"strings"
)

// The lists' own story, without timestamps (the algorithm of the Elle paper). A list tells the order of its versions; from that follow what
// each transaction saw, what it overwrote and what it missed:
//
//	T1 -ww-> T2   T2 appended right behind T1
//	T1 -wr-> T2   T2 read T1's element as the last one
//	T1 -rw-> T2   T1 read the list without T2's element, which comes next
//
// Found without a graph: garbage (nobody wrote it), duplicates, incompatible orders, G1a (aborted read), G1b (intermediate read), internal
// (a transaction against itself), lost update, lost append. By the graph, graph.go: G0, G1c, G-single, long fork; write skew is only counted.

// place is where an element was appended.
type place struct {
	txn  *Txn
	last bool // the transaction appended nothing behind it
}

type list struct {
	key     string
	longest []string
	reader  *Txn
	places  map[string]place
	index   map[string]int // in longest
}

type appends struct {
	history   *History
	lists     map[string]*list
	observed  map[*Txn]bool // of unknown outcome, and a read showed something of it
	anomalies []Anomaly
}

func (a *appends) add(kind, format string, args ...interface{}) {
	a.anomalies = append(a.anomalies, Anomaly{kind, fmt.Sprintf(format, args...)})
}

func (a *appends) of(key string) *list {
	l := a.lists[key]
	if l == nil {
		l = &list{key: key, places: map[string]place{}, index: map[string]int{}}
		a.lists[key] = l
	}
	return l
}

func elements(value string) []string {
	if value == "" {
		return nil
	}
	return strings.Split(value, ",")
}

func isPrefix(short, long []string) bool {
	if len(short) > len(long) {
		return false
	}
	for i := range short {
		if short[i] != long[i] {
			return false
		}
	}
	return true
}

func (a *appends) enterWrites(t *Txn) {
	last := map[string]string{}
	for _, op := range t.Ops {
		if op.Kind != 'a' {
			continue
		}
		l := a.of(op.Key)
		if previous, is := last[op.Key]; is {
			l.places[previous] = place{t, false}
		}
		if other, is := l.places[op.Value]; is {
			a.add("reused", "%s of %s was appended twice: %v and %v", op.Value, op.Key, other.txn, t)
		}
		l.places[op.Value] = place{t, true}
		last[op.Key] = op.Value
	}
}

// external lists what a transaction read of others: per read the list, before it appended itself.
func external(t *Txn, visit func(op Op, read []string)) {
	wrote := map[string]bool{}
	for _, op := range t.Ops {
		if op.Kind == 'a' {
			wrote[op.Key] = true
		} else if !wrote[op.Key] {
			visit(op, elements(op.Value))
		}
	}
}

// checkInternal replays a transaction against itself.
func (a *appends) checkInternal(t *Txn) {
	known := map[string][]string{}
	complete := map[string]bool{} // the whole list is known, not only its end
	for _, op := range t.Ops {
		before := known[op.Key]
		switch {
		case op.Kind == 'a':
			known[op.Key] = append(append([]string{}, before...), op.Value)
			continue
		case op.Kind == 'l' && len(ownAppends(t, op.Key, op)) == 0: // newer than the snapshot, as it may be
		case complete[op.Key] && strings.Join(before, ",") != op.Value:
			a.add("internal", "%s was read as %q after %q: by %v", op.Key, op.Value, strings.Join(before, ","), t)
		case !complete[op.Key] && !isSuffix(before, elements(op.Value)):
			a.add("internal", "%s was read as %q, without %q at its end: by %v", op.Key, op.Value, strings.Join(before, ","), t)
		}
		known[op.Key], complete[op.Key] = elements(op.Value), true
	}
}

// ownAppends are those of a transaction to a key before one of its operations.
func ownAppends(t *Txn, key string, before Op) []string {
	var own []string
	for _, op := range t.Ops {
		if op == before {
			break
		}
		if op.Kind == 'a' && op.Key == key {
			own = append(own, op.Value)
		}
	}
	return own
}

func isSuffix(short, long []string) bool {
	return len(short) <= len(long) && strings.Join(short, ",") == strings.Join(long[len(long)-len(short):], ",")
}

func (a *appends) enterRead(t *Txn, op Op, read []string) {
	l := a.of(op.Key)
	seen := map[string]bool{}
	for i, e := range read {
		p, is := l.places[e]
		switch {
		case !is:
			a.add("garbage", "%s of %s was appended by nobody: read by %v", e, op.Key, t)
		case p.txn.Outcome == Failed:
			a.add("G1a", "%s of %s was appended by %v: read by %v", e, op.Key, p.txn, t)
		case p.txn.Outcome == Unknown:
			a.observed[p.txn] = true
		}
		if seen[e] {
			a.add("duplicate", "%s is twice in %s: read by %v", e, op.Key, t)
		}
		seen[e] = true
		if i == len(read)-1 && is && p.txn != t && !p.last {
			a.add("G1b", "%s of %s was overwritten by its own transaction %v: read by %v", e, op.Key, p.txn, t)
		}
	}
	shorter, longer, other := read, l.longest, l.reader
	if len(read) > len(l.longest) {
		shorter, longer = l.longest, read
		l.longest, l.reader = read, t
	} else if len(read) == len(l.longest) && (l.reader == nil || l.reader.Begun < t.Begun) {
		l.reader = t
	}
	if !isPrefix(shorter, longer) {
		a.add("incompatible order", "%s has two stories: of %v and of %v", op.Key, t, other)
	}
}

func (a *appends) committed(t *Txn) bool {
	return t.Outcome == Committed || a.observed[t]
}

// checkLost: every acknowledged append is in the list, as long as somebody read that list after it.
func (a *appends) checkLost(l *list) {
	for e, p := range l.places {
		_, is := l.index[e]
		if !is && p.txn.Outcome == Committed && l.reader != nil && l.reader.Begun > p.txn.Ended {
			a.add("lost append", "%s of %s is not in the list that %v read later: %v", e, l.key, l.reader, p.txn)
		}
	}
}

// checkUpdates: who read a list and then appended has appended right behind what it read.
func (a *appends) checkUpdates(t *Txn) {
	if !a.committed(t) {
		return
	}
	read := map[string][]string{}
	external(t, func(op Op, r []string) { read[op.Key] = r })
	checked := map[string]bool{}
	for _, op := range t.Ops {
		r, is := read[op.Key]
		if op.Kind != 'a' || !is || checked[op.Key] {
			continue
		}
		checked[op.Key] = true
		l := a.of(op.Key)
		if at, is := l.index[op.Value]; is && at > len(r) {
			a.add("lost update", "%s: %v appended behind %s, which it had not read", op.Key, t, l.longest[at-1])
		}
	}
}

// edges of the dependency graph. Who reads under a lock reads what is newer than its snapshot: what it read from the snapshot says nothing
// about its order then.
func (a *appends) edges(g *graph) {
	for _, l := range a.lists {
		for i := 1; i < len(l.longest); i++ {
			from, to := l.places[l.longest[i-1]].txn, l.places[l.longest[i]].txn
			if from != nil && to != nil && from != to {
				g.edge(from, to, ww, l.key)
			}
		}
	}
	for _, t := range a.history.Txns {
		if !a.committed(t) {
			continue
		}
		locks := t.locks()
		external(t, func(op Op, read []string) {
			l := a.of(op.Key)
			if n := len(read); n > 0 {
				if from := l.places[read[n-1]].txn; from != nil && from != t {
					g.edge(from, t, wr, op.Key)
				}
			}
			if len(read) < len(l.longest) && !locks {
				if to := l.places[l.longest[len(read)]].txn; to != nil && to != t {
					g.edge(t, to, rw, op.Key)
				}
			}
		})
	}
}

func checkAppend(h *History) []Anomaly {
	a := &appends{history: h, lists: map[string]*list{}, observed: map[*Txn]bool{}}
	for _, t := range h.Txns {
		a.enterWrites(t)
	}
	for _, t := range h.Txns {
		a.checkInternal(t)
		external(t, func(op Op, read []string) { a.enterRead(t, op, read) })
	}
	for _, l := range a.lists {
		for i, e := range l.longest {
			l.index[e] = i
		}
		a.checkLost(l)
	}
	for _, t := range h.Txns {
		a.checkUpdates(t)
	}
	g := newGraph()
	a.edges(g)
	cycles, skews := g.check()
	fmt.Printf("lists: %d, with %d dependencies between %d transactions; cycles that snapshot isolation allows (write skew): %d\n",
		len(a.lists), g.count, len(g.nodes), skews)
	sort.SliceStable(a.anomalies, func(i, k int) bool { return a.anomalies[i].Text < a.anomalies[k].Text })
	return append(a.anomalies, cycles...)
}
