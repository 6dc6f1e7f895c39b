package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
)

// Op is one operation inside a transaction, as ../client.h lists them.
type Op struct {
	Kind  byte // 'r' read, 'l' read under a lock, 'w' written, 'a' appended
	Key   string
	Value string // "" where a read found nothing
}

// Outcome of a transaction. Unknown counts as either until a read tells.
type Outcome int

const (
	Committed Outcome = iota
	Failed
	Unknown
)

// Txn is one transaction of one client.
type Txn struct {
	ID      uint64
	Client  int
	Begun   int64
	Ended   int64  // 0: the process was killed
	Start   uint64 // 0: nothing was read
	Commit  uint64 // 0: not known
	Status  string
	Outcome Outcome
	Ops     []Op
}

func (t *Txn) String() string {
	var ops []string
	for _, op := range t.Ops {
		ops = append(ops, fmt.Sprintf("%c:%s:%s", op.Kind, op.Key, op.Value))
	}
	text := strings.Join(ops, " ")
	if len(text) > 300 {
		text = text[:300] + "…"
	}
	return fmt.Sprintf("[%d of client %d, start %d, commit %d, %s: %s]", t.ID, t.Client, t.Start, t.Commit, t.Status, text)
}

func (t *Txn) writes() bool {
	for _, op := range t.Ops {
		if op.Kind == 'w' || op.Kind == 'a' {
			return true
		}
	}
	return false
}

func (t *Txn) locks() bool {
	for _, op := range t.Ops {
		if op.Kind == 'l' {
			return true
		}
	}
	return false
}

// History is all that clients wrote down in a run, in order of transaction ids.
type History struct {
	Txns []*Txn
}

// Anomaly is something that must not happen.
type Anomaly struct {
	Kind string
	Text string
}

// Statuses after which nothing was applied. "corrupt" is what a truncated answer is told as.
var failures = map[string]bool{
	"conflict": true, "deadlock": true, "timeout": true, "unavailable": true, "busy": true, "corrupt": true,
}

func parseOps(fields []string) ([]Op, error) {
	var ops []Op
	for _, field := range fields {
		parts := strings.SplitN(field, ":", 3)
		if len(parts) != 3 || len(parts[0]) != 1 || !strings.Contains("rlwa", parts[0]) {
			return nil, fmt.Errorf("no operation: %q", field)
		}
		ops = append(ops, Op{parts[0][0], parts[1], parts[2]})
	}
	return ops, nil
}

func parseTry(fields []string) (*Txn, error) {
	if len(fields) < 5 {
		return nil, fmt.Errorf("a short line")
	}
	var n [4]uint64
	for i := range n {
		var err error
		if n[i], err = strconv.ParseUint(fields[i+1], 10, 64); err != nil {
			return nil, err
		}
	}
	ops, err := parseOps(fields[5:])
	return &Txn{ID: n[0], Client: int(n[1]), Begun: int64(n[2]), Start: n[3], Status: "killed", Outcome: Unknown, Ops: ops}, err
}

func (t *Txn) end(fields []string) error {
	if len(fields) < 5 {
		return fmt.Errorf("a short line")
	}
	ended, err := strconv.ParseInt(fields[2], 10, 64)
	if err != nil {
		return err
	}
	t.Ended, t.Status = ended, fields[3]
	switch {
	case t.Status == "ok":
		t.Outcome = Committed
		t.Commit, err = strconv.ParseUint(fields[4], 10, 64)
	case failures[t.Status]:
		t.Outcome = Failed
	case t.Status == "outcome_unknown":
	default:
		return fmt.Errorf("a status that no transaction here may end with: %s", strings.Join(fields[3:], " "))
	}
	return err
}

// read adds the lines of one log.
func (h *History) read(from io.Reader) error {
	open := map[string]*Txn{}
	lines := bufio.NewReader(from)
	for {
		line, err := lines.ReadString('\n')
		if err == io.EOF && line == "" {
			return nil
		}
		if err != nil {
			return fmt.Errorf("the log ends in the middle of a line: %q", line)
		}
		fields := strings.Fields(line)
		if len(fields) < 2 {
			return fmt.Errorf("no event: %q", line)
		}
		switch fields[0] {
		case "T":
			t, err := parseTry(fields)
			if err != nil {
				return fmt.Errorf("%q: %v", line, err)
			}
			open[fields[1]] = t
			h.Txns = append(h.Txns, t)
		case "E":
			t := open[fields[1]]
			if t == nil {
				return fmt.Errorf("an end without a beginning: %q", line)
			}
			if err := t.end(fields); err != nil {
				return fmt.Errorf("%q: %v", line, err)
			}
		default:
			return fmt.Errorf("no event: %q", line)
		}
	}
}

// Load reads all logs of a folder.
func Load(dir string) (*History, error) {
	names, err := filepath.Glob(filepath.Join(dir, "*.log"))
	if err != nil || len(names) == 0 {
		return nil, fmt.Errorf("no logs in %s", dir)
	}
	h := &History{}
	for _, name := range names {
		file, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		err = h.read(file)
		file.Close()
		if err != nil {
			return nil, fmt.Errorf("%s: %v", name, err)
		}
	}
	sort.Slice(h.Txns, func(i, k int) bool { return h.Txns[i].ID < h.Txns[k].ID })
	return h, nil
}

func (h *History) count(o Outcome) int {
	n := 0
	for _, t := range h.Txns {
		if t.Outcome == o {
			n++
		}
	}
	return n
}
