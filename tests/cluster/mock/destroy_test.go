package main

import (
	"context"
	"testing"

	"github.com/pingcap/kvproto/pkg/kvrpcpb"
)

// A key that was destroyed, written again and rolled back for a transaction that it never had.
func TestDestroy(t *testing.T) {
	const key = "destroy:a"
	for i := 0; i < 2; i++ {
		put(t, key, "old")
		if out, err := mock.destroyRange(context.Background(), &kvrpcpb.UnsafeDestroyRangeRequest{StartKey: []byte("destroy:"), EndKey: []byte("destroy;")}); err != nil || out.Error != "" {
			t.Fatal(out, err)
		}
		if got, err := get(t, key); err != nil || len(got.Value) > 0 {
			t.Fatal("the key is still there:", got, err)
		}
		where, store := place(t, key)
		undo := &kvrpcpb.BatchRollbackRequest{Context: where, StartVersion: now(), Keys: [][]byte{[]byte(key)}}
		put(t, key, "new")
		if out, err := store.KvBatchRollback(soon(t, long), undo); err != nil || out.Error != nil || out.RegionError != nil {
			t.Fatal(out, err)
		}
		holds(t, key, "new")
	}
}
