package main

import (
	"fmt"
	"sort"
	"strings"
	"testing"
)

// story makes a history: a line per transaction, BEGUN-ENDED START COMMIT STATUS OP…; "-" for what was never known.
func story(t *testing.T, text string) *History {
	t.Helper()
	var log strings.Builder
	for i, line := range strings.Split(strings.TrimSpace(text), "\n") {
		fields := strings.Fields(line)
		times := strings.Split(fields[0], "-")
		none := func(s string) string { return strings.Replace(s, "-", "0", 1) }
		fmt.Fprintf(&log, "T %d %d %s %s %s\n", i+1, i+1, times[0], none(fields[1]), strings.Join(fields[4:], " "))
		if fields[3] != "killed" {
			fmt.Fprintf(&log, "E %d %s %s %s\n", i+1, times[1], fields[3], none(fields[2]))
		}
	}
	h := &History{}
	if err := h.read(strings.NewReader(log.String())); err != nil {
		t.Fatal(err)
	}
	return h
}

func kindsOf(anomalies []Anomaly) string {
	set := map[string]bool{}
	for _, a := range anomalies {
		set[a.Kind] = true
	}
	var kinds []string
	for kind := range set {
		kinds = append(kinds, kind)
	}
	sort.Strings(kinds)
	return strings.Join(kinds, ", ")
}

type planted struct {
	name, story string
	lists       string // what the lists tell, by themselves
	stamps      string // what the timestamps tell
}

