package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"reflect"
	"sync"
	"time"

	"github.com/golang/protobuf/proto"
	"github.com/pingcap/kvproto/pkg/errorpb"
	"github.com/pingcap/kvproto/pkg/kvrpcpb"
	"github.com/pingcap/kvproto/pkg/metapb"
	"github.com/pingcap/kvproto/pkg/tikvpb"
	"github.com/pingcap/tidb/store/mockstore/unistore/tikv"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// store is the front of one TiKV store. All fronts share one storage engine; a front checks what a store checks (store, region, leader, epoch,
// range), injects faults, and hands on.
type store struct {
	id      uint64
	cluster *cluster
	address string
	server  *grpc.Server
	frozen  gate
}

// engine is the storage behind all fronts: unistore's MVCC, which knows one region.
type engine struct {
	kv      *tikv.Server
	context *kvrpcpb.Context // of its one region
	fence   fence

	twoPhase    bool // 1PC and async commit are refused
	lockRecords *lockRecords
}

// window is the flow-control window of a store's connections and streams, as TiKV sets it (grpc-stream-initial-window-size): with a fixed one
// the server sends no pings to find it out.
const window = 2 << 20

func (s *store) meta() *metapb.Store {
	return &metapb.Store{Id: s.id, Address: s.address, Version: "mock"}
}

// start listens at address ("127.0.0.1:0" picks a port).
func (s *store) start(address string) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	s.address = l.Addr().String()
	s.server = grpc.NewServer(append(s.cluster.options, grpc.UnaryInterceptor(guard), grpc.MaxRecvMsgSize(1<<30), grpc.MaxSendMsgSize(1<<30),
		grpc.InitialWindowSize(window), grpc.InitialConnWindowSize(window))...)
	tikvpb.RegisterTikvServer(s.server, &kvFront{store: s})
	go s.server.Serve(l)
	return nil
}

func (s *store) stop() {
	if s.server != nil {
		s.server.Stop()
		s.server = nil
	}
}

// kvFront is the gRPC service of a store.
type kvFront struct {
	tikvpb.TikvServer // nil: other methods panic, and `guard` turns that into Unimplemented
	store             *store
}

