package main

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/hashicorp/vault/sdk/helper/jsonutil"
	"github.com/hashicorp/vault/sdk/logical"
)

const (
	clusterName = "vault-cluster-sandbox"
	clusterID   = "00000000-0000-4000-8000-000000000000"
)

// serveHealth answers in the status: 200 ready, 501 not initialized, 503 sealed; the query may
// name others.
func (c *core) serveHealth(w http.ResponseWriter, r *http.Request) {
	c.lock.RLock()
	defer c.lock.RUnlock()
	status := http.StatusOK
	switch {
	case !c.sealing.initialized():
		status = chosenStatus(r, "uninitcode", http.StatusNotImplemented)
	case c.sealing.sealed:
		status = chosenStatus(r, "sealedcode", http.StatusServiceUnavailable)
	default:
		status = chosenStatus(r, "activecode", status)
	}
	respondJSON(w, status, map[string]any{
		"initialized":                  c.sealing.initialized(),
		"sealed":                       c.sealing.sealed,
		"standby":                      false,
		"performance_standby":          false,
		"replication_performance_mode": "disabled",
		"replication_dr_mode":          "disabled",
		"server_time_utc":              time.Now().Unix(),
		"version":                      version,
		"enterprise":                   false,
		"cluster_name":                 clusterName,
		"cluster_id":                   clusterID,
	})
}

func chosenStatus(r *http.Request, name string, otherwise int) int {
	if chosen, err := strconv.Atoi(r.URL.Query().Get(name)); err == nil {
		return chosen
	}
	return otherwise
}

func (c *core) serveSealStatus(w http.ResponseWriter, _ *http.Request) {
	c.lock.RLock()
	defer c.lock.RUnlock()
	configuration := c.sealing.configuration
	respondJSON(w, http.StatusOK, map[string]any{
		"type":          "shamir",
		"initialized":   c.sealing.initialized(),
		"sealed":        c.sealing.sealed,
		"t":             configuration.Threshold,
		"n":             len(configuration.Digests),
		"progress":      len(c.sealing.given),
		"nonce":         "",
		"version":       version,
		"build_date":    "",
		"migration":     false,
		"recovery_seal": false,
		"storage_type":  "sandbox",
		"cluster_name":  clusterName,
		"cluster_id":    clusterID,
	})
}

func (c *core) serveLeader(w http.ResponseWriter, _ *http.Request) {
	respondJSON(w, http.StatusOK, map[string]any{
		"ha_enabled": false, "is_self": false, "leader_address": "", "leader_cluster_address": "",
	})
}

// serveInit tells whether the server is initialized, or initializes it.
func (c *core) serveInit(w http.ResponseWriter, r *http.Request) {
	c.lock.RLock()
	initialized := c.sealing.initialized()
	c.lock.RUnlock()
	if r.Method == http.MethodGet {
		respondJSON(w, http.StatusOK, map[string]any{"initialized": initialized})
		return
	}
	if initialized {
		logical.RespondError(w, http.StatusBadRequest, errors.New("Vault is already initialized"))
		return
	}
	var wanted struct {
		Shares    int `json:"secret_shares"`
		Threshold int `json:"secret_threshold"`
	}
	if err := jsonutil.DecodeJSONFromReader(r.Body, &wanted); err != nil {
		logical.RespondError(w, http.StatusBadRequest, err)
		return
	}
	keys, root, err := c.initialize(r.Context(), wanted.Shares, wanted.Threshold)
	if err != nil {
		logical.RespondError(w, http.StatusBadRequest, err)
		return
	}
	respondJSON(w, http.StatusOK, initialization(keys, root))
}

// initialization is the only answer that ever holds the keys.
func initialization(keys [][]byte, root *token) map[string]any {
	var hexadecimal, base []string
	for _, key := range keys {
		hexadecimal = append(hexadecimal, hex.EncodeToString(key))
		base = append(base, base64.StdEncoding.EncodeToString(key))
	}
	return map[string]any{"keys": hexadecimal, "keys_base64": base, "root_token": root.ID}
}

// serveUnseal takes one key and answers how far the unsealing is.
func (c *core) serveUnseal(w http.ResponseWriter, r *http.Request) {
	var given struct {
		Key   string `json:"key"`
		Reset bool   `json:"reset"`
	}
	if err := jsonutil.DecodeJSONFromReader(r.Body, &given); err != nil {
		logical.RespondError(w, http.StatusBadRequest, err)
		return
	}
	c.lock.RLock()
	initialized := c.sealing.initialized()
	c.lock.RUnlock()
	if !initialized {
		logical.RespondError(w, http.StatusBadRequest, errors.New("Vault is not initialized"))
		return
	}
	// The engines live longer than this request.
	if err := c.unseal(background, given.Key, given.Reset); err != nil {
		logical.RespondError(w, http.StatusBadRequest, err)
		return
	}
	c.serveSealStatus(w, r)
}

func (c *core) serveSeal(w http.ResponseWriter, r *http.Request) {
	req, status, err := requestOf(r)
	if err != nil {
		logical.RespondError(w, status, err)
		return
	}
	if req.Operation != logical.UpdateOperation {
		logical.RespondError(w, http.StatusMethodNotAllowed, nil)
		return
	}
	if err := c.maySeal(r.Context(), req); err != nil {
		status, err := logical.RespondErrorCommon(req, nil, err)
		logical.RespondError(w, status, err)
		return
	}
	c.seal(background)
	w.WriteHeader(http.StatusNoContent)
}
