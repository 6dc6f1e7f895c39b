package main

import (
	"sync"

	"github.com/pingcap/kvproto/pkg/kvrpcpb"
)

// lockRecords is the mode in which a committed LOCK conflicts with later optimistic writes, as on TiKV, where it leaves a record; the engine leaves
// none. While it is on, the requests that write run one at a time, so that nothing comes between the check, the write and the note.
type lockRecords struct {
	mu      sync.Mutex
	on      bool
	running map[uint64][]string // LOCKed keys of transactions by their start
	commits map[string]uint64   // when a LOCK of the key was last committed
}

func newLockRecords() *lockRecords {
	return &lockRecords{running: map[uint64][]string{}, commits: map[string]uint64{}}
}

func (l *lockRecords) set(on bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.on = on
}

// enter begins a request: a conflict, or what is to be called with the answer.
func (l *lockRecords) enter(req interface{}) (conflict *kvrpcpb.KeyError, done func(answer interface{})) {
	switch req.(type) {
	case *kvrpcpb.PrewriteRequest, *kvrpcpb.CommitRequest, *kvrpcpb.ResolveLockRequest, *kvrpcpb.BatchRollbackRequest:
	default:
		return nil, func(interface{}) {}
	}
	l.mu.Lock()
	if !l.on {
		l.mu.Unlock()
		return nil, func(interface{}) {}
	}
	if prewrite, is := req.(*kvrpcpb.PrewriteRequest); is {
		conflict = l.conflict(prewrite)
	}
	if conflict != nil {
		l.mu.Unlock()
		return conflict, nil
	}
	return nil, func(answer interface{}) {
		l.note(req, answer)
		l.mu.Unlock()
	}
}

func (l *lockRecords) conflict(r *kvrpcpb.PrewriteRequest) *kvrpcpb.KeyError {
	if r.ForUpdateTs != 0 {
		return nil
	}
	for _, m := range r.Mutations {
		if ts := l.commits[string(m.Key)]; ts > r.StartVersion {
			return &kvrpcpb.KeyError{Conflict: &kvrpcpb.WriteConflict{StartTs: r.StartVersion, ConflictTs: ts, ConflictCommitTs: ts, Key: m.Key, Primary: r.PrimaryLock}}
		}
	}
	return nil
}

func (l *lockRecords) note(req, answer interface{}) {
	switch r := req.(type) {
	case *kvrpcpb.PrewriteRequest:
		resp, is := answer.(*kvrpcpb.PrewriteResponse)
		if !is || resp.RegionError != nil || len(resp.Errors) > 0 {
			return
		}
		for _, m := range r.Mutations {
			if m.Op == kvrpcpb.Op_Lock {
				l.running[r.StartVersion] = append(l.running[r.StartVersion], string(m.Key))
			}
		}
		if resp.OnePcCommitTs != 0 {
			l.ended(r.StartVersion, resp.OnePcCommitTs)
		}
	case *kvrpcpb.CommitRequest:
		if resp, is := answer.(*kvrpcpb.CommitResponse); is && resp.RegionError == nil && resp.Error == nil {
			l.ended(r.StartVersion, r.CommitVersion)
		}
	case *kvrpcpb.ResolveLockRequest:
		l.ended(r.StartVersion, r.CommitVersion)
		for _, one := range r.TxnInfos {
			l.ended(one.Txn, one.Status)
		}
	case *kvrpcpb.BatchRollbackRequest:
		l.ended(r.StartVersion, 0)
	}
}

// ended: a transaction was committed, or rolled back (0).
func (l *lockRecords) ended(start, commit uint64) {
	for _, key := range l.running[start] {
		l.commits[key] = max(l.commits[key], commit)
	}
	delete(l.running, start)
}
