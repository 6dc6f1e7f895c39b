// The real Placement Driver, as its own server command starts it: flags and config file are PD's.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/pingcap/log"
	"github.com/tikv/pd/server"
	"github.com/tikv/pd/server/api"
	"github.com/tikv/pd/server/config"
	"github.com/tikv/pd/server/join"
	_ "github.com/tikv/pd/server/schedulers" // they register themselves
)

func run() error {
	conf := config.NewConfig()
	if err := conf.Parse(os.Args[1:]); err != nil {
		return err
	}
	if err := conf.SetupLogger(); err != nil {
		return err
	}
	log.ReplaceGlobals(conf.GetZapLogger(), conf.GetZapLogProperties())
	if err := join.PrepareJoinCluster(conf); err != nil {
		return err
	}
	ctx, end := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer end()
	pd, err := server.CreateServer(ctx, conf, api.NewHandler)
	if err != nil {
		return err
	}
	if err := pd.Run(); err != nil {
		return err
	}
	<-ctx.Done()
	pd.Close()
	return nil
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "pd-server:", err)
		os.Exit(1)
	}
}
