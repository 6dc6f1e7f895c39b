package main

import (
	"fmt"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
)

// What the loads promise by themselves: a bank's sum, one ring, a register that is linearizable.

// number is what stands before the identity in NUMBER_ID.
func number(value string) (int, error) {
	return strconv.Atoi(value[:strings.IndexByte(value+"_", '_')])
}

// keysOfFirst are the keys that the first transaction has written: all there are.
func keysOfFirst(h *History) map[string]string {
	keys := map[string]string{}
	if len(h.Txns) > 0 {
		for _, op := range h.Txns[0].Ops {
			if op.Kind == 'w' {
				keys[op.Key] = op.Value
			}
		}
	}
	return keys
}

// groupOf is the group of keys that a key belongs to.
func groupOf(key string) string {
	return key[:strings.LastIndexByte(key, '/')+1]
}

// groups are the keys that there are, by group, in order.
func groups(keys map[string]string) map[string][]string {
	all := map[string][]string{}
	for key := range keys {
		all[groupOf(key)] = append(all[groupOf(key)], key)
	}
	for _, names := range all {
		sort.Strings(names)
	}
	return all
}

// snapshots gives what each reading transaction saw of each group that it read as a whole. No key is ever deleted: who saw more than three
// keys of a group and not all has missed some.
func snapshots(h *History, visit func(t *Txn, names []string, state map[string]string)) (anomalies []Anomaly, seen int) {
	all := groups(keysOfFirst(h))
	for _, t := range h.Txns {
		if t.writes() || t.locks() {
			continue
		}
		states := map[string]map[string]string{}
		for _, op := range t.Ops {
			group := groupOf(op.Key)
			if states[group] == nil {
				states[group] = map[string]string{}
			}
			states[group][op.Key] = op.Value
		}
		for group, state := range states {
			if len(state) == len(all[group]) {
				visit(t, all[group], state)
				seen++
			} else if len(state) > 3 && t.Outcome == Committed {
				anomalies = append(anomalies, Anomaly{"missing keys", fmt.Sprintf("not all keys of %s were seen by %v", group, t)})
			}
		}
	}
	if seen == 0 {
		anomalies = append(anomalies, Anomaly{"nothing checked", "nobody read all keys"})
	}
	return anomalies, seen
}

func checkBank(h *History) []Anomaly {
	first := keysOfFirst(h)
	var anomalies []Anomaly
	missing, audits := snapshots(h, func(t *Txn, names []string, state map[string]string) {
		total, sum := 0, 0
		for _, key := range names {
			opening, _ := number(first[key])
			sum += opening
			n, err := number(state[key])
			if err != nil || n < 0 {
				anomalies = append(anomalies, Anomaly{"balance", fmt.Sprintf("%s holds %q: seen by %v", key, state[key], t)})
			}
			total += n
		}
		if total != sum {
			anomalies = append(anomalies, Anomaly{"total", fmt.Sprintf("%d instead of %d: seen by %v", total, sum, t)})
		}
	})
	fmt.Printf("bank: %d audits\n", audits)
	return append(anomalies, missing...)
}

func checkRing(h *History) []Anomaly {
	var anomalies []Anomaly
	missing, walks := snapshots(h, func(t *Txn, names []string, state map[string]string) {
		seen := map[int]bool{}
		at := 0
		for at >= 0 && at < len(names) && !seen[at] {
			seen[at] = true
			next, err := number(state[names[at]])
			if err != nil {
				next = -1
			}
			at = next
		}
		if at != 0 || len(seen) != len(names) {
			anomalies = append(anomalies, Anomaly{"ring", fmt.Sprintf("%d of %d nodes are in the ring of the first: seen by %v", len(seen), len(names), t)})
		}
	})
	fmt.Printf("ring: %d walks\n", walks)
	return append(anomalies, missing...)
}

// ---- the register

type registerInput struct {
	reads, writes bool
	value         string // written
}

var registerModel = porcupine.Model{
	Init: func() interface{} { return "" },
	Step: func(state, input, output interface{}) (bool, interface{}) {
		in := input.(registerInput)
		if in.reads && state.(string) != output.(string) {
			return false, state
		}
		if in.writes {
			return true, in.value
		}
		return true, state
	},
	DescribeOperation: func(input, output interface{}) string {
		return fmt.Sprintf("%+v → %q", input, output)
	},
}

// registerOps gives the operations of each register. One of unknown outcome counts when a read showed its value, and then it has taken
// effect before that read's answer; a value that nobody saw may as well never have been.
func registerOps(h *History) map[string][]porcupine.Operation {
	shownAt := map[string]int64{} // by value: when the first read of it had ended
	for _, t := range h.Txns {
		for _, op := range t.Ops {
			if op.Kind != 'w' && op.Value != "" && t.Ended != 0 {
				if old, is := shownAt[op.Value]; !is || t.Ended < old {
					shownAt[op.Value] = t.Ended
				}
			}
		}
	}
	ops := map[string][]porcupine.Operation{}
	for _, t := range h.Txns {
		perKey := map[string]*porcupine.Operation{}
		for _, op := range t.Ops {
			o := perKey[op.Key]
			if o == nil {
				o = &porcupine.Operation{ClientId: t.Client, Input: registerInput{}, Call: t.Begun, Output: "", Return: t.Ended}
				perKey[op.Key] = o
			}
			in := o.Input.(registerInput)
			if op.Kind == 'w' {
				in.writes, in.value = true, op.Value
			} else if !in.writes {
				in.reads, o.Output = true, op.Value
			}
			o.Input = in
		}
		for key, o := range perKey {
			in := o.Input.(registerInput)
			shown, is := shownAt[in.value]
			if t.Outcome == Failed || t.Outcome == Unknown && !(in.writes && is) {
				continue
			}
			if t.Outcome == Unknown { // it may have happened after its client gave up
				o.Return = shown
			}
			ops[key] = append(ops[key], *o)
		}
	}
	return ops
}

func checkRegister(h *History) []Anomaly {
	var anomalies []Anomaly
	registers := registerOps(h)
	for key, ops := range registers {
		switch porcupine.CheckOperationsTimeout(registerModel, ops, time.Minute) {
		case porcupine.Illegal:
			anomalies = append(anomalies, Anomaly{"not linearizable", fmt.Sprintf("%s, with %d operations", key, len(ops))})
		case porcupine.Unknown:
			anomalies = append(anomalies, Anomaly{"not decided", fmt.Sprintf("%s, with %d operations, in a minute", key, len(ops))})
		}
	}
	fmt.Printf("register: %d registers\n", len(registers))
	if len(registers) == 0 {
		anomalies = append(anomalies, Anomaly{"nothing checked", "there is no register"})
	}
	return anomalies
}
