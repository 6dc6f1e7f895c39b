package main

import (
	"fmt"
	"math/rand"
	"sort"
	"strings"
)

// generate makes a history of lists under snapshot isolation: transactions overlap, read their snapshot, lose to the first committer, and
// sometimes nobody learns how they ended.
func generate(seed uint64, count int) *History {
	const keys, clients = 6, 8
	r := rand.New(rand.NewSource(int64(seed)))
	type commit struct {
		ts   uint64
		list []string
	}
	store := map[string][]commit{}
	at := func(key string, ts uint64) []string {
		var list []string
		for _, c := range store[key] {
			if c.ts <= ts {
				list = c.list
			}
		}
		return list
	}
	running := make([]*Txn, clients)
	h := &History{}
	clock, value := uint64(0), 0
	tick := func() uint64 { clock++; return clock }
	begin := func(client int) *Txn {
		t := &Txn{ID: uint64(len(h.Txns) + 1), Client: client, Begun: int64(tick()), Start: tick(), Outcome: Committed, Status: "ok"}
		own := map[string][]string{}
		for i := 0; i < 1+r.Intn(4); i++ {
			key := fmt.Sprint("k", r.Intn(keys), "/", len(h.Txns)/200)
			if r.Intn(2) == 0 {
				t.Ops = append(t.Ops, Op{'r', key, strings.Join(append(append([]string{}, at(key, t.Start)...), own[key]...), ",")})
				continue
			}
			value++
			own[key] = append(own[key], fmt.Sprint(value))
			t.Ops = append(t.Ops, Op{'a', key, fmt.Sprint(value)})
		}
		h.Txns = append(h.Txns, t)
		return t
	}
	finish := func(t *Txn) {
		own := map[string][]string{}
		conflict := false
		for _, op := range t.Ops {
			if op.Kind == 'a' {
				own[op.Key] = append(own[op.Key], op.Value)
				for _, c := range store[op.Key] {
					conflict = conflict || c.ts > t.Start
				}
			}
		}
		ts := tick()
		switch {
		case len(own) == 0:
			t.Commit = t.Start
		case conflict:
			t.Outcome, t.Status = Failed, "conflict"
		default:
			t.Commit = ts
			for key, values := range own {
				store[key] = append(store[key], commit{ts, append(append([]string{}, at(key, ts)...), values...)})
			}
		}
		t.Ended = int64(tick())
		if r.Intn(40) == 0 {
			t.Outcome, t.Status, t.Commit = Unknown, "outcome_unknown", 0
		}
	}
	for len(h.Txns) < count {
		client := r.Intn(clients)
		if running[client] == nil {
			running[client] = begin(client)
		} else {
			finish(running[client])
			running[client] = nil
		}
	}
	for _, t := range running {
		if t != nil {
			finish(t)
		}
	}
	last := &Txn{ID: uint64(len(h.Txns) + 1), Begun: int64(tick()), Start: tick(), Outcome: Committed, Status: "ok"}
	var names []string
	for key := range store {
		names = append(names, key)
	}
	sort.Strings(names)
	for _, key := range names {
		last.Ops = append(last.Ops, Op{'r', key, strings.Join(at(key, last.Start), ",")})
	}
	last.Commit, last.Ended = last.Start, int64(tick())
	h.Txns = append(h.Txns, last)
	return h
}

// turnBack shortens the list that some transaction in the middle has read, by an element that was there for sure.
func turnBack(h *History) bool {
	acknowledged := map[string]bool{}
	for _, t := range h.Txns {
		for _, op := range t.Ops {
			if op.Kind == 'a' && t.Outcome == Committed {
				acknowledged[op.Value] = true
			}
		}
	}
	for _, t := range h.Txns[len(h.Txns)/2:] {
		for i, op := range t.Ops {
			cut := strings.LastIndexByte(op.Value, ',')
			if op.Kind == 'r' && cut > 0 && !t.writes() && acknowledged[op.Value[cut+1:]] {
				t.Ops[i].Value = op.Value[:cut]
				return true
			}
		}
	}
	return false
}