func (f *kvFront) KvGet(c context.Context, r *kvrpcpb.GetRequest) (*kvrpcpb.GetResponse, error) {
	resp, err := f.store.serve(c, "Get", r)
	return resp.(*kvrpcpb.GetResponse), err
}
func (f *kvFront) KvScan(c context.Context, r *kvrpcpb.ScanRequest) (*kvrpcpb.ScanResponse, error) {
	resp, err := f.store.serve(c, "Scan", r)
	return resp.(*kvrpcpb.ScanResponse), err
}
func (f *kvFront) KvBatchGet(c context.Context, r *kvrpcpb.BatchGetRequest) (*kvrpcpb.BatchGetResponse, error) {
	resp, err := f.store.serve(c, "BatchGet", r)
	return resp.(*kvrpcpb.BatchGetResponse), err
}
func (f *kvFront) KvPrewrite(c context.Context, r *kvrpcpb.PrewriteRequest) (*kvrpcpb.PrewriteResponse, error) {
	resp, err := f.store.serve(c, "Prewrite", r)
	return resp.(*kvrpcpb.PrewriteResponse), err
}
func (f *kvFront) KvCommit(c context.Context, r *kvrpcpb.CommitRequest) (*kvrpcpb.CommitResponse, error) {
	resp, err := f.store.serve(c, "Commit", r)
	return resp.(*kvrpcpb.CommitResponse), err
}
func (f *kvFront) KvBatchRollback(c context.Context, r *kvrpcpb.BatchRollbackRequest) (*kvrpcpb.BatchRollbackResponse, error) {
	resp, err := f.store.serve(c, "BatchRollback", r)
	return resp.(*kvrpcpb.BatchRollbackResponse), err
}
func (f *kvFront) KvPessimisticLock(c context.Context, r *kvrpcpb.PessimisticLockRequest) (*kvrpcpb.PessimisticLockResponse, error) {
	resp, err := f.store.serve(c, "PessimisticLock", r)
	return resp.(*kvrpcpb.PessimisticLockResponse), err
}
func (f *kvFront) KVPessimisticRollback(c context.Context, r *kvrpcpb.PessimisticRollbackRequest) (*kvrpcpb.PessimisticRollbackResponse, error) {
	resp, err := f.store.serve(c, "PessimisticRollback", r)
	return resp.(*kvrpcpb.PessimisticRollbackResponse), err
}
func (f *kvFront) KvTxnHeartBeat(c context.Context, r *kvrpcpb.TxnHeartBeatRequest) (*kvrpcpb.TxnHeartBeatResponse, error) {
	resp, err := f.store.serve(c, "TxnHeartBeat", r)
	return resp.(*kvrpcpb.TxnHeartBeatResponse), err
}
func (f *kvFront) KvCheckTxnStatus(c context.Context, r *kvrpcpb.CheckTxnStatusRequest) (*kvrpcpb.CheckTxnStatusResponse, error) {
	resp, err := f.store.serve(c, "CheckTxnStatus", r)
	return resp.(*kvrpcpb.CheckTxnStatusResponse), err
}
func (f *kvFront) KvCheckSecondaryLocks(c context.Context, r *kvrpcpb.CheckSecondaryLocksRequest) (*kvrpcpb.CheckSecondaryLocksResponse, error) {
	resp, err := f.store.serve(c, "CheckSecondaryLocks", r)
	return resp.(*kvrpcpb.CheckSecondaryLocksResponse), err
}
func (f *kvFront) KvResolveLock(c context.Context, r *kvrpcpb.ResolveLockRequest) (*kvrpcpb.ResolveLockResponse, error) {
	resp, err := f.store.serve(c, "ResolveLock", r)
	return resp.(*kvrpcpb.ResolveLockResponse), err
}
func (f *kvFront) KvScanLock(c context.Context, r *kvrpcpb.ScanLockRequest) (*kvrpcpb.ScanLockResponse, error) {
	resp, err := f.store.serve(c, "ScanLock", r)
	return resp.(*kvrpcpb.ScanLockResponse), err
}
func (f *kvFront) UnsafeDestroyRange(c context.Context, r *kvrpcpb.UnsafeDestroyRangeRequest) (*kvrpcpb.UnsafeDestroyRangeResponse, error) {
	if err := f.store.frozen.wait(c); err != nil {
		return nil, err
	}
	rule := f.store.cluster.faults.take("UnsafeDestroyRange", f.store.id)
	if err := rule.before(c); err != nil {
		return nil, err
	}
	if rule != nil && rule.Action == "region_error" {
		return &kvrpcpb.UnsafeDestroyRangeResponse{RegionError: rule.regionError(f.store.cluster.topo, r.Context)}, nil
	}
	resp, err := f.store.cluster.destroyRange(c, r)
	if lost := rule.after(c); lost != nil {
		return nil, lost
	}
	return resp, err
}

// BatchCommands serves each command of a batch by itself, in its own time: answers come in any order and grouping.
func (f *kvFront) BatchCommands(stream tikvpb.Tikv_BatchCommandsServer) error {
	ctx, cut := context.WithCancel(stream.Context())
	defer cut()
	out := &batchOut{stream: stream}
	failed := make(chan error, 1)
	go func() {
		for {
			batch, err := stream.Recv()
			if err != nil {
				failed <- err
				return
			}
			for i := range batch.Requests {
				go f.serveOne(ctx, cut, out, batch.RequestIds[i], batch.Requests[i])
			}
		}
	}()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
		return status.Error(codes.Unavailable, "the stream was cut")
	}
}

// batchOut sends the answers of a stream, those that are ready together in one message, as TiKV does; one that is held
// back goes after the next.
type batchOut struct {
	mu      sync.Mutex
	stream  tikvpb.Tikv_BatchCommandsServer
	ready   []*tikvpb.BatchCommandsResponse
	sending bool
	held    *tikvpb.BatchCommandsResponse
}

func (o *batchOut) send(resp *tikvpb.BatchCommandsResponse, f *fault) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if f != nil && f.Action == "reorder" && o.held == nil {
		o.held = resp
		time.AfterFunc(50*time.Millisecond, func() { o.release() })
		return
	}
	o.ready = append(o.ready, resp)
	if f != nil && f.Action == "duplicate" {
		o.ready = append(o.ready, resp)
	}
	o.flush()
}

func (o *batchOut) release() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.flush()
}

// flush sends what is ready, and what comes while it sends. Called with mu held, which it gives back meanwhile.
func (o *batchOut) flush() {
	if o.held != nil {
		o.ready = append(o.ready, o.held)
		o.held = nil
	}
	for !o.sending && len(o.ready) > 0 {
		out := &tikvpb.BatchCommandsResponse{}
		for _, resp := range o.ready {
			out.RequestIds = append(out.RequestIds, resp.RequestIds...)
			out.Responses = append(out.Responses, resp.Responses...)
		}
		o.ready, o.sending = nil, true
		o.mu.Unlock()
		o.stream.Send(out)
		o.mu.Lock()
		o.sending = false
	}
}

