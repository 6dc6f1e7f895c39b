// A TiKV cluster in one process, to test tito's client against: PD fronts and store fronts over the MVCC engine of PingCAP's unistore (the
// engine that TiDB's own tests use), with a control port for everything that happens to a cluster in life.
//
// It prints one line of JSON when it is ready: {"pd": ["127.0.0.1:…"], "control": "127.0.0.1:…"}, and ends with its standard input or by a signal.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/pingcap/kvproto/pkg/kvrpcpb"
	"github.com/pingcap/kvproto/pkg/metapb"
	"github.com/pingcap/tidb/store/mockstore/unistore/config"
	"github.com/pingcap/tidb/store/mockstore/unistore/server"
	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"
)

type cluster struct {
	topo    *topology
	pd      *placement
	engine  *engine
	faults  *faults
	options []grpc.ServerOption // of the stores
	tls     *serverTLS
}

func main() {
	pds := flag.Int("pds", 1, "number of PD fronts")
	stores := flag.Int("stores", 3, "number of stores")
	dir := flag.String("dir", "", "folder for the engine's files (default: a new temporary one, removed at the end)")
	strict := flag.Bool("strict-locks", false, "a committed LOCK conflicts with later optimistic writes, as on TiKV")
	twoPhase := flag.Bool("two-phase", false, "stores refuse 1PC and async commit, as TiKV may")
	secure := tlsFlags()
	flag.Parse()

	folder := *dir
	if folder == "" {
		made, err := os.MkdirTemp("", "tito-mock")
		check(err)
		folder = made
		defer os.RemoveAll(made)
	}
	c, err := startCluster(folder, *pds, *stores, secure)
	check(err)
	c.engine.lockRecords.set(*strict)
	c.engine.twoPhase = *twoPhase
	control, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	go serveControl(c, control)

	ready := map[string]interface{}{"control": control.Addr().String()}
	var endpoints []string
	for _, f := range c.pd.fronts {
		endpoints = append(endpoints, strings.SplitN(f.url, "://", 2)[1])
	}
	ready["pd"] = endpoints
	check(json.NewEncoder(os.Stdout).Encode(ready))
	check(syscall.Dup3(2, 1, 0)) // the engine logs to standard output, where nobody reads on
	waitForEnd()
}

// startCluster starts stores and PDs on free ports; one region with a peer on every store.
func startCluster(folder string, pds, stores int, secure *serverTLS) (*cluster, error) {
	rules := []grpc.ServerOption{keepaliveRule()}
	pdOptions, scheme := secure.options(secure.pd, rules)
	c := &cluster{topo: newTopology(), faults: &faults{}, tls: secure}
	c.options, _ = secure.options(secure.stores, rules)
	var err error
	if c.engine, err = openEngine(folder); err != nil {
		return nil, err
	}
	for i := 0; i < stores; i++ {
		if _, err := c.addStore(); err != nil {
			return nil, err
		}
	}
	c.topo.bootstrap()
	c.pd = newPlacement(c.topo, c.faults)
	return c, c.pd.listen(pds, pdOptions, scheme)
}

// waitForEnd returns when the starter has gone (its end of standard input is closed) or a signal says so.
func waitForEnd() {
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM, syscall.SIGINT)
	closed := make(chan struct{})
	go func() {
		io.Copy(io.Discard, os.Stdin)
		close(closed)
	}()
	select {
	case <-end:
	case <-closed:
	}
}

// keepaliveRule is PD's: pings only while a stream is open, and not more often than each five seconds; who does gets GOAWAY.
func keepaliveRule() grpc.ServerOption {
	return grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second})
}

func openEngine(folder string) (*engine, error) {
	conf := config.DefaultConf
	conf.Engine.DBPath = folder
	conf.Engine.VolatileMode = true
	kv, regions, _, err := server.NewMock(&conf, clusterID)
	if err != nil {
		return nil, err
	}
	ids := regions.AllocIDs(3)
	peer := &metapb.Peer{Id: ids[1], StoreId: ids[0]}
	epoch := &metapb.RegionEpoch{ConfVer: 1, Version: 1}
	store := &metapb.Store{Id: ids[0], Address: "127.0.0.1:1"}
	if err := regions.Bootstrap([]*metapb.Store{store}, &metapb.Region{Id: ids[2], Peers: []*metapb.Peer{peer}, RegionEpoch: epoch}); err != nil {
		return nil, err
	}
	return &engine{
		fence: newFence(),
		kv:    kv, context: &kvrpcpb.Context{RegionId: ids[2], RegionEpoch: epoch, Peer: peer},
		lockRecords: newLockRecords(),
	}, nil
}

func (c *cluster) addStore() (*store, error) {
	c.topo.mu.Lock()
	s := &store{id: c.topo.allocID(), cluster: c}
	c.topo.mu.Unlock()
	if err := s.start("127.0.0.1:0"); err != nil {
		return nil, err
	}
	c.topo.mu.Lock()
	c.topo.stores[s.id] = s
	c.topo.mu.Unlock()
	return s, nil
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "mock cluster:", err)
		os.Exit(1)
	}
}
