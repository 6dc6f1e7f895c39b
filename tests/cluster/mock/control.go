package main

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strconv"
)

// The control port: plain HTTP, one path an action, parameters in the query (keys in hex), 200 or the reason.
//
//	/split?key=    /merge?key=    /leader?key=&store=         regions, by a key in them
//	/store/add     /store/stop?id=    /store/start?id=    /store/move?id=    /store/freeze?id=    /store/thaw?id=
//	/pd/leader?index= (-1: none)    /pd/freeze?index=    /pd/thaw?index=    /pd/stale?store=    /pd/cluster?id=
//	/strict?on= (1, 0)    /fault (POST, a rule as JSON)    /faults/clear    /state    /tls/drop    /tls/peer?name=
type control struct{ c *cluster }

func serveControl(c *cluster, l net.Listener) { http.Serve(l, controlHandler(c)) }

func controlHandler(c *cluster) http.Handler {
	k := &control{c}
	mux := http.NewServeMux()
	mux.HandleFunc("/split", k.key(func(key []byte, _ *http.Request) error { return c.topo.split(key) }))
	mux.HandleFunc("/merge", k.key(func(key []byte, _ *http.Request) error { return c.topo.merge(key) }))
	mux.HandleFunc("/leader", k.key(func(key []byte, r *http.Request) error {
		return c.topo.moveLeader(key, number(r, "store"))
	}))
	mux.HandleFunc("/store/add", k.do(func(*http.Request) error {
		s, err := c.addStore()
		if err == nil {
			c.topo.addPeers(s.id)
		}
		return err
	}))
	mux.HandleFunc("/store/stop", k.store(func(s *store) error { s.stop(); return nil }))
	mux.HandleFunc("/store/start", k.store(func(s *store) error {
		if s.server != nil {
			return fmt.Errorf("store %d runs", s.id)
		}
		return s.start(s.address)
	}))
	mux.HandleFunc("/store/move", k.store(func(s *store) error { s.stop(); return s.start("127.0.0.1:0") }))
	mux.HandleFunc("/store/freeze", k.store(func(s *store) error { s.frozen.close(); return nil }))
	mux.HandleFunc("/store/thaw", k.store(func(s *store) error { s.frozen.open(); return nil }))
	mux.HandleFunc("/pd/leader", k.do(func(r *http.Request) error {
		index, err := strconv.Atoi(r.URL.Query().Get("index"))
		if err != nil || index < -1 || index >= len(c.pd.fronts) {
			return fmt.Errorf("no such PD")
		}
		c.pd.mu.Lock()
		defer c.pd.mu.Unlock()
		c.pd.leader = index
		return nil
	}))
	mux.HandleFunc("/pd/freeze", k.front(func(f *pdFront) { f.frozen.close() }))
	mux.HandleFunc("/pd/thaw", k.front(func(f *pdFront) { f.frozen.open() }))
	mux.HandleFunc("/pd/stale", k.do(func(r *http.Request) error {
		c.pd.mu.Lock()
		defer c.pd.mu.Unlock()
		c.pd.hiddenLeader = number(r, "store")
		return nil
	}))
	mux.HandleFunc("/pd/cluster", k.do(func(r *http.Request) error {
		c.pd.mu.Lock()
		defer c.pd.mu.Unlock()
		c.pd.clusterID = number(r, "id")
		return nil
	}))
	mux.HandleFunc("/strict", k.do(func(r *http.Request) error {
		c.engine.lockRecords.set(r.URL.Query().Get("on") == "1")
		return nil
	}))
	mux.HandleFunc("/fault", k.do(func(r *http.Request) error {
		rule := &fault{}
		if err := json.NewDecoder(r.Body).Decode(rule); err != nil {
			return err
		}
		return c.faults.add(rule)
	}))
	mux.HandleFunc("/faults/clear", k.do(func(*http.Request) error { c.faults.clear(); return nil }))
	mux.HandleFunc("/state", k.state)
	c.tls.serve(mux)
	return mux
}

func number(r *http.Request, name string) uint64 {
	n, _ := strconv.ParseUint(r.URL.Query().Get(name), 10, 64)
	return n
}

func (k *control) do(action func(*http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if err := action(r); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		fmt.Fprintln(w, "ok")
	}
}

func (k *control) key(action func([]byte, *http.Request) error) http.HandlerFunc {
	return k.do(func(r *http.Request) error {
		key, err := hex.DecodeString(r.URL.Query().Get("key"))
		if err != nil {
			return err
		}
		return action(key, r)
	})
}

func (k *control) store(action func(*store) error) http.HandlerFunc {
	return k.do(func(r *http.Request) error {
		k.c.topo.mu.Lock()
		defer k.c.topo.mu.Unlock()
		s := k.c.topo.stores[number(r, "id")]
		if s == nil {
			return fmt.Errorf("no such store")
		}
		return action(s)
	})
}

func (k *control) front(action func(*pdFront)) http.HandlerFunc {
	return k.do(func(r *http.Request) error {
		index := int(number(r, "index"))
		if index >= len(k.c.pd.fronts) {
			return fmt.Errorf("no such PD")
		}
		action(k.c.pd.fronts[index])
		return nil
	})
}

// state tells what a test may want to know: regions, stores, counts.
func (k *control) state(w http.ResponseWriter, _ *http.Request) {
	type regionState struct {
		ID, Version, ConfVer, Leader uint64
		Start, End                   string
	}
	out := map[string]interface{}{}
	k.c.topo.mu.RLock()
	var regions []regionState
	for _, r := range k.c.topo.regions {
		regions = append(regions, regionState{r.id, r.version, r.confVer, r.leader, hex.EncodeToString(r.start), hex.EncodeToString(r.end)})
	}
	stores := map[uint64]string{}
	for id, s := range k.c.topo.stores {
		stores[id] = s.address
	}
	k.c.topo.mu.RUnlock()
	k.c.pd.mu.Lock()
	out["tso_requests"], out["lookups"], out["safe_point"] = k.c.pd.tsoRequests, k.c.pd.lookups, k.c.pd.safePoint
	k.c.pd.mu.Unlock()
	k.c.faults.mu.Lock()
	out["fault_hits"] = k.c.faults.hits
	k.c.faults.mu.Unlock()
	out["regions"], out["stores"] = regions, stores
	json.NewEncoder(w).Encode(out)
}