func (f *kvFront) serveOne(ctx context.Context, cut context.CancelFunc, out *batchOut, id uint64, req *tikvpb.BatchCommandsRequest_Request) {
	resp := &tikvpb.BatchCommandsResponse{RequestIds: []uint64{id}}
	if _, empty := req.Cmd.(*tikvpb.BatchCommandsRequest_Request_Empty); empty {
		resp.Responses = []*tikvpb.BatchCommandsResponse_Response{{Cmd: &tikvpb.BatchCommandsResponse_Response_Empty{Empty: &tikvpb.BatchCommandsEmptyResponse{}}}}
		out.send(resp, nil)
		return
	}
	cmd := reflect.ValueOf(req.Cmd).Elem()
	name := cmd.Type().Field(0).Name
	answer, rule, err := f.store.handle(ctx, name, cmd.Field(0).Interface())
	if err != nil {
		if rule != nil && rule.cuts() {
			cut()
		}
		return // no answer
	}
	if rule != nil && rule.Action == "truncate" {
		resp.Responses = []*tikvpb.BatchCommandsResponse_Response{{}}
	} else {
		resp.Responses = []*tikvpb.BatchCommandsResponse_Response{wrap(name, answer)}
	}
	out.send(resp, rule)
}

// wrappers are the types of the oneof of a batch's answer, by command.
var wrappers = func() map[string]reflect.Type {
	types := map[string]reflect.Type{}
	for _, one := range proto.GetProperties(reflect.TypeOf(tikvpb.BatchCommandsResponse_Response{})).OneofTypes {
		types[one.Type.Elem().Field(0).Name] = one.Type.Elem()
	}
	return types
}()

// wrap puts an answer into the oneof of a batch.
func wrap(name string, answer interface{}) *tikvpb.BatchCommandsResponse_Response {
	resp := &tikvpb.BatchCommandsResponse_Response{}
	v := reflect.New(wrappers[name])
	v.Elem().Field(0).Set(reflect.ValueOf(answer))
	reflect.ValueOf(resp).Elem().FieldByName("Cmd").Set(v)
	return resp
}

// serve answers a unary call. A dropped answer waits until the caller gives up; a cut one fails at once.
func (s *store) serve(ctx context.Context, name string, req interface{}) (interface{}, error) {
	answer, rule, err := s.handle(ctx, name, req)
	if err == nil {
		return answer, nil
	}
	none := reflect.Zero(s.method(name).Type().Out(0)).Interface()
	if rule != nil && !rule.cuts() {
		<-ctx.Done()
	}
	return none, err
}

func (s *store) method(name string) reflect.Value {
	for _, prefix := range []string{"Kv", "KV", ""} {
		if m := reflect.ValueOf(s.cluster.engine.kv).MethodByName(prefix + name); m.IsValid() {
			return m
		}
	}
	panic("no method " + name)
}

// handle does all a store does with a command. An error means that no answer is given.
func (s *store) handle(ctx context.Context, name string, req interface{}) (answer interface{}, rule *fault, err error) {
	if err := s.frozen.wait(ctx); err != nil {
		return nil, nil, err
	}
	rule = s.cluster.faults.take(name, s.id)
	if rule != nil {
		if rule.DelayMS > 0 {
			select {
			case <-time.After(time.Duration(rule.DelayMS) * time.Millisecond):
			case <-ctx.Done():
				return nil, rule, ctx.Err()
			}
		}
		switch rule.Action {
		case "region_error":
			return s.failed(name, rule.regionError(s.cluster.topo, contextOf(req)), nil), rule, nil
		case "key_error":
			if pair := rule.failedPair(req); pair != nil {
				return pair, rule, nil
			}
			return s.failed(name, nil, rule.keyError(req)), rule, nil
		case "drop_before", "cut_before":
			return nil, rule, status.Error(codes.Unavailable, "dropped before it was applied")
		}
	}
	answer = s.apply(ctx, name, req)
	if rule != nil && (rule.Action == "drop_after" || rule.Action == "cut_after") {
		return nil, rule, status.Error(codes.Unavailable, "dropped after it was applied")
	}
	return answer, rule, nil
}

