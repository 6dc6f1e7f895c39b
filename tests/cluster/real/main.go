// Starts a cluster of real servers on free loopback ports, in a temporary folder: PDs and unistore stores, the programs
// pd-server and unistore-server beside this one.
//
// It behaves as the mock cluster does: it prints one line of JSON when the cluster is ready ({"pd": [...], "control": "..."})
// and ends, with all of its servers, with its standard input or by a signal. The control port knows
//
//	/state             {"leader": the index of the PD that leads}
//	/pd/kill?index=    /pd/start?index=    /store/kill?index=    /store/start?index=
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

const startWait = 60 * time.Second

// server is one process, which dies with this one.
type server struct {
	name string
	args []string
	log  string
	cmd  *exec.Cmd
}

func (s *server) start() error {
	out, err := os.OpenFile(s.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0600)
	if err != nil {
		return err
	}
	defer out.Close()
	self, err := os.Executable()
	if err != nil {
		return err
	}
	s.cmd = exec.Command(filepath.Join(filepath.Dir(self), s.name), s.args...)
	s.cmd.Stdout, s.cmd.Stderr = out, out
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	return s.cmd.Start()
}

func (s *server) kill() {
	if s.cmd != nil && s.cmd.Process != nil {
		s.cmd.Process.Kill()
		s.cmd.Wait()
		s.cmd = nil
	}
}

// tail is the end of the server's log, for the error when it does not come up.
func (s *server) tail() string {
	text, _ := os.ReadFile(s.log)
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	if len(lines) > 20 {
		lines = lines[len(lines)-20:]
	}
	return strings.Join(lines, "\n")
}

type cluster struct {
	mu     sync.Mutex
	pds    []*server
	stores []*server
	pdURL  []string
}

// ports are n free ones, below those that the kernel gives to clients: none is taken between here and the server's start.
func ports(n int) ([]string, error) {
	var addresses []string
	var open []net.Listener
	defer func() {
		for _, l := range open {
			l.Close()
		}
	}()
	for tries := 0; len(addresses) < n; tries++ {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 10000+rand.Intn(20000)))
		if err != nil {
			if tries > 1000 {
				return nil, err
			}
			continue
		}
		open = append(open, l)
		addresses = append(addresses, l.Addr().String())
	}
	return addresses, nil
}

// One replica: these stores can not move data between each other reliably. And no scheduler that would try.
const pdConfig = `
[log]
level = "warn"
[replication]
max-replicas = 1
[schedule]
leader-schedule-limit = 0
region-schedule-limit = 0
replica-schedule-limit = 0
merge-schedule-limit = 0
hot-region-schedule-limit = 0
`

func (c *cluster) startPDs(folder string, n int) error {
	addresses, err := ports(2 * n)
	if err != nil {
		return err
	}
	config := filepath.Join(folder, "pd.toml")
	if err := os.WriteFile(config, []byte(pdConfig), 0600); err != nil {
		return err
	}
	var peers []string
	for i := 0; i < n; i++ {
		peers = append(peers, fmt.Sprintf("pd%d=http://%s", i, addresses[n+i]))
	}
	for i := 0; i < n; i++ {
		name := fmt.Sprintf("pd%d", i)
		c.pdURL = append(c.pdURL, "http://"+addresses[i])
		c.pds = append(c.pds, &server{name: "pd-server", log: filepath.Join(folder, name+".log"), args: []string{
			"--name=" + name, "--config=" + config, "--data-dir=" + filepath.Join(folder, name),
			"--client-urls=http://" + addresses[i], "--peer-urls=http://" + addresses[n+i],
			"--initial-cluster=" + strings.Join(peers, ","),
		}})
		if err := c.pds[i].start(); err != nil {
			return err
		}
	}
	return wait(func() error { _, err := c.leader(); return err }, c.pds)
}

func (c *cluster) startStores(folder string, n int) error {
	addresses, err := ports(n)
	if err != nil {
		return err
	}
	for i := 0; i < n; i++ {
		dir := filepath.Join(folder, fmt.Sprintf("store%d", i))
		if err := os.Mkdir(dir, 0700); err != nil {
			return err
		}
		c.stores = append(c.stores, &server{name: "unistore-server", log: dir + ".log", args: []string{
			"-pd=" + strings.Join(c.endpoints(), ","), "-addr=" + addresses[i], "-data-dir=" + dir,
		}})
		if err := c.stores[i].start(); err != nil {
			return err
		}
		// The first one bootstraps the cluster; the others join it.
		up := func() error { return c.storesUp(i + 1) }
		if err := wait(up, c.stores); err != nil {
			return err
		}
	}
	return nil
}

