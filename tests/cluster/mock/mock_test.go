package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/golang/protobuf/proto"
	"github.com/pingcap/kvproto/pkg/kvrpcpb"
	"github.com/pingcap/kvproto/pkg/pdpb"
	"github.com/pingcap/kvproto/pkg/tikvpb"
	"google.golang.org/grpc"
)

// One cluster for all tests: three PDs, three stores. A test uses keys of its own and leaves the cluster whole.
var (
	mock *cluster
	port http.Handler
)

func TestMain(m *testing.M) {
	folder, err := os.MkdirTemp("", "tito-mock-test")
	check(err)
	mock, err = startCluster(folder, 3, 3, &serverTLS{})
	check(err)
	port = controlHandler(mock)
	code := m.Run()
	os.RemoveAll(folder)
	os.Exit(code)
}

// control asks the control port; it must be granted unless the test says otherwise.
func ask(path, body string) (int, string) {
	method := http.MethodGet
	if body != "" {
		method = http.MethodPost
	}
	w := httptest.NewRecorder()
	port.ServeHTTP(w, httptest.NewRequest(method, path, strings.NewReader(body)))
	return w.Code, w.Body.String()
}

func must(t *testing.T, path string, args ...interface{}) {
	t.Helper()
	if code, text := ask(fmt.Sprintf(path, args...), ""); code != http.StatusOK {
		t.Fatalf("%s: %d %s", path, code, text)
	}
}

// rule adds a fault, and clears all at the end of the test.
func rule(t *testing.T, text string) {
	t.Helper()
	if code, answer := ask("/fault", text); code != http.StatusOK {
		t.Fatalf("%s: %d %s", text, code, answer)
	}
	t.Cleanup(func() { ask("/faults/clear", "") })
}

func soon(t *testing.T, limit time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	t.Cleanup(cancel)
	return ctx
}

const long = 30 * time.Second

func dial(t *testing.T, address string) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.Dial(address, grpc.WithInsecure())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func pdClient(t *testing.T, index int) pdpb.PDClient {
	return pdpb.NewPDClient(dial(t, strings.TrimPrefix(mock.pd.fronts[index].url, "http://")))
}

// place finds a key's region as a client does: through PD.
func place(t *testing.T, key string) (*kvrpcpb.Context, tikvpb.TikvClient) {
	t.Helper()
	pd := pdClient(t, mock.pd.leader)
	found, err := pd.GetRegion(soon(t, long), &pdpb.GetRegionRequest{RegionKey: encodeBound([]byte(key))})
	if err != nil {
		t.Fatal(err)
	}
	at, err := pd.GetStore(soon(t, long), &pdpb.GetStoreRequest{StoreId: found.Leader.StoreId})
	if err != nil {
		t.Fatal(err)
	}
	where := &kvrpcpb.Context{RegionId: found.Region.Id, RegionEpoch: found.Region.RegionEpoch, Peer: found.Leader}
	return where, tikvpb.NewTikvClient(dial(t, at.Store.Address))
}

func now() uint64 {
	physical, logical := mock.pd.timestamps(1)
	return uint64(physical)<<18 + uint64(logical)
}

func get(t *testing.T, key string) (*kvrpcpb.GetResponse, error) {
	t.Helper()
	where, store := place(t, key)
	return store.KvGet(soon(t, long), &kvrpcpb.GetRequest{Context: where, Key: []byte(key), Version: now()})
}

// write commits one mutation by 2PC; answers what prewrite refused.
func write(t *testing.T, op kvrpcpb.Op, key, value string, start uint64) *kvrpcpb.KeyError {
	t.Helper()
	where, store := place(t, key)
	m := &kvrpcpb.Mutation{Op: op, Key: []byte(key), Value: []byte(value)}
	written, err := store.KvPrewrite(soon(t, long), &kvrpcpb.PrewriteRequest{
		Context: where, Mutations: []*kvrpcpb.Mutation{m}, PrimaryLock: m.Key, StartVersion: start, LockTtl: 3000})
	if err != nil || written.RegionError != nil {
		t.Fatal(err, written)
	}
	if len(written.Errors) > 0 {
		return written.Errors[0]
	}
	done, err := store.KvCommit(soon(t, long), &kvrpcpb.CommitRequest{
		Context: where, Keys: [][]byte{m.Key}, StartVersion: start, CommitVersion: now()})
	if err != nil || done.RegionError != nil || done.Error != nil {
		t.Fatal(err, done)
	}
	return nil
}

