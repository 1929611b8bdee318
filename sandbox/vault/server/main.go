// Command server is the sandbox's Vault: HashiCorp's own secrets and auth engines behind
// a small server that speaks Vault's HTTP API.
//
// HashiCorp's, used as Go modules: the KV engine, versions 1 and 2 (vault-plugin-secrets-kv),
// the Kubernetes auth method (vault-plugin-auth-kubernetes), and from Vault's SDK the storage,
// the requests and responses, their JSON form and the reckoning of lifetimes. Simulated, in
// this folder: the seal, the mount table, tokens, policies, response wrapping, AppRole,
// namespaces. What is stored is not encrypted by the unseal keys. It is for tests.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// background is the context of what lives as long as the server.
var background = context.Background()

// version is what the server says it is: the API it follows, and whose server it is.
const version = "1.20.0+sandbox"

func main() {
	listen := flag.String("listen", "127.0.0.1:8200", "address to listen on")
	data := flag.String("data", "", "directory to keep everything in; in memory without it")
	tlsDirectory := flag.String("tls", "", "speak TLS; a CA and its certificate are made in this directory")
	flag.Parse()
	if err := run(*listen, *data, *tlsDirectory); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

// run serves until SIGTERM or SIGINT.
func run(listen, data, tlsDirectory string) error {
	storage, err := openStorage(data)
	if err != nil {
		return err
	}
	vault, err := newCore(background, storage)
	if err != nil {
		return err
	}
	server := &http.Server{Addr: listen, Handler: newHandler(vault), ReadHeaderTimeout: 10 * time.Second}
	stopped := make(chan os.Signal, 1)
	signal.Notify(stopped, syscall.SIGTERM, syscall.SIGINT)
	go func() {
		<-stopped
		_ = server.Close()
	}()
	if err := serve(server, tlsDirectory); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func serve(server *http.Server, tlsDirectory string) error {
	if tlsDirectory == "" {
		return server.ListenAndServe()
	}
	certificate, key, err := ensureCertificates(tlsDirectory)
	if err != nil {
		return err
	}
	return server.ListenAndServeTLS(certificate, key)
}
