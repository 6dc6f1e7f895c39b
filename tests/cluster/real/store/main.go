// A raft store of PingCAP's unistore, which speaks TiKV's protocol and registers with a real PD. It listens on the
// loopback address it is given alone, and serves the commands of a batch by the unary methods: the engine's own
// BatchCommands dies of commands that it does not know (CheckSecondaryLocks).
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/golang/protobuf/proto"
	"github.com/ngaut/unistore/config"
	"github.com/ngaut/unistore/server"
	"github.com/pingcap/kvproto/pkg/deadlock"
	"github.com/pingcap/kvproto/pkg/kvrpcpb"
	"github.com/pingcap/kvproto/pkg/tikvpb"
	"github.com/pingcap/log"
	"github.com/pingcap/tidb/store/mockstore/unistore/pd"
	"github.com/pingcap/tidb/store/mockstore/unistore/tikv"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
)

// front is what clients talk to.
type front struct {
	*tikv.Server
	pd pd.Client
	// of the last request: names a region of this store
	last atomic.Value
}

// note prepares a request. 1PC and async commit are refused, as a store may: unistore picks their timestamp before the
// write is visible to readers, and the commits of these stores must be right.
func (f *front) note(req interface{}) {
	if in, is := req.(interface{ GetContext() *kvrpcpb.Context }); is && in.GetContext().GetRegionId() != 0 {
		f.last.Store(in.GetContext())
	}
	if r, is := req.(*kvrpcpb.PrewriteRequest); is {
		r.TryOnePc, r.UseAsyncCommit = false, false
	}
}

// KvScan turns a reverse scan into a forward one turned around: the engine's own reverse scan shows the newest versions,
// whatever version the request asks for.
func (f *front) KvScan(ctx context.Context, r *kvrpcpb.ScanRequest) (*kvrpcpb.ScanResponse, error) {
	if !r.Reverse {
		return f.Server.KvScan(ctx, r)
	}
	const page = 1024
	forward := *r
	forward.Reverse, forward.StartKey, forward.EndKey, forward.Limit = false, r.EndKey, r.StartKey, page
	all := &kvrpcpb.ScanResponse{}
	for more := true; more; {
		resp, err := f.Server.KvScan(ctx, &forward)
		if err != nil || resp.RegionError != nil || resp.Error != nil {
			return resp, err
		}
		all.Pairs = append(all.Pairs, resp.Pairs...)
		if more = len(resp.Pairs) == page; more {
			forward.StartKey = append(append([]byte{}, resp.Pairs[page-1].Key...), 0)
		}
	}
	for i, k := 0, len(all.Pairs)-1; i < k; i, k = i+1, k-1 {
		all.Pairs[i], all.Pairs[k] = all.Pairs[k], all.Pairs[i]
	}
	if len(all.Pairs) > int(r.Limit) {
		all.Pairs = all.Pairs[:r.Limit]
	}
	return all, nil
}

// destroyWait is for how long a range that others write in is tried again.
const destroyWait = 10 * time.Second

// UnsafeDestroyRange is not in the engine: the keys are deleted by transactions. This cluster has one region. What meets
// the writes of others, as the commits of secondaries that a client still sends, is tried again.
func (f *front) UnsafeDestroyRange(ctx context.Context, r *kvrpcpb.UnsafeDestroyRangeRequest) (*kvrpcpb.UnsafeDestroyRangeResponse, error) {
	in, known := f.last.Load().(*kvrpcpb.Context)
	if !known {
		return &kvrpcpb.UnsafeDestroyRangeResponse{}, nil
	}
	for began := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		err := f.destroy(ctx, in, r.StartKey, r.EndKey)
		if err == nil {
			return &kvrpcpb.UnsafeDestroyRangeResponse{}, nil
		}
		if time.Since(began) > destroyWait || ctx.Err() != nil {
			return &kvrpcpb.UnsafeDestroyRangeResponse{Error: err.Error()}, nil
		}
	}
}