func (c *cluster) endpoints() []string {
	var list []string
	for _, url := range c.pdURL {
		list = append(list, strings.TrimPrefix(url, "http://"))
	}
	return list
}

// ask gets a path of PD's HTTP interface from the first that answers.
func (c *cluster) ask(path string, out interface{}) error {
	err := errors.New("no PD")
	client := http.Client{Timeout: time.Second}
	for _, url := range c.pdURL {
		var resp *http.Response
		if resp, err = client.Get(url + path); err != nil {
			continue
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			err = errors.New(resp.Status)
			continue
		}
		return json.NewDecoder(resp.Body).Decode(out)
	}
	return err
}

func (c *cluster) leader() (int, error) {
	var leader struct{ Name string }
	if err := c.ask("/pd/api/v1/leader", &leader); err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimPrefix(leader.Name, "pd"))
}

// storesUp: nil when that many stores are up and the one region has a leader.
func (c *cluster) storesUp(n int) error {
	var stores struct {
		Stores []struct {
			Store struct {
				State string `json:"state_name"`
			}
		}
	}
	if err := c.ask("/pd/api/v1/stores", &stores); err != nil {
		return err
	}
	up := 0
	for _, s := range stores.Stores {
		if s.Store.State == "Up" {
			up++
		}
	}
	if up < n {
		return fmt.Errorf("%d of %d stores are up", up, n)
	}
	var regions struct {
		Regions []struct {
			Leader struct {
				StoreID uint64 `json:"store_id"`
			}
		}
	}
	if err := c.ask("/pd/api/v1/regions", &regions); err != nil {
		return err
	}
	if len(regions.Regions) == 0 || regions.Regions[0].Leader.StoreID == 0 {
		return errors.New("no region has a leader")
	}
	return nil
}

// wait asks until the answer is nil; else the error says what the servers said.
func wait(ready func() error, servers []*server) error {
	var err error
	for end := time.Now().Add(startWait); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if err = ready(); err == nil {
			return nil
		}
	}
	for _, s := range servers {
		err = fmt.Errorf("%w\n--- %s\n%s", err, s.log, s.tail())
	}
	return err
}

func (c *cluster) serveControl(l net.Listener) {
	handle := func(path string, action func(w io.Writer, index int) error) {
		http.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			c.mu.Lock()
			defer c.mu.Unlock()
			index, _ := strconv.Atoi(r.URL.Query().Get("index"))
			if err := action(w, index); err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
			}
		})
	}
	on := func(list *[]*server, action func(*server) error) func(io.Writer, int) error {
		return func(w io.Writer, index int) error {
			if index < 0 || index >= len(*list) {
				return errors.New("no such server")
			}
			if err := action((*list)[index]); err != nil {
				return err
			}
			fmt.Fprintln(w, "ok")
			return nil
		}
	}
	kill := func(s *server) error { s.kill(); return nil }
	handle("/state", func(w io.Writer, _ int) error {
		index, err := c.leader()
		if err == nil {
			fmt.Fprintf(w, "{\"leader\": %d}\n", index)
		}
		return err
	})
	handle("/pd/kill", on(&c.pds, kill))
	handle("/pd/start", on(&c.pds, (*server).start))
	handle("/store/kill", on(&c.stores, kill))
	handle("/store/start", on(&c.stores, (*server).start))
	http.Serve(l, nil)
}

func (c *cluster) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range append(append([]*server{}, c.stores...), c.pds...) {
		s.kill()
	}
}

func run() error {
	pds := flag.Int("pds", 1, "number of PDs")
	stores := flag.Int("stores", 1, "number of stores")
	flag.Parse()
	end := make(chan os.Signal, 2)
	signal.Notify(end, syscall.SIGTERM, syscall.SIGINT)
	go func() { // the starter has gone
		io.Copy(io.Discard, bufio.NewReader(os.Stdin))
		end <- syscall.SIGTERM
	}()
	folder, err := os.MkdirTemp("", "tito-real")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	c := &cluster{}
	defer c.stop()
	if err := c.startPDs(folder, *pds); err != nil {
		return err
	}
	if err := c.startStores(folder, *stores); err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	go c.serveControl(l)
	ready := map[string]interface{}{"pd": c.endpoints(), "control": l.Addr().String()}
	if err := json.NewEncoder(os.Stdout).Encode(ready); err != nil {
		return err
	}
	<-end
	return nil
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "real cluster:", err)
		os.Exit(1)
	}
}
