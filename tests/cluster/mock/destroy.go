package main

import (
	"context"
	"fmt"

	"github.com/pingcap/kvproto/pkg/kvrpcpb"
)

const (
	destroyBatch = 256
	destroyTTL   = 3000
	newest       = ^uint64(0)
)

// destroyRange empties a range in the engine, which has no such command, by transactions that delete what is in it. The engine's DeleteRange would
// leave deletions without a timestamp, on which a later rollback of the same key panics.
func (c *cluster) destroyRange(ctx context.Context, r *kvrpcpb.UnsafeDestroyRangeRequest) (*kvrpcpb.UnsafeDestroyRangeResponse, error) {
	if len(r.EndKey) == 0 {
		r.EndKey = farEnd
	}
	for {
		keys, err := c.keysWithin(ctx, r.StartKey, r.EndKey)
		if err == nil && len(keys) == 0 {
			return &kvrpcpb.UnsafeDestroyRangeResponse{}, nil
		}
		if err == nil {
			err = c.deleteKeys(ctx, keys)
		}
		if err != nil {
			return &kvrpcpb.UnsafeDestroyRangeResponse{Error: err.Error()}, nil
		}
	}
}

// keysWithin returns some keys of the range, past the locks in it: nobody may write there meanwhile, so they are of the dead.
func (c *cluster) keysWithin(ctx context.Context, from, to []byte) ([][]byte, error) {
	e := c.engine
	locks, err := e.kv.KvScanLock(ctx, &kvrpcpb.ScanLockRequest{Context: e.context, MaxVersion: newest, StartKey: from, EndKey: to, Limit: 1 << 20})
	if err != nil {
		return nil, err
	}
	for _, l := range locks.Locks {
		undo := &kvrpcpb.BatchRollbackRequest{Context: e.context, StartVersion: l.LockVersion, Keys: [][]byte{l.Key}}
		if _, err := e.kv.KvBatchRollback(ctx, undo); err != nil {
			return nil, err
		}
	}
	found, err := e.kv.KvScan(ctx, &kvrpcpb.ScanRequest{Context: e.context, StartKey: from, EndKey: to, Limit: destroyBatch, Version: newest})
	if err != nil {
		return nil, err
	}
	var keys [][]byte
	for _, pair := range found.Pairs {
		if pair.Error != nil {
			return nil, fmt.Errorf("the range is in use: %v", pair.Error)
		}
		if !isInternal(pair.Key) {
			keys = append(keys, pair.Key)
		}
	}
	return keys, nil
}

func (c *cluster) deleteKeys(ctx context.Context, keys [][]byte) error {
	e, start := c.engine, c.timestamp()
	prewrite := &kvrpcpb.PrewriteRequest{Context: e.context, PrimaryLock: keys[0], StartVersion: start, LockTtl: destroyTTL}
	for _, key := range keys {
		prewrite.Mutations = append(prewrite.Mutations, &kvrpcpb.Mutation{Op: kvrpcpb.Op_Del, Key: key})
	}
	if out, err := e.kv.KvPrewrite(ctx, prewrite); err != nil || len(out.Errors) > 0 {
		return fmt.Errorf("the range is in use: %v %v", out, err)
	}
	out, err := e.kv.KvCommit(ctx, &kvrpcpb.CommitRequest{Context: e.context, StartVersion: start, CommitVersion: c.timestamp(), Keys: keys})
	if err != nil || out.Error != nil {
		return fmt.Errorf("the range is in use: %v %v", out, err)
	}
	return nil
}

func (c *cluster) timestamp() uint64 {
	physical, logical := c.pd.timestamps(1)
	return uint64(physical)<<18 + uint64(logical)
}
