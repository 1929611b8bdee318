package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"strings"

	"github.com/hashicorp/go-secure-stdlib/parseutil"
	"github.com/hashicorp/go-uuid"
	"github.com/hashicorp/vault/sdk/helper/jsonutil"
	"github.com/hashicorp/vault/sdk/logical"
)

const maximumBody = 32 << 20 // bytes; Vault's own default

// newHandler serves the whole API. What works while the server is sealed has its own handlers.
func newHandler(vault *core) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/v1/sys/health", vault.serveHealth)
	mux.HandleFunc("/v1/sys/seal-status", vault.serveSealStatus)
	mux.HandleFunc("/v1/sys/leader", vault.serveLeader)
	mux.HandleFunc("/v1/sys/init", vault.serveInit)
	mux.HandleFunc("/v1/sys/unseal", vault.serveUnseal)
	mux.HandleFunc("/v1/sys/seal", vault.serveSeal)
	mux.HandleFunc("/v1/", vault.serveLogical)
	return logged(mux)
}

// logged writes a line for each request: what was asked and how it ended, and nothing secret.
func logged(inner http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		recorder := &statusRecorder{ResponseWriter: w, status: http.StatusOK}
		w.Header().Set("Cache-Control", "no-store")
		inner.ServeHTTP(recorder, r)
		log.Printf("%s %s%s %d", r.Method, namespaceOf(r), r.URL.Path, recorder.status)
	})
}

type statusRecorder struct {
	http.ResponseWriter
	status int
}

func (s *statusRecorder) WriteHeader(status int) {
	s.status = status
	s.ResponseWriter.WriteHeader(status)
}

func (c *core) serveLogical(w http.ResponseWriter, r *http.Request) {
	req, status, err := requestOf(r)
	if err != nil {
		logical.RespondError(w, status, err)
		return
	}
	path := req.Path
	resp, err := c.handle(r.Context(), req, namespaceOf(r))
	if status, err := logical.RespondErrorCommon(req, resp, err); status != 0 || err != nil {
		logical.RespondError(w, status, err)
		return
	}
	respond(w, req, resp, strings.HasPrefix(path, "sys/"))
}

// respond writes an answer: raw when an engine wants it so, else in Vault's envelope. What the
// system answers stands both in `data` and beside it.
func respond(w http.ResponseWriter, req *logical.Request, resp *logical.Response, system bool) {
	if resp == nil {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	if status, ok := resp.Data[logical.HTTPStatusCode].(int); ok {
		respondRaw(w, resp, status)
		return
	}
	answer := logical.LogicalResponseToHTTPResponse(resp)
	if resp.WrapInfo != nil && resp.WrapInfo.Token != "" {
		answer = &logical.HTTPResponse{WrapInfo: wrapInfoOf(resp)}
	}
	answer.RequestID = req.ID
	if system {
		respondJSON(w, http.StatusOK, logical.HTTPSysInjector{Response: answer})
		return
	}
	respondJSON(w, http.StatusOK, answer)
}

func respondRaw(w http.ResponseWriter, resp *logical.Response, status int) {
	if kind, ok := resp.Data[logical.HTTPContentType].(string); ok {
		w.Header().Set("Content-Type", kind)
	}
	w.WriteHeader(status)
	switch body := resp.Data[logical.HTTPRawBody].(type) {
	case string:
		_, _ = io.WriteString(w, body)
	case []byte:
		_, _ = w.Write(body)
	}
}

func respondJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

func wrapInfoOf(resp *logical.Response) *logical.HTTPWrapInfo {
	info := resp.WrapInfo
	return &logical.HTTPWrapInfo{
		Token:           info.Token,
		Accessor:        info.Accessor,
		TTL:             int(info.TTL.Seconds()),
		CreationTime:    info.CreationTime.Format("2006-01-02T15:04:05.999999999Z07:00"),
		CreationPath:    info.CreationPath,
		WrappedAccessor: info.WrappedAccessor,
	}
}

// requestOf reads an HTTP request; with an error comes the status to answer.
func requestOf(r *http.Request) (*logical.Request, int, error) {
	identifier, err := uuid.GenerateUUID()
	if err != nil {
		return nil, http.StatusInternalServerError, err
	}
	req := &logical.Request{
		ID:          identifier,
		Path:        strings.TrimPrefix(r.URL.Path, "/v1/"),
		ClientToken: tokenOf(r),
		Headers:     r.Header,
		Connection:  &logical.Connection{RemoteAddr: strings.Split(r.RemoteAddr, ":")[0]},
	}
	if status, err := readOperation(req, r); err != nil {
		return nil, status, err
	}
	if header := r.Header.Get("X-Vault-Wrap-TTL"); header != "" {
		ttl, err := parseutil.ParseDurationSecond(header)
		if err != nil || ttl < 0 {
			return nil, http.StatusBadRequest, fmt.Errorf("invalid wrap TTL %q", header)
		}
		if ttl > 0 {
			req.WrapInfo = &logical.RequestWrapInfo{TTL: ttl}
		}
	}
	return req, 0, nil
}

// readOperation reads what is to be done, and the data for it.
func readOperation(req *logical.Request, r *http.Request) (int, error) {
	switch r.Method {
	case http.MethodGet, http.MethodHead, "LIST":
		req.Operation, req.Data = logical.ReadOperation, queryOf(r)
		if r.Method == "LIST" || r.URL.Query().Get("list") == "true" {
			req.Operation = logical.ListOperation
			req.Path = strings.TrimSuffix(req.Path, "/") + "/"
		}
		return 0, nil
	case http.MethodDelete:
		req.Operation, req.Data = logical.DeleteOperation, queryOf(r)
		return 0, nil
	case http.MethodPost, http.MethodPut:
		req.Operation = logical.UpdateOperation
		return readBody(req, r)
	case http.MethodPatch:
		req.Operation = logical.PatchOperation
		if kind := r.Header.Get("Content-Type"); kind != "application/merge-patch+json" {
			return http.StatusUnsupportedMediaType, fmt.Errorf("PATCH requires Content-Type of application/merge-patch+json, provided %s", kind)
		}
		return readBody(req, r)
	default:
		return http.StatusMethodNotAllowed, nil
	}
}

func readBody(req *logical.Request, r *http.Request) (int, error) {
	err := jsonutil.DecodeJSONFromReader(http.MaxBytesReader(nil, r.Body, maximumBody), &req.Data)
	if err != nil && !errors.Is(err, io.EOF) {
		return http.StatusBadRequest, fmt.Errorf("failed to parse JSON input: %w", err)
	}
	return 0, nil
}

func queryOf(r *http.Request) map[string]any {
	data := map[string]any{}
	for name, values := range r.URL.Query() {
		if len(values) == 1 {
			data[name] = values[0]
		} else {
			data[name] = values
		}
	}
	return data
}

func tokenOf(r *http.Request) string {
	if token := r.Header.Get("X-Vault-Token"); token != "" {
		return token
	}
	bearer, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	return bearer
}

// namespaceOf is the namespace of a request, with one slash at its end; "" for the root.
func namespaceOf(r *http.Request) string {
	name := strings.Trim(r.Header.Get("X-Vault-Namespace"), "/")
	if name == "" || name == rootPolicy {
		return ""
	}
	return name + "/"
}
