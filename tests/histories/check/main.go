// Checks what the clients of ../ wrote down.
//
//	check-histories LOAD FOLDER     LOAD: bank, append, ring, register
//
// Prints what it found and exits with 1 when there is an anomaly, with 2 when it could not check.
package main

import (
	"fmt"
	"os"
	"sort"
)

const shownOfEach = 5

// load says what is checked besides the timestamps, which are checked for all.
var loads = map[string]func(*History) []Anomaly{
	"bank":     checkBank,
	"append":   checkAppend,
	"ring":     checkRing,
	"register": checkRegister,
}

func show(anomalies []Anomaly) {
	byKind := map[string][]Anomaly{}
	for _, a := range anomalies {
		byKind[a.Kind] = append(byKind[a.Kind], a)
	}
	var kinds []string
	for kind := range byKind {
		kinds = append(kinds, kind)
	}
	sort.Strings(kinds)
	for _, kind := range kinds {
		fmt.Printf("ANOMALY %s: %d\n", kind, len(byKind[kind]))
		for i, a := range byKind[kind] {
			if i == shownOfEach {
				break
			}
			fmt.Printf("    %s\n", a.Text)
		}
	}
}

func main() {
	if len(os.Args) != 3 || loads[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: check-histories bank|append|ring|register FOLDER")
		os.Exit(2)
	}
	h, err := Load(os.Args[2])
	if err != nil {
		fmt.Println("ANOMALY the log:", err)
		os.Exit(2)
	}
	anomalies := append(checkStamps(h), loads[os.Args[1]](h)...)
	fmt.Printf("history %s: %d transactions: %d committed, %d failed, %d of unknown outcome; %d anomalies\n",
		os.Args[1], len(h.Txns), h.count(Committed), h.count(Failed), h.count(Unknown), len(anomalies))
	show(anomalies)
	if len(anomalies) > 0 {
		os.Exit(1)
	}
}