func (f *front) destroy(ctx context.Context, in *kvrpcpb.Context, start, end []byte) error {
	if err := f.dropLocks(ctx, in, start, end); err != nil {
		return err
	}
	for {
		n, err := f.deleteSome(ctx, in, start, end)
		if err != nil || n == 0 {
			return err
		}
	}
}

func (f *front) timestamp(ctx context.Context) (uint64, error) {
	physical, logical, err := f.pd.GetTS(ctx)
	return uint64(physical)<<18 + uint64(logical), err
}

// dropLocks removes the locks of a range, which dead clients have left there. The engine lists those of its whole region,
// whatever range the request names.
func (f *front) dropLocks(ctx context.Context, in *kvrpcpb.Context, start, end []byte) error {
	now, err := f.timestamp(ctx)
	if err != nil {
		return err
	}
	locks, err := f.KvScanLock(ctx, &kvrpcpb.ScanLockRequest{Context: in, MaxVersion: now, StartKey: start, EndKey: end, Limit: 1 << 20})
	if err != nil || locks.RegionError != nil || locks.Error != nil {
		return fmt.Errorf("locks: %v %v", err, locks)
	}
	for _, l := range locks.Locks {
		if bytes.Compare(l.Key, start) < 0 || len(end) > 0 && bytes.Compare(l.Key, end) >= 0 {
			continue
		}
		gone, err := f.KvBatchRollback(ctx, &kvrpcpb.BatchRollbackRequest{Context: in, StartVersion: l.LockVersion, Keys: [][]byte{l.Key}})
		if err != nil || gone.RegionError != nil || gone.Error != nil {
			return fmt.Errorf("a lock: %v %v", err, gone)
		}
	}
	return nil
}

// deleteSome deletes the first keys of a range, and says how many.
func (f *front) deleteSome(ctx context.Context, in *kvrpcpb.Context, start, end []byte) (int, error) {
	begun, err := f.timestamp(ctx)
	if err != nil {
		return 0, err
	}
	page, err := f.KvScan(ctx, &kvrpcpb.ScanRequest{Context: in, StartKey: start, EndKey: end, Limit: 256, Version: begun})
	if err != nil || page.RegionError != nil || page.Error != nil {
		return 0, fmt.Errorf("scan: %v %v", err, page)
	}
	write := &kvrpcpb.PrewriteRequest{Context: in, StartVersion: begun, LockTtl: 3000}
	done := &kvrpcpb.CommitRequest{Context: in, StartVersion: begun}
	for _, pair := range page.Pairs {
		if pair.Error != nil {
			return 0, fmt.Errorf("somebody writes in it: %v", pair.Error)
		}
		write.Mutations = append(write.Mutations, &kvrpcpb.Mutation{Op: kvrpcpb.Op_Del, Key: pair.Key})
		done.Keys = append(done.Keys, pair.Key)
	}
	if len(done.Keys) == 0 {
		return 0, nil
	}
	write.PrimaryLock = done.Keys[0]
	written, err := f.KvPrewrite(ctx, write)
	if err != nil || written.RegionError != nil || len(written.Errors) > 0 {
		return 0, fmt.Errorf("prewrite: %v %v", err, written)
	}
	if done.CommitVersion, err = f.timestamp(ctx); err != nil {
		return 0, err
	}
	committed, err := f.KvCommit(ctx, done)
	if err != nil || committed.RegionError != nil || committed.Error != nil {
		return 0, fmt.Errorf("commit: %v %v", err, committed)
	}
	return len(done.Keys), nil
}

// around is the interceptor of unary calls.
func (f *front) around(ctx context.Context, req interface{}, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (resp interface{}, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = status.Error(codes.Unimplemented, fmt.Sprint(info.FullMethod, ": ", p))
		}
	}()
	f.note(req)
	return next(ctx, req)
}