func put(t *testing.T, key, value string) {
	t.Helper()
	if refused := write(t, kvrpcpb.Op_Put, key, value, now()); refused != nil {
		t.Fatal(refused)
	}
}

func holds(t *testing.T, key, value string) {
	t.Helper()
	resp, err := get(t, key)
	if err != nil || resp.RegionError != nil || resp.Error != nil || string(resp.Value) != value {
		t.Fatalf("%s: %v %v instead of %q", key, err, resp, value)
	}
}

func TestBounds(t *testing.T) {
	for _, key := range []string{"a", "12345678", "123456789", "\x00\xff", strings.Repeat("\xff", 17)} {
		back, err := decodeBound(encodeBound([]byte(key)))
		if err != nil || string(back) != key {
			t.Errorf("%q became %q: %v", key, back, err)
		}
	}
	for _, bad := range []string{"short", "12345678\x01", strings.Repeat("x", 10)} {
		if _, err := decodeBound([]byte(bad)); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
	if bytes.Compare(encodeBound([]byte("ab")), encodeBound([]byte("ab\x00"))) >= 0 {
		t.Error("the order of keys is lost")
	}
}

func TestRegions(t *testing.T) {
	put(t, "regions-a", "1")
	put(t, "regions-m", "2")
	before, _ := place(t, "regions-a")
	cut := hex.EncodeToString([]byte("regions-g"))
	must(t, "/split?key=%s", cut)
	left, store := place(t, "regions-a")
	right, _ := place(t, "regions-m")
	if left.RegionId != before.RegionId || right.RegionId == left.RegionId || left.RegionEpoch.Version <= before.RegionEpoch.Version {
		t.Fatalf("split %v into %v and %v", before, left, right)
	}
	holds(t, "regions-a", "1")
	holds(t, "regions-m", "2")
	resp, err := store.KvGet(soon(t, long), &kvrpcpb.GetRequest{Context: before, Key: []byte("regions-a"), Version: now()})
	if err != nil || resp.RegionError.GetEpochNotMatch() == nil || len(resp.RegionError.EpochNotMatch.CurrentRegions) == 0 {
		t.Fatal("an old epoch was served", err, resp)
	}
	resp, err = store.KvGet(soon(t, long), &kvrpcpb.GetRequest{Context: left, Key: []byte("regions-m"), Version: now()})
	if err != nil || resp.RegionError.GetKeyNotInRegion() == nil {
		t.Fatal("a key of another region was served", err, resp)
	}
	must(t, "/leader?key=%s", hex.EncodeToString([]byte("regions-a")))
	resp, err = store.KvGet(soon(t, long), &kvrpcpb.GetRequest{Context: left, Key: []byte("regions-a"), Version: now()})
	if err != nil || resp.RegionError.GetNotLeader().GetLeader() == nil {
		t.Fatal("a former leader served", err, resp)
	}
	holds(t, "regions-a", "1")
	must(t, "/merge?key=%s", hex.EncodeToString([]byte("regions-a")))
	joined, _ := place(t, "regions-m")
	if joined.RegionId != left.RegionId {
		t.Fatal("merged into", joined)
	}
	holds(t, "regions-m", "2")
	if code, _ := ask("/split?key=", ""); code == http.StatusOK {
		t.Error("split at nothing")
	}
}

func TestStores(t *testing.T) {
	put(t, "stores", "1")
	where, _ := place(t, "stores")
	id := where.Peer.StoreId
	address := func() string { return mock.topo.stores[id].address }
	must(t, "/store/stop?id=%d", id)
	if resp, err := get(t, "stores"); err == nil {
		t.Fatal("a stopped store answered", resp)
	}
	must(t, "/store/start?id=%d", id)
	holds(t, "stores", "1")
	was := address()
	must(t, "/store/move?id=%d", id)
	if address() == was {
		t.Fatal("it did not move")
	}
	holds(t, "stores", "1")
	must(t, "/store/freeze?id=%d", id)
	where, store := place(t, "stores")
	if _, err := store.KvGet(soon(t, 100*time.Millisecond), &kvrpcpb.GetRequest{Context: where, Key: []byte("stores"), Version: now()}); err == nil {
		t.Fatal("a frozen store answered")
	}
	must(t, "/store/thaw?id=%d", id)
	holds(t, "stores", "1")
	count := len(mock.topo.stores)
	must(t, "/store/add")
	if len(mock.topo.stores) != count+1 || len(mock.topo.regions[0].peers) != count+1 {
		t.Fatal("no store was added")
	}
	if code, _ := ask("/store/stop?id=1", ""); code == http.StatusOK {
		t.Error("a store that is not there was stopped")
	}
	if code, _ := ask(fmt.Sprintf("/store/start?id=%d", id), ""); code == http.StatusOK {
		t.Error("a store that runs was started")
	}
}

func TestPDLeader(t *testing.T) {
	t.Cleanup(func() { ask("/pd/leader?index=0", "") })
	must(t, "/pd/leader?index=2")
	if _, err := pdClient(t, 0).GetAllStores(soon(t, long), &pdpb.GetAllStoresRequest{}); err == nil {
		t.Fatal("a follower served")
	}
	members, err := pdClient(t, 0).GetMembers(soon(t, long), &pdpb.GetMembersRequest{})
	if err != nil || members.Leader.Name != "pd2" || len(members.Members) != 3 {
		t.Fatal(err, members)
	}
	if _, err := pdClient(t, 2).GetAllStores(soon(t, long), &pdpb.GetAllStoresRequest{}); err != nil {
		t.Fatal(err)
	}
	must(t, "/pd/freeze?index=2")
	if _, err := pdClient(t, 2).GetMembers(soon(t, 100*time.Millisecond), &pdpb.GetMembersRequest{}); err == nil {
		t.Fatal("a frozen PD answered")
	}
	must(t, "/pd/thaw?index=2")
	if code, _ := ask("/pd/leader?index=3", ""); code == http.StatusOK {
		t.Error("a PD that is not there leads")
	}
}

func TestRegionErrors(t *testing.T) {
	if len(regionErrors) != 21 { // and Unknown: 22
		t.Error(len(regionErrors), "kinds")
	}
	names := []string{"Unknown"}
	for name := range regionErrors {
		names = append(names, name)
	}
	put(t, "kinds", "1")
	for _, name := range names {
		rule(t, fmt.Sprintf(`{"kind":"Get","action":"region_error","error":%q}`, name))
		resp, err := get(t, "kinds")
		if err != nil || resp.RegionError == nil {
			t.Fatal(name, err, resp)
		}
		raw, _ := proto.Marshal(resp.RegionError)
		tag := appendVarint(nil, uint64(regionErrors[name])<<3|2)
		if name != "Unknown" && !bytes.Contains(raw, tag) {
			t.Errorf("%s: %x has no field %d", name, raw, regionErrors[name])
		}
		holds(t, "kinds", "1") // once only
	}
	rule(t, fmt.Sprintf(`{"kind":"Get","action":"region_error","error":"NotLeader","leader":%d}`, mock.topo.storeIDs()[1]))
	if resp, err := get(t, "kinds"); err != nil || resp.RegionError.GetNotLeader().GetLeader().GetStoreId() != mock.topo.storeIDs()[1] {
		t.Error("the leader is not named", err, resp)
	}
}

func TestKeyErrors(t *testing.T) {
	put(t, "keys", "1")
	for name, number := range keyErrors {
		rule(t, fmt.Sprintf(`{"kind":"Prewrite","action":"key_error","error":%q}`, name))
		refused := write(t, kvrpcpb.Op_Put, "keys", "2", now())
		raw, _ := proto.Marshal(refused)
		if refused == nil || len(raw) == 0 || int(raw[0]>>3) != number {
			t.Errorf("%s: %v", name, refused)
		}
	}
	rule(t, `{"kind":"Scan","action":"key_error","error":"Locked","pair":true}`)
	where, store := place(t, "keys")
	scan := &kvrpcpb.ScanRequest{Context: where, StartKey: []byte("keys"), EndKey: []byte("keyt"), Limit: 9, Version: now()}
	page, err := store.KvScan(soon(t, long), scan)
	if err != nil || len(page.Pairs) != 1 || page.Pairs[0].Error.GetLocked() == nil {
		t.Error("no pair with a lock", err, page)
	}
	holds(t, "keys", "1")
}

func TestNthAndTimes(t *testing.T) {
	put(t, "nth", "1")
	where, _ := place(t, "nth")
	rule(t, fmt.Sprintf(`{"kind":"Get","store":%d,"nth":2,"times":2,"action":"region_error","error":"ServerIsBusy"}`, where.Peer.StoreId))
	var seen []bool
	for i := 0; i < 5; i++ {
		resp, err := get(t, "nth")
		if err != nil {
			t.Fatal(err)
		}
		seen = append(seen, resp.RegionError.GetServerIsBusy() != nil)
	}
	if fmt.Sprint(seen) != "[false true true false false]" {
		t.Error(seen)
	}
}

func TestLost(t *testing.T) {
	for _, action := range []string{"drop_before", "cut_before", "drop_after", "cut_after"} {
		key := "lost-" + action
		where, store := place(t, key)
		rule(t, fmt.Sprintf(`{"kind":"Prewrite","action":%q}`, action))
		m := &kvrpcpb.Mutation{Op: kvrpcpb.Op_Put, Key: []byte(key), Value: []byte("v")}
		_, err := store.KvPrewrite(soon(t, 300*time.Millisecond), &kvrpcpb.PrewriteRequest{
			Context: where, Mutations: []*kvrpcpb.Mutation{m}, PrimaryLock: m.Key, StartVersion: now(), LockTtl: 3000})
		if err == nil {
			t.Errorf("%s: an answer came", action)
		}
		resp, err := get(t, key)
		if err != nil || (resp.Error.GetLocked() != nil) != strings.HasSuffix(action, "after") {
			t.Errorf("%s: %v %v", action, err, resp)
		}
	}
	rule(t, `{"kind":"UnsafeDestroyRange","action":"cut_before"}`)
	_, store := place(t, "lost")
	if _, err := store.UnsafeDestroyRange(soon(t, long), &kvrpcpb.UnsafeDestroyRangeRequest{StartKey: []byte("lost"), EndKey: []byte("losu")}); err == nil {
		t.Error("a range was destroyed")
	}
}

func TestDelay(t *testing.T) {
	put(t, "delay", "1")
	rule(t, `{"kind":"Get","delay_ms":200,"action":"delay"}`)
	began := time.Now()
	holds(t, "delay", "1")
	if time.Since(began) < 200*time.Millisecond {
		t.Error("it was not delayed")
	}
}

// batch sends Gets of keys with ids 1, 2, … in one message, and answers the ids as they come, until want have come or the stream has ended.
func batch(t *testing.T, keys []string, want int) (ids []uint64, empty int, err error) {
	t.Helper()
	where, store := place(t, keys[0])
	stream, err := store.BatchCommands(soon(t, long))
	if err != nil {
		t.Fatal(err)
	}
	req := &tikvpb.BatchCommandsRequest{}
	for i, key := range keys {
		one := &kvrpcpb.GetRequest{Context: where, Key: []byte(key), Version: now()}
		req.RequestIds = append(req.RequestIds, uint64(i+1))
		req.Requests = append(req.Requests, &tikvpb.BatchCommandsRequest_Request{Cmd: &tikvpb.BatchCommandsRequest_Request_Get{Get: one}})
	}
	if err := stream.Send(req); err != nil {
		t.Fatal(err)
	}
	for len(ids) < want {
		resp, err := stream.Recv()
		if err != nil {
			return ids, empty, err
		}
		ids = append(ids, resp.RequestIds...)
		for _, one := range resp.Responses {
			if one.Cmd == nil {
				empty++
			}
		}
	}
	return ids, empty, nil
}

func TestBatches(t *testing.T) {
	put(t, "batch", "1")
	if ids, _, err := batch(t, []string{"batch", "batch"}, 2); err != nil || len(ids) != 2 {
		t.Fatal(ids, err)
	}
	rule(t, `{"kind":"Get","action":"duplicate"}`)
	if ids, _, err := batch(t, []string{"batch"}, 2); err != nil || fmt.Sprint(ids) != "[1 1]" {
		t.Error("not twice:", ids, err)
	}
	rule(t, `{"kind":"Get","action":"reorder"}`)
	if ids, _, err := batch(t, []string{"batch"}, 1); err != nil || fmt.Sprint(ids) != "[1]" {
		t.Error("held back for good:", ids, err)
	}
	rule(t, `{"kind":"Get","action":"truncate"}`)
	if _, empty, err := batch(t, []string{"batch"}, 1); err != nil || empty != 1 {
		t.Error("not truncated:", empty, err)
	}
	rule(t, `{"kind":"Get","action":"cut_after"}`)
	if ids, _, err := batch(t, []string{"batch"}, 1); err == nil {
		t.Error("the stream was not cut:", ids)
	}
}

func TestPDFaults(t *testing.T) {
	pd := pdClient(t, mock.pd.leader)
	rule(t, `{"kind":"GetAllStores","action":"pd_error","error":"NOT_BOOTSTRAPPED"}`)
	resp, err := pd.GetAllStores(soon(t, long), &pdpb.GetAllStoresRequest{})
	if err != nil || resp.Header.GetError().GetType() != pdpb.ErrorType_NOT_BOOTSTRAPPED {
		t.Error(err, resp)
	}
	rule(t, `{"kind":"GetAllStores","action":"cut_before"}`)
	if _, err := pd.GetAllStores(soon(t, long), &pdpb.GetAllStoresRequest{}); err == nil {
		t.Error("it was answered")
	}
	rule(t, `{"kind":"Tso","action":"drop_before"}`)
	stream, err := pd.Tso(soon(t, long))
	if err != nil {
		t.Fatal(err)
	}
	for count := uint32(1); count <= 2; count++ {
		if err := stream.Send(&pdpb.TsoRequest{Header: &pdpb.RequestHeader{}, Count: count}); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := stream.Recv(); err != nil || got.Count != 2 {
		t.Error("the dropped one was answered", err, got)
	}
	rule(t, `{"action":"cut_before","times":-1}`) // any request of a store, and no request of PD
	if _, err := pd.GetAllStores(soon(t, long), &pdpb.GetAllStoresRequest{}); err != nil {
		t.Error(err)
	}
}

func TestBadRules(t *testing.T) {
	for _, bad := range []string{
		`{`, `{"action":"explode"}`, `{"kind":"Gte","action":"delay"}`, `{"action":"region_error","error":"Tired"}`,
		`{"action":"key_error","error":"Tired"}`, `{"kind":"Tso","action":"key_error","error":"Locked"}`,
		`{"kind":"Get","action":"pd_error","error":"UNKNOWN"}`,
	} {
		if code, _ := ask("/fault", bad); code == http.StatusOK {
			t.Error("taken:", bad)
		}
	}
	if code, _ := ask("/nothing", ""); code == http.StatusOK {
		t.Error("an unknown path was granted")
	}
}

func TestStrictLocks(t *testing.T) {
	lock := func(key string) (conflict bool) {
		before := now()
		if refused := write(t, kvrpcpb.Op_Lock, key, "", now()); refused != nil {
			t.Fatal(refused)
		}
		return write(t, kvrpcpb.Op_Put, key, "2", before).GetConflict() != nil
	}
	put(t, "strict", "1")
	if lock("strict") {
		t.Error("unistore's LOCKs leave a record by now: the mode is not needed any more")
	}
	must(t, "/strict?on=1")
	t.Cleanup(func() { ask("/strict?on=0", "") })
	if !lock("strict") {
		t.Error("a committed LOCK did not conflict")
	}
	put(t, "strict", "3") // a later one does not
	before := now()
	where, store := place(t, "strict")
	m := &kvrpcpb.Mutation{Op: kvrpcpb.Op_Lock, Key: []byte("strict")}
	done, err := store.KvPrewrite(soon(t, long), &kvrpcpb.PrewriteRequest{Context: where, Mutations: []*kvrpcpb.Mutation{m},
		PrimaryLock: m.Key, StartVersion: now(), LockTtl: 3000, TryOnePc: true, UseAsyncCommit: true})
	if err != nil || done.OnePcCommitTs == 0 {
		t.Fatal(err, done)
	}
	if write(t, kvrpcpb.Op_Put, "strict", "4", before).GetConflict() == nil {
		t.Error("a LOCK committed by 1PC did not conflict")
	}
}

func TestFence(t *testing.T) {
	f := newFence()
	release := f.enter(&kvrpcpb.PrewriteRequest{TryOnePc: true, Mutations: []*kvrpcpb.Mutation{{Key: []byte("a")}}})
	entered := make(chan struct{})
	go func() {
		f.enter(&kvrpcpb.GetRequest{Key: []byte("a")})()
		close(entered)
	}()
	select {
	case <-entered:
		t.Fatal("a read came in while a Prewrite ran")
	case <-time.After(50 * time.Millisecond):
	}
	release()
	<-entered
	f.enter(&kvrpcpb.PrewriteRequest{Mutations: []*kvrpcpb.Mutation{{Key: []byte("a")}}}) // 2PC keeps nobody out
	f.enter(&kvrpcpb.ScanRequest{})()
}

func TestState(t *testing.T) {
	var state struct {
		Regions []struct{ ID, Version, ConfVer, Leader uint64 }
		Stores  map[string]string
		Hits    int `json:"fault_hits"`
	}
	if _, text := ask("/state", ""); json.Unmarshal([]byte(text), &state) != nil || len(state.Stores) < 3 || len(state.Regions) == 0 || state.Hits == 0 {
		t.Error(text)
	}
}
