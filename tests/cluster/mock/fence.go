package main

import (
	"hash/maphash"
	"sort"
	"sync"

	"github.com/pingcap/kvproto/pkg/kvrpcpb"
)

// fence keeps the reads of a key out while a Prewrite that may commit it by itself runs: unistore picks the timestamp of 1PC and async commit
// before the write is visible, so that a read in between would miss a commit below its own timestamp. Keys share locks by their hash.
type fence struct {
	seed  maphash.Seed
	locks [fenceLocks]sync.RWMutex
}

const fenceLocks = 256

func newFence() fence { return fence{seed: maphash.MakeSeed()} }

// enter takes the locks that req needs.
func (f *fence) enter(req interface{}) (release func()) {
	switch r := req.(type) {
	case *kvrpcpb.PrewriteRequest:
		if r.TryOnePc || r.UseAsyncCommit {
			keys := make([][]byte, len(r.Mutations))
			for i, m := range r.Mutations {
				keys[i] = m.Key
			}
			return f.write(f.of(keys))
		}
	case *kvrpcpb.GetRequest:
		return f.read(f.of([][]byte{r.Key}))
	case *kvrpcpb.BatchGetRequest:
		return f.read(f.of(r.Keys))
	case *kvrpcpb.ScanRequest:
		all := make([]int, fenceLocks)
		for i := range all {
			all[i] = i
		}
		return f.read(all)
	}
	return func() {}
}

// of returns the locks of keys, in their order, each once.
func (f *fence) of(keys [][]byte) []int {
	seen := map[int]bool{}
	var list []int
	for _, key := range keys {
		var h maphash.Hash
		h.SetSeed(f.seed)
		h.Write(key)
		if i := int(h.Sum64() % fenceLocks); !seen[i] {
			seen[i] = true
			list = append(list, i)
		}
	}
	sort.Ints(list)
	return list
}

func (f *fence) write(list []int) (release func()) {
	for _, i := range list {
		f.locks[i].Lock()
	}
	return func() {
		for _, i := range list {
			f.locks[i].Unlock()
		}
	}
}

func (f *fence) read(list []int) (release func()) {
	for _, i := range list {
		f.locks[i].RLock()
	}
	return func() {
		for _, i := range list {
			f.locks[i].RUnlock()
		}
	}
}
