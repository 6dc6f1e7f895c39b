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

// whole gives the snapshot of a transaction that read every key, else nil.
func whole(t *Txn, keys map[string]string) map[string]string {
	if t.writes() || t.locks() {
		return nil
	}
	state := map[string]string{}
	for _, op := range t.Ops {
		state[op.Key] = op.Value
	}
	for key := range keys {
		if _, is := state[key]; !is {
			return nil
		}
	}
	return state
}

// torn are the reads by range that ended well and do not show all keys, though no key is ever deleted.
func torn(h *History, keys map[string]string) []Anomaly {
	var found []Anomaly
	for _, t := range h.Txns {
		if t.Outcome == Committed && !t.writes() && !t.locks() && len(t.Ops) > 3 && whole(t, keys) == nil {
			found = append(found, Anomaly{"missing keys", fmt.Sprintf("not all keys were seen by %v", t)})
		}
	}
	return found
}

func checkBank(h *History) []Anomaly {
	keys := keysOfFirst(h)
	anomalies := torn(h, keys)
	sum := 0
	for _, value := range keys {
		n, _ := number(value)
		sum += n
	}
	audits := 0
	for _, t := range h.Txns {
		state := whole(t, keys)
		if state == nil {
			continue
		}
		audits++
		total := 0
		for key, value := range state {
			n, err := number(value)
			if err != nil || n < 0 {
				anomalies = append(anomalies, Anomaly{"balance", fmt.Sprintf("%s holds %q: seen by %v", key, value, t)})
			}
			total += n
		}
		if total != sum {
			anomalies = append(anomalies, Anomaly{"total", fmt.Sprintf("%d instead of %d: seen by %v", total, sum, t)})
		}
	}
	fmt.Printf("bank: %d audits\n", audits)
	if audits == 0 {
		anomalies = append(anomalies, Anomaly{"nothing checked", "nobody read all accounts"})
	}
	return anomalies
}

func checkRing(h *History) []Anomaly {
	keys := keysOfFirst(h)
	anomalies := torn(h, keys)
	var names []string
	for key := range keys {
		names = append(names, key)
	}
	sort.Strings(names)
	walks := 0
	for _, t := range h.Txns {
		state := whole(t, keys)
		if state == nil {
			continue
		}
		walks++
		seen := map[int]bool{}
		at := 0
		for !seen[at] && at >= 0 && at < len(names) {
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
	}
	fmt.Printf("ring: %d walks\n", walks)
	if walks == 0 {
		anomalies = append(anomalies, Anomaly{"nothing checked", "nobody walked the ring"})
	}
	return anomalies
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
