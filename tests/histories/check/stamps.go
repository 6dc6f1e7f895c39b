package main

import (
	"fmt"
	"math"
	"sort"
	"strings"
)

// Snapshot isolation by timestamps, exactly: every read shows the newest commit that is not later than the transaction's start, and no
// two transactions that overlap write one key. Timestamps also say what real time wants: what was acknowledged before a transaction began
// is in its snapshot.
//
// A transaction whose outcome nobody was told has no commit timestamp. Once a read shows a value of it, it has committed, at a timestamp
// in an interval that every read of the key narrows; an empty interval is an anomaly.

// version of a key: what one transaction left there.
type version struct {
	txn    *Txn
	value  string
	lo, hi uint64 // the commit timestamp is in here; both are it when it is known
	inner  bool   // its transaction wrote the key again
}

// sight is one read of a key's committed state.
type sight struct {
	txn    *Txn
	at     uint64 // a commit later than that is not shown
	value  string
	locked bool
}

type keyHistory struct {
	key     string
	known   []*version // by commit timestamp
	unknown []*version // committed, at a timestamp that nobody was told
	byValue map[string]*version
	last    map[*Txn]*version // what each transaction left
	sights  []sight
}

// identity names the version that a value stands for: of a list its last element.
func identity(value string) string {
	return value[strings.LastIndexByte(value, ',')+1:]
}

type stamps struct {
	keys      map[string]*keyHistory
	anomalies []Anomaly
}

func (s *stamps) add(kind, format string, args ...interface{}) {
	s.anomalies = append(s.anomalies, Anomaly{kind, fmt.Sprintf(format, args...)})
}

func (s *stamps) of(key string) *keyHistory {
	k := s.keys[key]
	if k == nil {
		k = &keyHistory{key: key, byValue: map[string]*version{}, last: map[*Txn]*version{}}
		s.keys[key] = k
	}
	return k
}

// enterReads enters what a transaction saw of others: reads of a key before it wrote or locked it.
func (s *stamps) enterReads(t *Txn) {
	touched := map[string]bool{}
	for _, op := range t.Ops {
		k := s.of(op.Key)
		switch {
		case touched[op.Key]:
		case op.Kind == 'r':
			k.sights = append(k.sights, sight{t, t.Start, op.Value, false})
		case op.Kind == 'l' && t.Commit != 0 && t.writes():
			k.sights = append(k.sights, sight{t, t.Commit, op.Value, true})
		case op.Kind == 'l':
			k.sights = append(k.sights, sight{t, math.MaxUint64, op.Value, true})
		}
		touched[op.Key] = touched[op.Key] || op.Kind != 'r'
	}
}

// enterVersions enters what a transaction left: the last write of each key.
func (s *stamps) enterVersions(t *Txn) {
	for _, op := range t.Ops {
		if op.Kind != 'w' && op.Kind != 'a' {
			continue
		}
		k := s.of(op.Key)
		v := &version{txn: t, value: op.Value, lo: t.Commit, hi: t.Commit}
		if t.Outcome == Unknown {
			v.lo, v.hi = t.Start+1, math.MaxUint64
		}
		k.byValue[op.Value] = v
		if before := k.last[t]; before != nil {
			before.inner = true
		}
		k.last[t] = v
		if n := len(k.known); n > 0 && k.known[n-1].txn == t {
			k.known[n-1] = v
		} else if t.Outcome == Committed {
			k.known = append(k.known, v)
		}
	}
}

// reveal finds out which transactions of unknown outcome have committed, and when at the latest: a timestamp is a transaction's, so what
// is learnt by one key counts for all of its keys.
func (s *stamps) reveal() {
	bounds := map[*Txn]uint64{}
	for _, k := range s.keys {
		for _, seen := range k.sights {
			for _, value := range strings.Split(seen.value, ",") {
				v := k.byValue[value]
				if v == nil || v.txn.Outcome != Unknown || v.txn == seen.txn {
					continue
				}
				if old, is := bounds[v.txn]; !is || seen.at < old {
					bounds[v.txn] = seen.at
				}
			}
		}
	}
	for _, k := range s.keys {
		for _, v := range k.last {
			if hi, is := bounds[v.txn]; is {
				v.hi = hi
				k.unknown = append(k.unknown, v)
			}
		}
		sort.SliceStable(k.known, func(a, b int) bool { return k.known[a].lo < k.known[b].lo })
	}
}

// newest is the newest version that is known to be in the snapshot at a timestamp, or nil.
func (k *keyHistory) newest(at uint64) *version {
	n := sort.Search(len(k.known), func(i int) bool { return k.known[i].lo > at })
	if n == 0 {
		return nil
	}
	return k.known[n-1]
}

// narrow tightens the interval of a version that another read of the key did not show. It answers whether it did.
func (v *version) narrow(shown *version, at uint64) bool {
	switch {
	case shown == nil || v.lo > shown.hi: // behind the one shown, so later than the snapshot
		if v.lo <= at {
			v.lo = at + 1
			return true
		}
	case v.hi <= at && v.hi >= shown.hi: // in the snapshot, so before the one shown
		v.hi = shown.hi - 1
		return true
	}
	return false
}

