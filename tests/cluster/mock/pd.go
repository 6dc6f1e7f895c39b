package main

import (
	"context"
	"fmt"
	"net"
	"sync"

	"github.com/pingcap/kvproto/pkg/metapb"
	"github.com/pingcap/kvproto/pkg/pdpb"
	"github.com/pingcap/tidb/store/mockstore/unistore/tikv"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const clusterID = 7411

// placement is what all PD fronts share: who leads them, time, safe points.
type placement struct {
	topo   *topology
	faults *faults

	mu           sync.Mutex
	fronts       []*pdFront
	leader       int // index; -1 = none
	safePoint    uint64
	services     map[string]uint64
	tsoRequests  uint64
	lookups      uint64
	clusterID    uint64
	hiddenLeader uint64 // a store whose leadership PD does not know yet (stale PD); 0 = none
}

type pdFront struct {
	pdpb.PDServer // nil: what is not written below panics, and `guard` turns that into Unimplemented
	shared        *placement
	index         int
	url           string
	frozen        gate
}

func newPlacement(topo *topology, rules *faults) *placement {
	return &placement{topo: topo, faults: rules, services: map[string]uint64{}, clusterID: clusterID}
}

func (p *placement) listen(n int, tls []grpc.ServerOption, scheme string) error {
	for i := 0; i < n; i++ {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		f := &pdFront{shared: p, index: i, url: scheme + "://" + l.Addr().String()}
		p.fronts = append(p.fronts, f)
		g := grpc.NewServer(append(tls, grpc.UnaryInterceptor(f.inject))...)
		pdpb.RegisterPDServer(g, f)
		go g.Serve(l)
	}
	return nil
}

// timestamps takes n of them; answers the last. The engine takes its own from the same clock, so a run that it broke into begins anew.
func (p *placement) timestamps(n uint32) (int64, int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tsoRequests++
	physical, logical := tikv.GetTS()
	for run := uint32(1); run < n; run++ {
		nextPhysical, nextLogical := tikv.GetTS()
		if nextPhysical != physical || nextLogical != logical+1 {
			run = 0
		}
		physical, logical = nextPhysical, nextLogical
	}
	return physical, logical
}

func (p *placement) isLeader(index int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.leader == index
}

func (f *pdFront) header() *pdpb.ResponseHeader {
	return &pdpb.ResponseHeader{ClusterId: f.shared.clusterID}
}

func (f *pdFront) mustLead(ctx context.Context) error {
	if err := f.frozen.wait(ctx); err != nil {
		return err
	}
	if !f.shared.isLeader(f.index) {
		return status.Error(codes.Unavailable, "not leader")
	}
	return nil
}

func (f *pdFront) GetMembers(ctx context.Context, _ *pdpb.GetMembersRequest) (*pdpb.GetMembersResponse, error) {
	if err := f.frozen.wait(ctx); err != nil {
		return nil, err
	}
	p := f.shared
	p.mu.Lock()
	defer p.mu.Unlock()
	resp := &pdpb.GetMembersResponse{Header: &pdpb.ResponseHeader{ClusterId: p.clusterID}}
	for i, one := range p.fronts {
		m := &pdpb.Member{Name: fmt.Sprintf("pd%d", i), MemberId: uint64(i + 1), ClientUrls: []string{one.url}, PeerUrls: []string{one.url}}
		resp.Members = append(resp.Members, m)
		if i == p.leader {
			resp.Leader, resp.EtcdLeader = m, m
		}
	}
	return resp, nil
}

func (f *pdFront) Tso(stream pdpb.PD_TsoServer) error {
	for {
		req, err := stream.Recv()
		if err != nil {
			return err
		}
		if err := f.mustLead(stream.Context()); err != nil {
			return err
		}
		rule := f.shared.faults.take("Tso", 0)
		if rule != nil && (rule.Action == "drop_before" || rule.Action == "drop_after") {
			continue
		}
		if err := rule.before(stream.Context()); err != nil {
			return err
		}
		physical, logical := f.shared.timestamps(req.Count)
		if err := rule.after(stream.Context()); err != nil {
			return err
		}
		ts := &pdpb.Timestamp{Physical: physical, Logical: logical}
		if err := stream.Send(&pdpb.TsoResponse{Header: f.header(), Count: req.Count, Timestamp: ts}); err != nil {
			return err
		}
	}
}

func (f *pdFront) GetStore(ctx context.Context, r *pdpb.GetStoreRequest) (*pdpb.GetStoreResponse, error) {
	if err := f.mustLead(ctx); err != nil {
		return nil, err
	}
	t := f.shared.topo
	t.mu.RLock()
	defer t.mu.RUnlock()
	s := t.stores[r.StoreId]
	if s == nil {
		return nil, status.Error(codes.Unknown, fmt.Sprintf("invalid store ID %d, not found", r.StoreId))
	}
	stats := &pdpb.StoreStats{StoreId: s.id, Capacity: 64 << 30, Available: 16 << 30}
	return &pdpb.GetStoreResponse{Header: f.header(), Store: s.meta(), Stats: stats}, nil
}

func (f *pdFront) GetAllStores(ctx context.Context, _ *pdpb.GetAllStoresRequest) (*pdpb.GetAllStoresResponse, error) {
	if err := f.mustLead(ctx); err != nil {
		return nil, err
	}
	t := f.shared.topo
	t.mu.RLock()
	defer t.mu.RUnlock()
	resp := &pdpb.GetAllStoresResponse{Header: f.header()}
	for _, id := range t.storeIDs() {
		resp.Stores = append(resp.Stores, t.stores[id].meta())
	}
	return resp, nil
}

func (f *pdFront) leaderOf(r *region) *metapb.Peer {
	f.shared.mu.Lock()
	defer f.shared.mu.Unlock()
	f.shared.lookups++
	if r.leader == f.shared.hiddenLeader {
		return r.peers[0]
	}
	return r.peerOn(r.leader)
}

func (f *pdFront) answer(r *region) *pdpb.GetRegionResponse {
	if r == nil {
		return &pdpb.GetRegionResponse{Header: f.header()}
	}
	return &pdpb.GetRegionResponse{Header: f.header(), Region: r.meta(), Leader: f.leaderOf(r)}
}

func (f *pdFront) GetRegion(ctx context.Context, r *pdpb.GetRegionRequest) (*pdpb.GetRegionResponse, error) {
	if err := f.mustLead(ctx); err != nil {
		return nil, err
	}
	key, err := decodeBound(r.RegionKey)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	t := f.shared.topo
	t.mu.RLock()
	defer t.mu.RUnlock()
	_, found := t.byKey(key)
	return f.answer(found), nil
}

func (f *pdFront) GetPrevRegion(ctx context.Context, r *pdpb.GetRegionRequest) (*pdpb.GetRegionResponse, error) {
	if err := f.mustLead(ctx); err != nil {
		return nil, err
	}
	key, err := decodeBound(r.RegionKey)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	t := f.shared.topo
	t.mu.RLock()
	defer t.mu.RUnlock()
	i, _ := t.byKey(key)
	if i <= 0 {
		return f.answer(nil), nil
	}
	return f.answer(t.regions[i-1]), nil
}

func (f *pdFront) ScanRegions(ctx context.Context, r *pdpb.ScanRegionsRequest) (*pdpb.ScanRegionsResponse, error) {
	if err := f.mustLead(ctx); err != nil {
		return nil, err
	}
	start, err := decodeBound(r.StartKey)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	end, err := decodeBound(r.EndKey)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	t := f.shared.topo
	t.mu.RLock()
	defer t.mu.RUnlock()
	resp := &pdpb.ScanRegionsResponse{Header: f.header()}
	first, _ := t.byKey(start)
	for i := first; i >= 0 && i < len(t.regions); i++ {
		one := t.regions[i]
		if (r.Limit > 0 && len(resp.Regions) >= int(r.Limit)) || (len(end) > 0 && string(one.start) >= string(end)) {
			break
		}
		resp.Regions = append(resp.Regions, &pdpb.Region{Region: one.meta(), Leader: f.leaderOf(one)})
	}
	return resp, nil
}

func (f *pdFront) GetGCSafePoint(ctx context.Context, _ *pdpb.GetGCSafePointRequest) (*pdpb.GetGCSafePointResponse, error) {
	if err := f.mustLead(ctx); err != nil {
		return nil, err
	}
	f.shared.mu.Lock()
	defer f.shared.mu.Unlock()
	return &pdpb.GetGCSafePointResponse{Header: &pdpb.ResponseHeader{ClusterId: f.shared.clusterID}, SafePoint: f.shared.safePoint}, nil
}

func (f *pdFront) UpdateGCSafePoint(ctx context.Context, r *pdpb.UpdateGCSafePointRequest) (*pdpb.UpdateGCSafePointResponse, error) {
	if err := f.mustLead(ctx); err != nil {
		return nil, err
	}
	p := f.shared
	p.mu.Lock()
	defer p.mu.Unlock()
	p.safePoint = max(p.safePoint, r.SafePoint)
	return &pdpb.UpdateGCSafePointResponse{Header: &pdpb.ResponseHeader{ClusterId: p.clusterID}, NewSafePoint: p.safePoint}, nil
}

func (f *pdFront) UpdateServiceGCSafePoint(ctx context.Context, r *pdpb.UpdateServiceGCSafePointRequest) (*pdpb.UpdateServiceGCSafePointResponse, error) {
	if err := f.mustLead(ctx); err != nil {
		return nil, err
	}
	p := f.shared
	p.mu.Lock()
	defer p.mu.Unlock()
	name := string(r.ServiceId)
	if r.TTL <= 0 {
		delete(p.services, name)
	} else if r.SafePoint >= p.services[name] {
		p.services[name] = r.SafePoint
	}
	lowest, who := ^uint64(0), ""
	for service, ts := range p.services {
		if ts < lowest {
			lowest, who = ts, service
		}
	}
	if who == "" {
		lowest = 0
	}
	return &pdpb.UpdateServiceGCSafePointResponse{Header: &pdpb.ResponseHeader{ClusterId: p.clusterID}, ServiceId: []byte(who), MinSafePoint: lowest}, nil
}
