package main

import (
	"context"
	"fmt"
	"reflect"
	"sync"
	"time"

	"github.com/golang/protobuf/proto"
	"github.com/pingcap/kvproto/pkg/errorpb"
	"github.com/pingcap/kvproto/pkg/kvrpcpb"
	"github.com/pingcap/kvproto/pkg/metapb"
	"github.com/pingcap/kvproto/pkg/pdpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// fault is a rule: what happens to the n-th request of a kind at a store (or at PD), as often as Times says.
type fault struct {
	Kind    string `json:"kind"`     // a store's: "Get", "Prewrite", …, "" = any of them; PD's: "Tso", "GetRegion", …
	Store   uint64 `json:"store"`    // 0 = any
	Nth     int    `json:"nth"`      // from which matching request on; 0 or 1 = the first
	Times   int    `json:"times"`    // 0 = once; < 0 = for ever
	DelayMS int    `json:"delay_ms"` // before anything else
	Action  string `json:"action"`   // see actions
	Error   string `json:"error"`    // the region or key error's name
	Leader  uint64 `json:"leader"`   // region_error NotLeader: the store it names; 0 = none
	Pair    bool   `json:"pair"`     // key_error of Scan and BatchGet: in the first pair instead of the answer

	seen int
	used int
}

// actions, and whether PD's requests have them too.
var actions = map[string]bool{
	"": true, "delay": true, "region_error": false, "key_error": false,
	"drop_before": true, "drop_after": true, // no answer comes, before or after the request was applied
	"cut_before": true, "cut_after": true, // the same, and the stream breaks
	"duplicate": false, "reorder": false, // the answer in a batch twice, or behind the next one
	"truncate": false, // an answer of a batch without content
	"pd_error": true,  // PD's header has the error of that name
}

// pdKinds are PD's requests that can be named in a rule.
var pdKinds = map[string]bool{
	"Tso": true, "GetMembers": true, "GetRegion": true, "GetPrevRegion": true, "ScanRegions": true, "GetStore": true, "GetAllStores": true,
	"GetGCSafePoint": true, "UpdateGCSafePoint": true, "UpdateServiceGCSafePoint": true,
}

func (f *fault) cuts() bool { return f.Action == "cut_before" || f.Action == "cut_after" }

// faults holds the rules. Every request is offered to them in order; the first that matches acts.
type faults struct {
	mu    sync.Mutex
	rules []*fault
	hits  int
}

// check refuses what would never do anything.
func (f *fault) check() error {
	atPD, known := actions[f.Action]
	_, keyKind := keyErrors[f.Error]
	switch {
	case !known:
		return fmt.Errorf("no such action: %q", f.Action)
	case pdKinds[f.Kind] && !atPD:
		return fmt.Errorf("PD's requests have no %q", f.Action)
	case f.Action == "pd_error" && (!pdKinds[f.Kind] || f.Kind == "Tso" || pdpb.ErrorType_value[f.Error] == 0):
		return fmt.Errorf("no such request or error of PD: %q, %q", f.Kind, f.Error)
	case !pdKinds[f.Kind] && f.Kind != "" && f.Kind != "UnsafeDestroyRange" && wrappers[f.Kind] == nil:
		return fmt.Errorf("no such request: %q", f.Kind)
	case f.Action == "region_error" && regionErrors[f.Error] == 0 && f.Error != "Unknown":
		return fmt.Errorf("no such region error: %q", f.Error)
	case f.Action == "key_error" && !keyKind:
		return fmt.Errorf("no such key error: %q", f.Error)
	}
	return nil
}

func (f *faults) add(rule *fault) error {
	if err := rule.check(); err != nil {
		return err
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
		if (rule.Kind == "" && pdKinds[kind]) || (rule.Kind != "" && rule.Kind != kind) || (rule.Store != 0 && rule.Store != store) {
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
		if r != nil && f.Leader != 0 {
			e.NotLeader.Leader = r.peerOn(f.Leader)
		}
	case "EpochNotMatch":
		e.EpochNotMatch = &errorpb.EpochNotMatch{}
		if r != nil {
			e.EpochNotMatch.CurrentRegions = []*metapb.Region{r.meta()}
		}
	case "ServerIsBusy":
		e.ServerIsBusy = &errorpb.ServerIsBusy{Reason: "injected", BackoffMs: 10}
	case "Unknown":
	default:
		e.XXX_unrecognized = field(regionErrors[f.Error], nil)
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

// keyErrors: the field numbers of kvrpcpb.KeyError.
var keyErrors = map[string]int{
	"Locked": 1, "Retryable": 2, "Abort": 3, "Conflict": 4, "AlreadyExist": 5, "Deadlock": 6, "CommitTsExpired": 7, "TxnNotFound": 8,
	"CommitTsTooLarge": 9, "AssertionFailed": 10, "PrimaryMismatch": 11, "TxnLockNotFound": 12,
}

// keyError makes a key error about the first key of a request. Kinds that the engine's protocol version does not know are written as unknown
// fields: PrimaryMismatch with the lock, the others empty.
func (f *fault) keyError(req interface{}) *kvrpcpb.KeyError {
	var key []byte
	if keys := keysOf(req); len(keys) > 0 {
		key = keys[0]
	}
	return f.keyErrorOf(key, req)
}

func (f *fault) keyErrorOf(key []byte, req interface{}) *kvrpcpb.KeyError {
	start := numberOf(req, "StartVersion")
	if start == 0 {
		start = numberOf(req, "Version")
	}
	// A lock of nobody, that has long expired.
	lock := &kvrpcpb.LockInfo{Key: key, PrimaryLock: key, LockVersion: start - 1, LockTtl: 1, TxnSize: 1}
	switch f.Error {
	case "Locked":
		return &kvrpcpb.KeyError{Locked: lock}
	case "Conflict":
		return &kvrpcpb.KeyError{Conflict: &kvrpcpb.WriteConflict{StartTs: start, ConflictTs: start + 1, ConflictCommitTs: start + 2, Key: key}}
	case "AlreadyExist":
		return &kvrpcpb.KeyError{AlreadyExist: &kvrpcpb.AlreadyExist{Key: key}}
	case "Deadlock":
		return &kvrpcpb.KeyError{Deadlock: &kvrpcpb.Deadlock{LockTs: start, LockKey: key}}
	case "CommitTsExpired":
		attempted := numberOf(req, "CommitVersion")
		return &kvrpcpb.KeyError{CommitTsExpired: &kvrpcpb.CommitTsExpired{StartTs: start, AttemptedCommitTs: attempted, Key: key, MinCommitTs: attempted + 1}}
	case "TxnNotFound":
		return &kvrpcpb.KeyError{TxnNotFound: &kvrpcpb.TxnNotFound{StartTs: start, PrimaryKey: key}}
	case "CommitTsTooLarge":
		return &kvrpcpb.KeyError{CommitTsTooLarge: &kvrpcpb.CommitTsTooLarge{CommitTs: start + 1}}
	case "Retryable":
		return &kvrpcpb.KeyError{Retryable: "injected"}
	case "PrimaryMismatch":
		inner, _ := proto.Marshal(lock)
		return &kvrpcpb.KeyError{XXX_unrecognized: field(keyErrors[f.Error], field(1, inner))}
	case "AssertionFailed", "TxnLockNotFound":
		return &kvrpcpb.KeyError{XXX_unrecognized: field(keyErrors[f.Error], nil)}
	}
	return &kvrpcpb.KeyError{Abort: "injected " + f.Error}
}

// failedPair is the answer of a Scan or BatchGet whose first pair has the key error; nil when the rule does not ask for one.
func (f *fault) failedPair(req interface{}) interface{} {
	pair := func(key []byte) []*kvrpcpb.KvPair {
		return []*kvrpcpb.KvPair{{Key: key, Error: f.keyErrorOf(key, req)}}
	}
	switch r := req.(type) {
	case *kvrpcpb.BatchGetRequest:
		if f.Pair {
			return &kvrpcpb.BatchGetResponse{Pairs: pair(r.Keys[0])}
		}
	case *kvrpcpb.ScanRequest:
		if f.Pair {
			return &kvrpcpb.ScanResponse{Pairs: pair(r.StartKey)}
		}
	}
	return nil
}

// before waits as the rule says, and says when the request is lost before it is applied. Of a nil rule: nothing.
func (f *fault) before(ctx context.Context) error {
	if f == nil {
		return nil
	}
	if f.DelayMS > 0 {
		select {
		case <-time.After(time.Duration(f.DelayMS) * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return f.lost(ctx, "before")
}

// after says when the answer is lost.
func (f *fault) after(ctx context.Context) error {
	if f == nil {
		return nil
	}
	return f.lost(ctx, "after")
}

// lost: a dropped answer of a unary call never comes, a cut one fails at once.
func (f *fault) lost(ctx context.Context, when string) error {
	switch f.Action {
	case "drop_" + when:
		<-ctx.Done()
		return ctx.Err()
	case "cut_" + when:
		return status.Error(codes.Unavailable, "cut "+when+" it was applied")
	}
	return nil
}

// numberOf is a field of a request, 0 where it has none.
func numberOf(req interface{}, name string) uint64 {
	if v := reflect.ValueOf(req).Elem().FieldByName(name); v.IsValid() {
		return v.Uint()
	}
	return 0
}

// field encodes bytes as a field.
func field(n int, content []byte) []byte {
	return append(appendVarint(appendVarint(nil, uint64(n)<<3|2), uint64(len(content))), content...)
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