func (f *front) BatchCommands(stream tikvpb.Tikv_BatchCommandsServer) error {
	var sending sync.Mutex
	for {
		batch, err := stream.Recv()
		if err != nil {
			return err
		}
		for i := range batch.Requests {
			go func(id uint64, req *tikvpb.BatchCommandsRequest_Request) {
				resp := f.answer(stream.Context(), req)
				if resp == nil {
					return // as a store that can not: the client's deadline ends it
				}
				sending.Lock()
				defer sending.Unlock()
				stream.Send(&tikvpb.BatchCommandsResponse{RequestIds: []uint64{id}, Responses: []*tikvpb.BatchCommandsResponse_Response{resp}})
			}(batch.RequestIds[i], batch.Requests[i])
		}
	}
}

// answer calls the unary method of a command, and puts what it returns into the batch's form.
func (f *front) answer(ctx context.Context, req *tikvpb.BatchCommandsRequest_Request) (resp *tikvpb.BatchCommandsResponse_Response) {
	resp = &tikvpb.BatchCommandsResponse_Response{}
	if _, empty := req.Cmd.(*tikvpb.BatchCommandsRequest_Request_Empty); empty {
		resp.Cmd = &tikvpb.BatchCommandsResponse_Response_Empty{Empty: &tikvpb.BatchCommandsEmptyResponse{}}
		return resp
	}
	defer func() {
		if p := recover(); p != nil {
			log.S().Errorf("%T: %v", req.Cmd, p)
			resp = nil
		}
	}()
	command := reflect.ValueOf(req.Cmd).Elem()
	name := command.Type().Field(0).Name
	f.note(command.Field(0).Interface())
	out := f.method(name).Call([]reflect.Value{reflect.ValueOf(ctx), command.Field(0)})
	if !out[1].IsNil() {
		log.S().Errorf("%s: %v", name, out[1].Interface())
		return nil
	}
	for _, one := range proto.GetProperties(reflect.TypeOf(*resp)).OneofTypes {
		if t := one.Type.Elem(); t.Field(0).Name == name {
			v := reflect.New(t)
			v.Elem().Field(0).Set(out[0])
			reflect.ValueOf(resp).Elem().FieldByName("Cmd").Set(v)
		}
	}
	return resp
}

func (f *front) method(name string) reflect.Value {
	for _, prefix := range []string{"Kv", "KV", ""} {
		if m := reflect.ValueOf(f).MethodByName(prefix + name); m.IsValid() {
			return m
		}
	}
	panic("no method " + name)
}

func run() error {
	conf := config.DefaultConf
	flag.StringVar(&conf.Server.PDAddr, "pd", "", "addresses of PD, separated by commas")
	flag.StringVar(&conf.Server.StoreAddr, "addr", "", "where to listen")
	flag.StringVar(&conf.Engine.DBPath, "data-dir", "", "the store's folder, which must exist")
	flag.StringVar(&conf.Server.LogLevel, "log-level", "warn", "what is logged")
	flag.Parse()
	logger, properties, err := log.InitLogger(&log.Config{Level: conf.Server.LogLevel})
	if err != nil {
		return err
	}
	log.ReplaceGlobals(logger, properties)
	client, err := pd.NewClient(strings.Split(conf.Server.PDAddr, ","), "")
	if err != nil {
		return err
	}
	store, err := server.New(&conf, client)
	if err != nil {
		return err
	}
	f := &front{Server: store, pd: client}
	g := grpc.NewServer(
		grpc.UnaryInterceptor(f.around),
		grpc.MaxRecvMsgSize(64<<20),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 2 * time.Second, PermitWithoutStream: true}))
	tikvpb.RegisterTikvServer(g, f)
	deadlock.RegisterDeadlockServer(g, store)
	l, err := net.Listen("tcp", conf.Server.StoreAddr)
	if err != nil {
		return err
	}
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGINT, syscall.SIGTERM)
	go func() { <-end; g.Stop() }()
	if err := g.Serve(l); err != nil {
		return err
	}
	store.Stop()
	return nil
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "unistore-server:", err)
		os.Exit(1)
	}
}
