package main

import (
	"fmt"
	"strings"
)

// The dependency graph and its cycles. Snapshot isolation is: no cycle in (ww ∪ wr) ; rw?, that is, every cycle has two rw edges in a row.
// So cycles are looked for in a graph with two nodes for each transaction (arrived by rw, or not), where an rw edge leaves only who has
// not arrived by one.

type edgeKind byte

const (
	ww edgeKind = 1 << iota
	wr
	rw
)

var edgeNames = map[edgeKind]string{ww: "ww", wr: "wr", rw: "rw"}

type edge struct {
	to   int
	kind edgeKind
	key  string
}

type graph struct {
	nodes []*Txn
	index map[*Txn]int
	out   [][]edge
	count int
}

func newGraph() *graph {
	return &graph{index: map[*Txn]int{}}
}

func (g *graph) node(t *Txn) int {
	n, is := g.index[t]
	if !is {
		n = len(g.nodes)
		g.index[t] = n
		g.nodes = append(g.nodes, t)
		g.out = append(g.out, nil)
	}
	return n
}

func (g *graph) edge(from, to *Txn, kind edgeKind, key string) {
	f, t := g.node(from), g.node(to)
	g.out[f] = append(g.out[f], edge{t, kind, key})
	g.count++
}

// view is a graph over states: which edges leave a state, and to where.
type view struct {
	states int
	leave  func(state int, visit func(next int, e edge))
}

// only is the view of edges of some kinds; a state is a node.
func (g *graph) only(kinds edgeKind) view {
	return view{len(g.nodes), func(state int, visit func(int, edge)) {
		for _, e := range g.out[state] {
			if e.kind&kinds != 0 {
				visit(e.to, e)
			}
		}
	}}
}

// snapshot is the view in which no two rw edges follow each other; a state is a node twice, plus one when it was entered by rw.
func (g *graph) snapshot() view {
	return view{2 * len(g.nodes), func(state int, visit func(int, edge)) {
		for _, e := range g.out[state/2] {
			if e.kind != rw {
				visit(2*e.to, e)
			} else if state%2 == 0 {
				visit(2*e.to+1, e)
			}
		}
	}}
}

// components are the strongly connected ones of more than one state (Tarjan, without recursion).
func (v view) components() [][]int {
	type frame struct{ state, next int }
	order := make([]int, v.states) // 0: not visited
	low := make([]int, v.states)
	onStack := make([]bool, v.states)
	var stack []int
	var found [][]int
	clock := 0
	for root := 0; root < v.states; root++ {
		if order[root] != 0 {
			continue
		}
		frames := []frame{{root, 0}}
		for len(frames) > 0 {
			f := &frames[len(frames)-1]
			s := f.state
			if f.next == 0 {
				clock++
				order[s], low[s], onStack[s] = clock, clock, true
				stack = append(stack, s)
			}
			descend, n := -1, 0
			v.leave(s, func(next int, _ edge) {
				n++
				if n <= f.next || descend >= 0 {
					return
				}
				if order[next] == 0 {
					descend, f.next = next, n
				} else if onStack[next] && order[next] < low[s] {
					low[s] = order[next]
				}
			})
			if descend >= 0 {
				frames = append(frames, frame{descend, 0})
				continue
			}
			if low[s] == order[s] {
				var component []int
				for {
					top := stack[len(stack)-1]
					stack = stack[:len(stack)-1]
					onStack[top] = false
					component = append(component, top)
					if top == s {
						break
					}
				}
				if len(component) > 1 {
					found = append(found, component)
				}
			}
			frames = frames[:len(frames)-1]
			if len(frames) > 0 && low[s] < low[frames[len(frames)-1].state] {
				low[frames[len(frames)-1].state] = low[s]
			}
		}
	}
	return found
}

type step struct {
	from int
	e    edge
}

// shortest is a shortest cycle inside a component, through one of its states.
func (v view) shortest(component []int) []step {
	inside := map[int]bool{}
	for _, s := range component {
		inside[s] = true
	}
	var best []step
	for i, start := range component {
		if i == 50 { // a short one is wanted for people; any one is enough
			break
		}
		came := map[int]step{}
		queue := []int{start}
		closed := false
		for len(queue) > 0 && !closed {
			s := queue[0]
			queue = queue[1:]
			v.leave(s, func(next int, e edge) {
				if _, is := came[next]; is || !inside[next] || closed {
					return
				}
				came[next] = step{s, e}
				queue = append(queue, next)
				closed = next == start
			})
		}
		var cycle []step
		for at := start; closed && (at != start || cycle == nil); at = came[at].from {
			cycle = append([]step{came[at]}, cycle...)
		}
		if closed && (best == nil || len(cycle) < len(best)) {
			best = cycle
		}
	}
	return best
}

// describe tells a cycle: its name, and its transactions with what binds them.
func (g *graph) describe(cycle []step, scale int) Anomaly {
	counts := map[edgeKind]int{}
	var words []string
	for _, s := range cycle {
		counts[s.e.kind]++
		words = append(words, fmt.Sprintf("%v -%s %s->", g.nodes[s.from/scale], edgeNames[s.e.kind], s.e.key))
	}
	kind := "G-nonadjacent (long fork)"
	switch {
	case counts[rw] == 1:
		kind = "G-single"
	case counts[rw] == 0 && counts[wr] == 0:
		kind = "G0"
	case counts[rw] == 0:
		kind = "G1c"
	}
	return Anomaly{kind, strings.Join(words, " ")}
}

// check answers the cycles that must not be, and how many groups of transactions have cycles that may be.
func (g *graph) check() (anomalies []Anomaly, allowed int) {
	views := []struct {
		v     view
		scale int
	}{{g.only(ww), 1}, {g.only(ww | wr), 1}, {g.snapshot(), 2}}
	for _, one := range views {
		for _, component := range one.v.components() {
			anomalies = append(anomalies, g.describe(one.v.shortest(component), one.scale))
		}
		if len(anomalies) > 0 {
			return anomalies, 0 // what comes after would find the same again
		}
	}
	return nil, len(g.only(ww | wr | rw).components())
}