// failed is an answer of the command's type with an error in it.
func (s *store) failed(name string, region *errorpb.Error, key *kvrpcpb.KeyError) interface{} {
	resp := reflect.New(s.method(name).Type().Out(0).Elem())
	if region != nil {
		resp.Elem().FieldByName("RegionError").Set(reflect.ValueOf(region))
	}
	if key != nil {
		if one := resp.Elem().FieldByName("Error"); one.IsValid() {
			one.Set(reflect.ValueOf(key))
		} else {
			resp.Elem().FieldByName("Errors").Set(reflect.ValueOf([]*kvrpcpb.KeyError{key}))
		}
	}
	return resp.Interface()
}

func contextOf(req interface{}) *kvrpcpb.Context {
	return reflect.ValueOf(req).Elem().FieldByName("Context").Interface().(*kvrpcpb.Context)
}

// check is what a store checks before it serves: nil, or the region error.
func (s *store) check(c *kvrpcpb.Context, keys [][]byte) (*region, *errorpb.Error) {
	t := s.cluster.topo
	t.mu.RLock()
	defer t.mu.RUnlock()
	if c.GetPeer().GetStoreId() != s.id {
		return nil, &errorpb.Error{Message: "store not match", StoreNotMatch: &errorpb.StoreNotMatch{RequestStoreId: c.GetPeer().GetStoreId(), ActualStoreId: s.id}}
	}
	_, r := t.byID(c.RegionId)
	if r == nil {
		return nil, &errorpb.Error{Message: "region not found", RegionNotFound: &errorpb.RegionNotFound{RegionId: c.RegionId}}
	}
	if r.leader != s.id {
		e := &errorpb.NotLeader{RegionId: r.id, Leader: r.peerOn(r.leader)}
		return nil, &errorpb.Error{Message: "not leader", NotLeader: e}
	}
	if c.RegionEpoch.GetVersion() != r.version || c.RegionEpoch.GetConfVer() != r.confVer {
		e := &errorpb.EpochNotMatch{CurrentRegions: []*metapb.Region{r.meta()}}
		if i, _ := t.byID(r.id); i+1 < len(t.regions) {
			e.CurrentRegions = append(e.CurrentRegions, t.regions[i+1].meta())
		}
		return nil, &errorpb.Error{Message: "epoch not match", EpochNotMatch: e}
	}
	for _, key := range keys {
		if !r.holds(key) {
			e := &errorpb.KeyNotInRegion{Key: key, RegionId: r.id, StartKey: encodeBound(r.start), EndKey: encodeBound(r.end)}
			return nil, &errorpb.Error{Message: "key not in region", KeyNotInRegion: e}
		}
	}
	return r, nil
}

// keysOf lists the keys that a command names and that must be in the region.
func keysOf(req interface{}) [][]byte {
	switch r := req.(type) {
	case *kvrpcpb.GetRequest:
		return [][]byte{r.Key}
	case *kvrpcpb.BatchGetRequest:
		return r.Keys
	case *kvrpcpb.PrewriteRequest:
		return mutationKeys(r.Mutations)
	case *kvrpcpb.PessimisticLockRequest:
		return mutationKeys(r.Mutations)
	case *kvrpcpb.CommitRequest:
		return r.Keys
	case *kvrpcpb.BatchRollbackRequest:
		return r.Keys
	case *kvrpcpb.PessimisticRollbackRequest:
		return r.Keys
	case *kvrpcpb.CheckTxnStatusRequest:
		return [][]byte{r.PrimaryKey}
	case *kvrpcpb.CheckSecondaryLocksRequest:
		return r.Keys
	case *kvrpcpb.TxnHeartBeatRequest:
		return [][]byte{r.PrimaryLock}
	case *kvrpcpb.ResolveLockRequest:
		return r.Keys
	}
	return nil
}

func mutationKeys(mutations []*kvrpcpb.Mutation) [][]byte {
	var keys [][]byte
	for _, m := range mutations {
		keys = append(keys, m.Key)
	}
	return keys
}

// farEnd stands for no end: the engine keeps keys from 0xff on to itself where a range has none.
var farEnd = bytes.Repeat([]byte{0xff}, 64)

