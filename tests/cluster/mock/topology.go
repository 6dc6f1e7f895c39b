package main

import (
	"bytes"
	"fmt"
	"sort"
	"sync"

	"github.com/pingcap/kvproto/pkg/metapb"
)

// topology is the cluster as clients see it: regions with epochs, peers and leaders, and stores with addresses. The storage engine behind
// knows one region only; what a client asks is checked here first, and then rewritten for it.
//
// Keys in here are raw: the memcomparable form exists only at PD's door and in region errors.
type topology struct {
	mu      sync.RWMutex
	nextID  uint64
	regions []*region // by start key, without gaps
	stores  map[uint64]*store
}

type region struct {
	id, confVer, version uint64
	start, end           []byte
	peers                []*metapb.Peer
	leader               uint64 // store id
}

func newTopology() *topology {
	return &topology{nextID: 100, stores: map[uint64]*store{}}
}

func (t *topology) allocID() uint64 {
	t.nextID++
	return t.nextID
}

// bootstrap makes one region over everything, with a peer on every store.
func (t *topology) bootstrap() {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := &region{id: t.allocID(), confVer: 1, version: 1}
	for _, id := range t.storeIDs() {
		r.peers = append(r.peers, &metapb.Peer{Id: t.allocID(), StoreId: id})
	}
	r.leader = r.peers[0].StoreId
	t.regions = []*region{r}
}

func (t *topology) storeIDs() []uint64 {
	var ids []uint64
	for id := range t.stores {
		ids = append(ids, id)
	}
	sort.Slice(ids, func(i, k int) bool { return ids[i] < ids[k] })
	return ids
}

func (r *region) holds(key []byte) bool {
	return bytes.Compare(r.start, key) <= 0 && (len(r.end) == 0 || bytes.Compare(key, r.end) < 0)
}

func (r *region) peerOn(storeID uint64) *metapb.Peer {
	for _, p := range r.peers {
		if p.StoreId == storeID {
			return p
		}
	}
	return nil
}

// meta is the region as PD and stores tell it: bounds encoded.
func (r *region) meta() *metapb.Region {
	return &metapb.Region{
		Id: r.id, StartKey: encodeBound(r.start), EndKey: encodeBound(r.end),
		RegionEpoch: &metapb.RegionEpoch{ConfVer: r.confVer, Version: r.version}, Peers: r.peers,
	}
}

// The callers of the following hold mu.

func (t *topology) byKey(key []byte) (int, *region) {
	for i, r := range t.regions {
		if r.holds(key) {
			return i, r
		}
	}
	return -1, nil
}

func (t *topology) byID(id uint64) (int, *region) {
	for i, r := range t.regions {
		if r.id == id {
			return i, r
		}
	}
	return -1, nil
}

// split cuts the region of key at key. The left part keeps the id; both get a new version.
func (t *topology) split(key []byte) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	i, r := t.byKey(key)
	if r == nil || len(key) == 0 || bytes.Equal(r.start, key) {
		return fmt.Errorf("a region can not be split at its own start")
	}
	right := &region{id: t.allocID(), confVer: r.confVer, version: r.version + 1, start: key, end: r.end}
	for _, p := range r.peers {
		right.peers = append(right.peers, &metapb.Peer{Id: t.allocID(), StoreId: p.StoreId})
	}
	right.leader = r.leader
	left := *r
	left.version++
	left.end = key
	t.regions[i] = &left
	t.regions = append(t.regions[:i+1], append([]*region{right}, t.regions[i+1:]...)...)
	return nil
}

// merge joins the region of key with the one behind it. The left one's id stays.
func (t *topology) merge(key []byte) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	i, r := t.byKey(key)
	if r == nil || i+1 >= len(t.regions) {
		return fmt.Errorf("there is no region behind this one")
	}
	right := t.regions[i+1]
	joined := *r
	joined.end = right.end
	joined.version = max(r.version, right.version) + 1
	t.regions[i] = &joined
	t.regions = append(t.regions[:i+1], t.regions[i+2:]...)
	return nil
}

func max(a, b uint64) uint64 {
	if a > b {
		return a
	}
	return b
}

// moveLeader makes the peer on a store lead the region of key; storeID 0 takes the next peer.
func (t *topology) moveLeader(key []byte, storeID uint64) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	i, r := t.byKey(key)
	if r == nil {
		return fmt.Errorf("no region")
	}
	if storeID == 0 {
		for k, p := range r.peers {
			if p.StoreId == r.leader {
				storeID = r.peers[(k+1)%len(r.peers)].StoreId
				break
			}
		}
	}
	if r.peerOn(storeID) == nil {
		return fmt.Errorf("region %d has no peer on store %d", r.id, storeID)
	}
	moved := *r
	moved.leader = storeID
	t.regions[i] = &moved
	return nil
}

// addPeers puts a peer of every region on a store, with a new configuration version.
func (t *topology) addPeers(storeID uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, r := range t.regions {
		if r.peerOn(storeID) != nil {
			continue
		}
		grown := *r
		grown.confVer++
		grown.peers = append(append([]*metapb.Peer{}, r.peers...), &metapb.Peer{Id: t.allocID(), StoreId: storeID})
		t.regions[i] = &grown
	}
}

const groupSize = 8

// encodeBound gives the memcomparable form; no bound stays empty.
func encodeBound(key []byte) []byte {
	if len(key) == 0 {
		return nil
	}
	var out []byte
	for i := 0; i <= len(key); i += groupSize {
		group := make([]byte, groupSize)
		n := copy(group, key[i:])
		out = append(append(out, group...), byte(0xff-(groupSize-n)))
	}
	return out
}

func decodeBound(key []byte) ([]byte, error) {
	var out []byte
	for len(key) > 0 {
		if len(key) < groupSize+1 {
			return nil, fmt.Errorf("a key of PD is not memcomparable")
		}
		padding := 0xff - int(key[groupSize])
		if padding > groupSize {
			return nil, fmt.Errorf("a key of PD is not memcomparable")
		}
		out = append(out, key[:groupSize-padding]...)
		if padding > 0 {
			return out, nil
		}
		key = key[groupSize+1:]
	}
	return out, nil
}