var plantedLists = []planted{
	{name: "one after the other", story: `
		0-9    5  6  ok a:x:1 a:y:1
		10-19 15 16  ok r:x:1 a:x:2
		20-29 25 25  ok r:x:1,2 r:y:1`},
	{name: "write skew is allowed", story: `
		0-9    5  6  ok r:x: a:y:1
		0-9    4  7  ok r:y: a:x:2
		10-19 15 15  ok r:x:2 r:y:1`},
	{name: "an unknown outcome that happened", story: `
		0-9    5  -  outcome_unknown a:x:1 a:y:1
		10-19 15 16  ok r:x:1 a:x:2
		20-29 25 25  ok r:x:1,2 r:y:1`},
	{name: "an unknown outcome that did not happen", story: `
		0-9    5  -  killed a:x:1 a:y:1
		10-19 15 16  ok r:x: a:x:2
		20-29 25 25  ok r:x:2 r:y:`},
	{name: "a failure that did not happen", story: `
		0-9    5  -  conflict a:x:1
		20-29 25 25  ok r:x:`},
	{name: "two appends by one", story: `
		0-9    5  6  ok a:x:1 a:x:2
		20-29 25 25  ok r:x:1,2`},
	{name: "own appends are read", story: `
		0-9    5  6  ok a:x:1 r:x:1 a:x:2 r:x:1,2
		10-19 12 16  ok a:x:3 r:x:1,2,3
		20-29 25 25  ok r:x:1,2,3`},
	{name: "a locked read is newer than the snapshot", story: `
		0-19   5  8  ok l:x:9 a:x:2 r:y:
		0-9    3  7  ok a:x:9 a:y:4
		20-29 25 25  ok r:x:9,2 r:y:4`},

	{name: "garbage", lists: "garbage", stamps: "garbage, missed", story: `
		0-9    5  6  ok a:x:1
		20-29 25 25  ok r:x:1,7`},
	{name: "duplicate", lists: "duplicate", story: `
		0-9    5  6  ok a:x:1
		20-29 25 25  ok r:x:1,1`},
	{name: "reused", lists: "reused", story: `
		0-9    5  6  ok a:x:1
		10-19 15 16  ok a:y:7 a:x:1
		20-29 25 25  ok r:x:1`},
	{name: "G1a, aborted read", lists: "G1a", stamps: "G1a", story: `
		0-9    5  -  conflict a:x:1
		20-29 25 25  ok r:x:1`},
	{name: "G1a below another's append", lists: "G1a", story: `
		0-9    5  -  timeout a:x:1
		10-19 15 16  ok a:x:2
		20-29 25 25  ok r:x:1,2`},
	{name: "G1b, intermediate read", lists: "G-single, G1b", stamps: "G1b", story: `
		0-9    5  6  ok a:x:1 a:x:2
		20-29 25 25  ok r:x:1
		30-39 35 35  ok r:x:1,2`},
	{name: "incompatible order", lists: "incompatible order", stamps: "missed", story: `
		0-9    5  6  ok a:x:1
		10-19 15 16  ok a:x:2
		20-29 25 25  ok r:x:1,2
		30-39 35 35  ok r:x:2,1`},
	{name: "internal: an own append is not seen", lists: "internal", story: `
		0-9    5  6  ok a:x:1 r:x:
		20-29 25 25  ok r:x:1`},
	{name: "internal: a read is not repeated", lists: "G-single, internal", stamps: "missed", story: `
		0-9    5  6  ok a:x:1
		10-19 15 15  ok r:x: r:x:1
		20-29 25 25  ok r:x:1`},
	{name: "internal: a list changes under own appends", lists: "internal", story: `
		0-9    5  6  ok a:x:1
		10-19 15 16  ok r:x:1 a:x:2 r:x:1,7,2
		10-19 14 17  ok a:x:7
		20-29 25 25  ok r:x:1,2,7`, stamps: "overlap"},
	{name: "G0, dirty write", lists: "G0", stamps: "missed, overlap", story: `
		0-9    5  6  ok a:x:1 a:y:1
		0-9    4  7  ok a:x:2 a:y:2
		20-29 25 25  ok r:x:1,2 r:y:2,1`},
	{name: "G1c, circular information", lists: "G1c", stamps: "future", story: `
		0-9    5  6  ok a:x:1 r:y:2
		0-9    4  7  ok a:y:2 r:x:1
		20-29 25 25  ok r:x:1 r:y:2`},
	{name: "G-single, read skew", lists: "G-single", stamps: "missed", story: `
		0-9    5  6  ok a:x:1 a:y:1
		10-19 15 15  ok r:x: r:y:1
		20-29 25 25  ok r:x:1 r:y:1`},
	{name: "lost update", lists: "G-single, lost update", stamps: "overlap", story: `
		0-9    5  7  ok r:x: a:x:1
		0-9    6  8  ok r:x: a:x:2
		20-29 25 25  ok r:x:1,2`},
	{name: "lost append", lists: "lost append", stamps: "missed", story: `
		0-9    5  7  ok a:x:1
		20-29 25 25  ok r:x:`},
	{name: "long fork", lists: "G-nonadjacent (long fork)", stamps: "missed", story: `
		0-9    5  6  ok a:x:1
		0-9    4  7  ok a:y:2
		10-19 15 15  ok r:x:1 r:y:
		10-19 14 14  ok r:x: r:y:2
		20-29 25 25  ok r:x:1 r:y:2`},
	{name: "half of an unknown outcome", lists: "G-single", stamps: "impossible", story: `
		0-9    5  -  outcome_unknown a:x:1 a:y:1
		20-29 25 25  ok r:x:1 r:y:
		30-39 35 35  ok r:x:1 r:y:1`},
}

