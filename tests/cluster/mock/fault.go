package main

import (
	"context"
	"fmt"
	"reflect"
	"sync"

	"github.com/pingcap/kvproto/pkg/errorpb"
	"github.com/pingcap/kvproto/pkg/kvrpcpb"
	"github.com/pingcap/kvproto/pkg/metapb"
)

// fault is a rule: what happens to the n-th request of a kind at a store, as often as Times says.
type fault struct {
	Kind    string `json:"kind"`     // "Get", "Prewrite", …; "" = any
	Store   uint64 `json:"store"`    // 0 = any
	Nth     int    `json:"nth"`      // from which matching request on; 0 or 1 = the first
	Times   int    `json:"times"`    // 0 = once; < 0 = for ever
	DelayMS int    `json:"delay_ms"` // before anything else
	// "delay", "region_error", "key_error", "drop_before", "drop_after", "cut_before", "cut_after", "duplicate", "reorder", "truncate"
	Action string `json:"action"`
	Error  string `json:"error"` // the region or key error's name

	seen int
	used int
}

func (f *fault) cuts() bool { return f.Action == "cut_before" || f.Action == "cut_after" }

// faults holds the rules. Every request is offered to them in order; the first that matches acts.
type faults struct {
	mu    sync.Mutex
	rules []*fault
	hits  int
}

func (f *faults) add(rule *fault) error {
	if rule.Action == "region_error" && regionErrors[rule.Error] == 0 && rule.Error != "Unknown" {
		return fmt.Errorf("no such region error: %q", rule.Error)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rules = append(f.rules, rule)
	return nil
}

func (f *faults) clear() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rules = nil
}

func (f *faults) take(kind string, store uint64) *fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, rule := range f.rules {
		if (rule.Kind != "" && rule.Kind != kind) || (rule.Store != 0 && rule.Store != store) {
			continue
		}
		rule.seen++
		if rule.seen < rule.Nth || (rule.Times >= 0 && rule.used > rule.Times-1 && rule.used > 0) {
			continue
		}
		rule.used++
		f.hits++
		return rule
	}
	return nil
}

// regionErrors: the field numbers of errorpb.Error.
var regionErrors = map[string]int{
	"NotLeader": 2, "RegionNotFound": 3, "KeyNotInRegion": 4, "EpochNotMatch": 5, "ServerIsBusy": 6, "StaleCommand": 7, "StoreNotMatch": 8,
	"RaftEntryTooLarge": 9, "MaxTimestampNotSynced": 10, "ReadIndexNotReady": 11, "ProposalInMergingMode": 12, "DataIsNotReady": 13,
	"RegionNotInitialized": 14, "DiskFull": 15, "RecoveryInProgress": 16, "FlashbackInProgress": 17, "FlashbackNotPrepared": 18, "IsWitness": 19,
	"MismatchPeerId": 20, "BucketVersionNotMatch": 21, "UndeterminedResult": 22,
}

// regionError makes the error. Kinds that the engine's protocol version does not know are written as unknown fields, with an empty message.
func (f *fault) regionError(t *topology, c *kvrpcpb.Context) *errorpb.Error {
	e := &errorpb.Error{Message: "injected " + f.Error}
	t.mu.RLock()
	defer t.mu.RUnlock()
	_, r := t.byID(c.GetRegionId())
	switch f.Error {
	case "NotLeader":
		e.NotLeader = &errorpb.NotLeader{RegionId: c.GetRegionId()}
	case "EpochNotMatch":
		e.EpochNotMatch = &errorpb.EpochNotMatch{}
		if r != nil {
			e.EpochNotMatch.CurrentRegions = []*metapb.Region{r.meta()}
		}
	case "ServerIsBusy":
		e.ServerIsBusy = &errorpb.ServerIsBusy{Reason: "injected", BackoffMs: 10}
	case "Unknown":
	default:
		n := regionErrors[f.Error]
		e.XXX_unrecognized = append(appendVarint(nil, uint64(n)<<3|2), 0)
	}
	return e
}

func appendVarint(b []byte, v uint64) []byte {
	for v >= 0x80 {
		b = append(b, byte(v)|0x80)
		v >>= 7
	}
	return append(b, byte(v))
}

// keyError makes a key error about the first key of a request.
func (f *fault) keyError(req interface{}) *kvrpcpb.KeyError {
	var key []byte
	if keys := keysOf(req); len(keys) > 0 {
		key = keys[0]
	}
	start := uint64(0)
	if v := reflect.ValueOf(req).Elem().FieldByName("StartVersion"); v.IsValid() {
		start = v.Uint()
	}
	switch f.Error {
	case "Conflict":
		return &kvrpcpb.KeyError{Conflict: &kvrpcpb.WriteConflict{StartTs: start, ConflictTs: start + 1, ConflictCommitTs: start + 2, Key: key}}
	case "AlreadyExist":
		return &kvrpcpb.KeyError{AlreadyExist: &kvrpcpb.AlreadyExist{Key: key}}
	case "Deadlock":
		return &kvrpcpb.KeyError{Deadlock: &kvrpcpb.Deadlock{LockTs: start, LockKey: key}}
	case "CommitTsExpired":
		attempted := uint64(0)
		if r, commit := req.(*kvrpcpb.CommitRequest); commit {
			attempted = r.CommitVersion
		}
		return &kvrpcpb.KeyError{CommitTsExpired: &kvrpcpb.CommitTsExpired{StartTs: start, AttemptedCommitTs: attempted, Key: key, MinCommitTs: attempted + 1}}
	case "TxnNotFound":
		return &kvrpcpb.KeyError{TxnNotFound: &kvrpcpb.TxnNotFound{StartTs: start, PrimaryKey: key}}
	case "Retryable":
		return &kvrpcpb.KeyError{Retryable: "injected"}
	}
	return &kvrpcpb.KeyError{Abort: "injected " + f.Error}
}

// gate can be shut: whoever comes then waits until it opens or gives up.
type gate struct {
	mu   sync.Mutex
	shut chan struct{}
}

func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut == nil {
		g.shut = make(chan struct{})
	}
}

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut != nil {
		close(g.shut)
		g.shut = nil
	}
}

func (g *gate) wait(ctx context.Context) error {
	g.mu.Lock()
	shut := g.shut
	g.mu.Unlock()
	if shut == nil {
		return nil
	}
	select {
	case <-shut:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