// clip narrows ranges to the region, as a store that holds nothing else would.
func clip(req interface{}, r *region) {
	lower := func(key []byte) []byte {
		if bytes.Compare(key, r.start) < 0 {
			return r.start
		}
		return key
	}
	upper := func(key []byte) []byte {
		if len(r.end) > 0 && (len(key) == 0 || bytes.Compare(key, r.end) > 0) {
			return r.end
		}
		if len(key) == 0 {
			return farEnd
		}
		return key
	}
	switch one := req.(type) {
	case *kvrpcpb.ScanRequest:
		if one.Reverse {
			one.StartKey, one.EndKey = upper(one.StartKey), lower(one.EndKey)
		} else {
			one.StartKey, one.EndKey = lower(one.StartKey), upper(one.EndKey)
		}
	case *kvrpcpb.ScanLockRequest:
		one.StartKey, one.EndKey = lower(one.StartKey), upper(one.EndKey)
	}
}

// apply checks, rewrites for the engine's one region, and calls it.
func (s *store) apply(ctx context.Context, name string, original interface{}) interface{} {
	req := proto.Clone(original.(proto.Message))
	r, regionErr := s.check(contextOf(req), keysOf(req))
	if regionErr != nil {
		return s.failed(name, regionErr, nil)
	}
	e := s.cluster.engine
	c := *contextOf(req)
	c.RegionId, c.RegionEpoch, c.Peer = e.context.RegionId, e.context.RegionEpoch, e.context.Peer
	reflect.ValueOf(req).Elem().FieldByName("Context").Set(reflect.ValueOf(&c))
	clip(req, r)
	if prewrite, is := req.(*kvrpcpb.PrewriteRequest); is && e.twoPhase {
		prewrite.TryOnePc, prewrite.UseAsyncCommit, prewrite.Secondaries = false, false, nil
	}
	conflict, note := e.lockRecords.enter(req)
	if conflict != nil {
		return s.failed(name, nil, conflict)
	}
	release := e.fence.enter(req)
	if scan, is := req.(*kvrpcpb.ScanRequest); is {
		defer release()
		return e.scan(ctx, scan)
	}
	out := s.method(name).Call([]reflect.Value{reflect.ValueOf(ctx), reflect.ValueOf(req)})
	release()
	note(out[0].Interface())
	if err, failed := out[1].Interface().(error); failed && err != nil {
		return s.failed(name, &errorpb.Error{Message: err.Error()}, nil)
	}
	return out[0].Interface()
}

// internal are the prefixes of what the engine keeps among the keys for itself.
var internal = [][]byte{[]byte("\xffregion"), []byte("\xffstore"), []byte("\xffsafepoint")}

func isInternal(key []byte) bool {
	for _, prefix := range internal {
		if bytes.HasPrefix(key, prefix) {
			return true
		}
	}
	return false
}

// scan asks the engine for forward pages without its internal keys. A reverse scan is a forward scan turned around: the engine's own
// iterates over the newest versions whatever the request's is.
func (e *engine) scan(ctx context.Context, r *kvrpcpb.ScanRequest) *kvrpcpb.ScanResponse {
	page := 1024
	forward := *r
	if !r.Reverse && int(r.Limit) < page {
		page = int(r.Limit) + 1 // the engine's internal keys are few, and at the end
	}
	if r.Reverse {
		forward.StartKey, forward.EndKey = r.EndKey, r.StartKey
	}
	forward.Reverse, forward.Limit = false, uint32(page)
	var all []*kvrpcpb.KvPair
	for more := true; more && (r.Reverse || len(all) < int(r.Limit)); {
		resp, err := e.kv.KvScan(ctx, &forward)
		if err != nil {
			return &kvrpcpb.ScanResponse{RegionError: &errorpb.Error{Message: err.Error()}}
		}
		if resp.RegionError != nil || resp.Error != nil {
			return resp
		}
		for _, pair := range resp.Pairs {
			if !isInternal(pair.Key) {
				all = append(all, pair)
			}
		}
		if more = len(resp.Pairs) == page; more {
			forward.StartKey = append(append([]byte{}, resp.Pairs[page-1].Key...), 0)
		}
	}
	if r.Reverse {
		for i, k := 0, len(all)-1; i < k; i, k = i+1, k-1 {
			all[i], all[k] = all[k], all[i]
		}
	}
	if len(all) > int(r.Limit) {
		all = all[:r.Limit]
	}
	return &kvrpcpb.ScanResponse{Pairs: all}
}

// guard turns a panic (an unwritten method, a fault of the engine) into Unimplemented with its words.
func guard(ctx context.Context, req interface{}, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (resp interface{}, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = status.Error(codes.Unimplemented, fmt.Sprint(info.FullMethod, ": ", p))
		}
	}()
	return next(ctx, req)
}
