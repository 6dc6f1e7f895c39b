package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
)

// serverTLS is what -tls-… ask for: TLS 1.2 or newer with the servers' certificate, client certificates of an authority where one is named. The
// files are read anew for each connection, so that replacing them is all it takes to rotate them.
type serverTLS struct {
	credentials.TransportCredentials
	ca, cert, key string
	pd, stores    bool
	old           bool

	mu    sync.Mutex
	conns map[net.Conn]bool
	peers map[string]int // handshakes by the common name of the client's certificate; "" = without one
	bad   int            // handshakes that failed
}

func tlsFlags() *serverTLS {
	t := &serverTLS{conns: map[net.Conn]bool{}, peers: map[string]int{}}
	flag.StringVar(&t.ca, "tls-ca", "", "TLS: file of the authority that client certificates must come from")
	flag.StringVar(&t.cert, "tls-cert", "", "TLS: file of the servers' certificate")
	flag.StringVar(&t.key, "tls-key", "", "TLS: file of its key")
	flag.BoolVar(&t.pd, "tls-pd", true, "TLS: at the PD fronts")
	flag.BoolVar(&t.stores, "tls-stores", true, "TLS: at the stores")
	flag.BoolVar(&t.old, "tls-12", false, "TLS: no newer version than 1.2")
	return t
}

// options of a server, and the scheme of its address.
func (t *serverTLS) options(wanted bool, others []grpc.ServerOption) ([]grpc.ServerOption, string) {
	if t.cert == "" || !wanted {
		return others, "http"
	}
	if t.TransportCredentials == nil {
		_, err := t.config(nil)
		check(err)
		t.TransportCredentials = credentials.NewTLS(&tls.Config{MinVersion: tls.VersionTLS12, GetConfigForClient: t.config})
	}
	return append([]grpc.ServerOption{grpc.Creds(t)}, others...), "https"
}

func (t *serverTLS) config(*tls.ClientHelloInfo) (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(t.cert, t.key)
	if err != nil {
		return nil, err
	}
	conf := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12, NextProtos: []string{"h2"}}
	if t.old {
		conf.MaxVersion = tls.VersionTLS12
	}
	if t.ca != "" {
		pem, err := os.ReadFile(t.ca)
		if err != nil {
			return nil, err
		}
		conf.ClientCAs, conf.ClientAuth = x509.NewCertPool(), tls.RequireAndVerifyClientCert
		if !conf.ClientCAs.AppendCertsFromPEM(pem) {
			return nil, errors.New("no certificate in " + t.ca)
		}
	}
	return conf, nil
}

// ServerHandshake also remembers who came.
func (t *serverTLS) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := t.TransportCredentials.ServerHandshake(raw)
	t.mu.Lock()
	defer t.mu.Unlock()
	if err != nil {
		t.bad++
		return conn, info, err
	}
	name := ""
	if state, known := info.(credentials.TLSInfo); known && len(state.State.PeerCertificates) > 0 {
		name = state.State.PeerCertificates[0].Subject.CommonName
	}
	t.peers[name]++
	t.conns[raw] = true
	return conn, info, nil
}

// Clone is the same object: what is counted is counted once.
func (t *serverTLS) Clone() credentials.TransportCredentials { return t }

// serve adds to the control port: /tls/drop (closes every connection, so that all shake hands anew), /tls/peer?name= (how often it came).
func (t *serverTLS) serve(mux *http.ServeMux) {
	mux.HandleFunc("/tls/drop", func(w http.ResponseWriter, _ *http.Request) {
		t.mu.Lock()
		defer t.mu.Unlock()
		for conn := range t.conns {
			conn.Close()
			delete(t.conns, conn)
		}
		fmt.Fprintln(w, "ok")
	})
	mux.HandleFunc("/tls/peer", func(w http.ResponseWriter, r *http.Request) {
		t.mu.Lock()
		defer t.mu.Unlock()
		fmt.Fprintf(w, "{\"count\":%d,\"bad\":%d}\n", t.peers[r.URL.Query().Get("name")], t.bad)
	})
}