// What only timestamps can tell: G-SIa (a dependency without the one's commit before the other's start), G-SIb (a commit before the start that
// is missed), and real time.
var plantedStamps = []planted{
	{name: "G-SIb, a snapshot that is too old", stamps: "missed", story: `
		0-9    5  6  ok a:x:1
		20-29 25 25  ok r:x:
		30-39 35 35  ok r:x:1`},
	{name: "G-SIa, a snapshot that is too new", stamps: "future", story: `
		0-9    5  26  ok a:x:1
		0-29  25 25  ok r:x:1`},
	{name: "G-SIa, two that overlap write one key", stamps: "overlap", story: `
		0-9    5  7  ok a:x:1
		0-9    6  8  ok a:y:2 a:x:2
		30-39 35 35  ok r:x:1,2 r:y:2`},
	{name: "an unknown outcome inside of another's time", stamps: "overlap", story: `
		0-9    5  -  killed a:x:1
		0-29  6 20  ok a:x:2
		10-19 12 12  ok r:x:
		12-19 15 15  ok r:x:1
		30-39 35 35  ok r:x:1,2`},
	{name: "an unknown outcome that comes and goes", stamps: "impossible", story: `
		0-9    5  -  killed a:x:1
		10-19 12 12  ok r:x:1
		20-29 25 25  ok r:x:`},
	{name: "half of an unknown outcome, by another key", stamps: "impossible", story: `
		0-9    5  -  killed w:x:1 w:y:2
		10-19 12 12  ok r:x:1
		20-29 25 25  ok r:y:`},
	{name: "a lock that did not hold", stamps: "overlap", story: `
		0-9    3  4  ok w:x:1
		10-29 15 20  ok l:x:1 w:x:2
		10-19 16 18  ok w:x:3
		30-39 35 35  ok r:x:2`},
	{name: "two commits at one time", stamps: "same time", story: `
		0-9    5  6  ok a:x:1
		0-9    -  6  ok a:x:2
		30-39 35 35  ok r:x:1,2`},
	{name: "stale: acknowledged and not in a later snapshot", stamps: "stale", story: `
		0-9    5  18  ok a:x:1
		10-19 15 15  ok r:x:`},
	{name: "stale: acknowledged, and a later blind write before it", stamps: "stale", story: `
		0-9    5  18  ok w:x:1
		10-19  - 15  ok w:y:2`},
	{name: "a timestamp that goes back", stamps: "time goes back", story: `
		0-9   18 18  ok r:x:
		10-19 15 15  ok r:x:`},
	{name: "a commit before its start", stamps: "time goes back", story: `
		0-9   18 16  ok w:x:1`},
}

func TestLists(t *testing.T) {
	for _, one := range plantedLists {
		t.Run(one.name, func(t *testing.T) {
			anomalies := checkAppend(story(t, one.story))
			if got := kindsOf(anomalies); got != one.lists {
				t.Errorf("%q instead of %q: %v", got, one.lists, anomalies)
			}
			anomalies = checkStamps(story(t, one.story))
			if got := kindsOf(anomalies); got != one.stamps {
				t.Errorf("timestamps: %q instead of %q: %v", got, one.stamps, anomalies)
			}
		})
	}
}

func TestStamps(t *testing.T) {
	for _, one := range plantedStamps {
		t.Run(one.name, func(t *testing.T) {
			anomalies := checkStamps(story(t, one.story))
			if got := kindsOf(anomalies); got != one.stamps {
				t.Errorf("%q instead of %q: %v", got, one.stamps, anomalies)
			}
		})
	}
}