// checkSight checks one snapshot read of a key. It answers whether it has narrowed an interval.
func (s *stamps) checkSight(k *keyHistory, seen sight) bool {
	if seen.locked {
		return false
	}
	shown := k.byValue[identity(seen.value)]
	newest := k.newest(seen.at)
	narrowed := false
	if newest != nil && newest != shown {
		if shown == nil || shown.hi < newest.lo {
			s.add("missed", "%s was read as %q at %d, though %v had committed %s: by %v", k.key, seen.value, seen.at, newest.txn, newest.value, seen.txn)
			return false
		}
		if shown.txn.Outcome == Unknown && shown.lo <= newest.lo {
			shown.lo, narrowed = newest.lo+1, true
		}
	}
	for _, v := range k.unknown {
		if v != shown && v.txn != seen.txn {
			narrowed = v.narrow(shown, seen.at) || narrowed
		}
	}
	return narrowed
}

// settle checks all reads of a key, again and again as long as they tell more about what is not known.
func (s *stamps) settle(k *keyHistory) {
	for again, first := true, len(s.anomalies); again && len(s.anomalies) == first; {
		again = false
		for _, seen := range k.sights {
			again = s.checkSight(k, seen) || again
		}
		for _, v := range k.unknown {
			if v.lo > v.hi {
				s.add("impossible", "no commit timestamp of %v fits what was read of %s", v.txn, k.key)
				return
			}
		}
	}
}

// checkShown: what was read was written, and by nobody who failed, and before the snapshot.
func (s *stamps) checkShown(k *keyHistory) {
	for _, seen := range k.sights {
		if seen.value == "" {
			continue
		}
		v := k.byValue[identity(seen.value)]
		switch {
		case v == nil:
			s.add("garbage", "%s was read as %q, which nobody wrote: by %v", k.key, seen.value, seen.txn)
		case v.inner:
			s.add("G1b", "%s was read as %q, which %v itself overwrote: by %v", k.key, seen.value, v.txn, seen.txn)
		case v.txn.Outcome == Failed:
			s.add("G1a", "%s was read as %q of a transaction that failed, %v: by %v", k.key, seen.value, v.txn, seen.txn)
		case v.txn.Outcome == Committed && v.lo > seen.at:
			s.add("future", "%s was read as %q, which is later than the snapshot at %d, of %v: by %v", k.key, seen.value, seen.at, v.txn, seen.txn)
		}
	}
}

// checkFrom is the timestamp from which on nobody else may have committed a key that v's transaction wrote; false where there is none.
// Under a lock that is the version read there.
func (k *keyHistory) checkFrom(v *version, locked map[*Txn]string) (uint64, bool) {
	value, is := locked[v.txn]
	if !is {
		return v.txn.Start, v.txn.Start != 0
	}
	read := k.byValue[identity(value)]
	if read == nil {
		return 0, true
	}
	return read.hi, true
}

// checkWrites: first committer wins.
func (s *stamps) checkWrites(k *keyHistory) {
	locked := map[*Txn]string{}
	for _, seen := range k.sights {
		if seen.locked {
			locked[seen.txn] = seen.value
		}
	}
	for i, v := range k.known {
		from, checked := k.checkFrom(v, locked)
		if i > 0 && k.known[i-1].lo == v.lo {
			s.add("same time", "%s: two commits at one timestamp: %v and %v", k.key, k.known[i-1].txn, v.txn)
		} else if i > 0 && checked && k.known[i-1].lo > from {
			s.add("overlap", "%s: %v committed inside of %v", k.key, k.known[i-1].txn, v.txn)
		}
		for _, u := range k.unknown {
			if checked && u.lo > from && u.hi < v.lo {
				s.add("overlap", "%s: %v committed inside of %v", k.key, u.txn, v.txn)
			}
		}
	}
}

// checkRealTime: who begins after an acknowledgement sees it, and has a later timestamp than who has ended.
func (s *stamps) checkRealTime(h *History) {
	var ended, begun []*Txn
	for _, t := range h.Txns {
		if t.Ended != 0 {
			ended = append(ended, t)
		}
		begun = append(begun, t)
	}
	sort.Slice(ended, func(i, k int) bool { return ended[i].Ended < ended[k].Ended })
	sort.Slice(begun, func(i, k int) bool { return begun[i].Begun < begun[k].Begun })
	var told, started *Txn
	next := 0
	for _, t := range begun {
		for ; next < len(ended) && ended[next].Ended < t.Begun; next++ {
			e := ended[next]
			if e.Outcome == Committed && e.writes() && (told == nil || e.Commit > told.Commit) {
				told = e
			}
			if started == nil || e.Start > started.Start {
				started = e
			}
		}
		if told != nil && t.Start != 0 && t.Start < told.Commit {
			s.add("stale", "%v began after %v was acknowledged, and does not see it", t, told)
		}
		if told != nil && t.Start == 0 && t.Commit != 0 && t.writes() && t.Commit <= told.Commit {
			s.add("stale", "%v began after %v was acknowledged, and committed before it", t, told)
		}
		if started != nil && t.Start != 0 && t.Start <= started.Start {
			s.add("time goes back", "%v began after %v had ended", t, started)
		}
	}
}

func checkStamps(h *History) []Anomaly {
	s := &stamps{keys: map[string]*keyHistory{}}
	for _, t := range h.Txns {
		s.enterReads(t)
		s.enterVersions(t)
	}
	s.reveal()
	for _, k := range s.keys {
		s.checkShown(k)
		s.settle(k)
		s.checkWrites(k)
	}
	for _, t := range h.Txns {
		if t.Outcome == Committed && t.writes() && t.Start != 0 && t.Commit <= t.Start {
			s.add("time goes back", "%v committed before it began", t)
		}
	}
	s.checkRealTime(h)
	return s.anomalies
}