func TestLoads(t *testing.T) {
	tests := []struct {
		name  string
		check func(*History) []Anomaly
		want  string
		story string
	}{
		{"a bank", checkBank, "", `
			0-9   -  6  ok w:a:5_1 w:b:5_2
			10-19 15 16 ok r:a:5_1 r:b:5_2 w:a:3_3 w:b:7_4
			20-29 25 25 ok r:a:3_3 r:b:7_4`},
		{"a bank that loses", checkBank, "total", `
			0-9   -  6  ok w:a:5_1 w:b:5_2
			20-29 25 25 ok r:a:3_3 r:b:5_2`},
		{"a bank below nothing", checkBank, "balance", `
			0-9   -  6  ok w:a:5_1 w:b:5_2
			20-29 25 25 ok r:a:-3_3 r:b:13_4`},
		{"a bank with a hole", checkBank, "missing keys", `
			0-9   -  6  ok w:a:5_1 w:b:5_2 w:c:5_3 w:d:5_4 w:e:5_5
			20-29 25 25 ok r:a:5_1 r:b:5_2 r:c:5_3 r:d:5_4
			30-39 35 35 ok r:a:5_1 r:b:5_2 r:c:5_3 r:d:5_4 r:e:5_5`},
		{"a bank that nobody audits", checkBank, "nothing checked", `
			0-9   -  6  ok w:a:5_1 w:b:5_2`},
		{"a ring", checkRing, "", `
			0-9   -  6  ok w:0:1_1 w:1:2_2 w:2:0_3
			20-29 25 25 ok r:0:2_4 r:2:1_5 r:1:0_6`},
		{"a ring in two", checkRing, "ring", `
			0-9   -  6  ok w:0:1_1 w:1:2_2 w:2:0_3
			20-29 25 25 ok r:0:1_4 r:1:0_5 r:2:2_6`},
		{"a ring with a tail", checkRing, "ring", `
			0-9   -  6  ok w:0:1_1 w:1:2_2 w:2:0_3
			20-29 25 25 ok r:0:1_4 r:1:2_5 r:2:1_6`},
		{"a register", checkRegister, "", `
			0-9   -  6  ok w:x:1
			5-14  3  3  ok r:x:
			10-19 15 16 ok r:x:1 w:x:2
			20-29 25 25 ok r:x:2`},
		{"a register that forgets", checkRegister, "not linearizable", `
			0-9   -  6  ok w:x:1
			10-19 15 15 ok r:x:`},
		{"a register that goes back", checkRegister, "not linearizable", `
			0-9   -  6  ok w:x:1
			10-99  - 30 ok w:x:2
			20-29 25 25 ok r:x:2
			30-39 35 35 ok r:x:1`},
		{"a register with two heirs", checkRegister, "not linearizable", `
			0-9   -  6  ok w:x:1
			10-29 15 16 ok r:x:1 w:x:2
			10-29 15 17 ok r:x:1 w:x:3`},
		{"a register of unknown outcome", checkRegister, "", `
			0-9   -  -  outcome_unknown w:x:1
			10-19 15 15 ok r:x:
			20-29 25 25 ok r:x:1
			30-39  - -  killed w:x:2`},
		{"a register of unknown outcome that comes and goes", checkRegister, "not linearizable", `
			0-9   -  -  outcome_unknown w:x:1
			10-19 15 15 ok r:x:1
			20-29 25 25 ok r:x:`},
		{"a register whose failure was none", checkRegister, "not linearizable", `
			0-9   -  -  conflict w:x:1
			10-19 15 15 ok r:x:1`},
	}
	for _, one := range tests {
		t.Run(one.name, func(t *testing.T) {
			anomalies := one.check(story(t, one.story))
			if got := kindsOf(anomalies); got != one.want {
				t.Errorf("%q instead of %q: %v", got, one.want, anomalies)
			}
		})
	}
}

// Histories made by a model of snapshot isolation are clean, and one of them with a single read turned back is not.
func TestGenerated(t *testing.T) {
	for seed := uint64(1); seed <= 20; seed++ {
		h := generate(seed, 2000)
		if anomalies := append(checkStamps(h), checkAppend(h)...); len(anomalies) > 0 {
			t.Fatalf("seed %d: %v", seed, anomalies[0])
		}
		if turned := turnBack(h); turned {
			if anomalies := append(checkStamps(h), checkAppend(h)...); len(anomalies) == 0 {
				t.Fatalf("seed %d: a read that was turned back was not found", seed)
			}
		}
	}
}

func TestLogs(t *testing.T) {
	for _, text := range []string{
		"T 1 1 5 5 x\n", "T 1 1 5 5 q:x:1\n", "T 1 1 5\n", "T 1 1 z 5\n", "E 1 5 ok 6\n", "X\n", "T 1 1 5 5 r:x:1",
		"T 1 1 5 5\nE 1 5 internal 0\n", "T 1 1 5 5\nE 1\n", "T 1 1 5 5\nE 1 z ok 6\n", "T 1 1 5 5\nE 1 9 ok z\n",
	} {
		if err := (&History{}).read(strings.NewReader(text)); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
	if _, err := Load(t.TempDir()); err == nil {
		t.Error("an empty folder was taken")
	}
}
