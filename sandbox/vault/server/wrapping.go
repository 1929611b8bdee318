package main

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/helper/wrapping"
	"github.com/hashicorp/vault/sdk/logical"
)

const wrapPrefix = "core/wrapped/"

// parcel is a wrapped answer: one token opens it, once.
type parcel struct {
	Content json.RawMessage           `json:"content"` // the answer as HTTP would have carried it
	Info    wrapping.ResponseWrapInfo `json:"info"`
}

type wrapStore struct {
	storage logical.Storage
	lock    sync.Mutex
}

// wrap keeps an answer and returns another that holds only the token to it.
func (s *wrapStore) wrap(ctx context.Context, resp *logical.Response, req *logical.Request, path string) (*logical.Response, error) {
	content, err := contentOf(resp, req)
	if err != nil {
		return nil, err
	}
	info := wrapping.ResponseWrapInfo{
		TTL:          req.WrapInfo.TTL,
		Token:        "hvs." + randomText(24),
		Accessor:     randomText(24),
		CreationTime: time.Now(),
		CreationPath: path,
	}
	if resp.Auth != nil {
		info.WrappedAccessor = resp.Auth.Accessor
	} else if accessor, ok := resp.Data["secret_id_accessor"].(string); ok {
		info.WrappedAccessor = accessor
	}
	return s.store(ctx, parcel{Content: content, Info: info})
}

func (s *wrapStore) store(ctx context.Context, made parcel) (*logical.Response, error) {
	err := keep(ctx, s.storage, wrapPrefix+digest(made.Info.Token), made)
	return &logical.Response{WrapInfo: &made.Info}, err
}

// look returns the parcel that a token opens; an error when there is none, or no longer.
func (s *wrapStore) look(ctx context.Context, token string) (*parcel, error) {
	var found parcel
	ok, err := load(ctx, s.storage, wrapPrefix+digest(token), &found)
	if err != nil {
		return nil, err
	}
	if !ok || time.Since(found.Info.CreationTime) >= found.Info.TTL {
		return nil, consts.ErrInvalidWrappingToken
	}
	return &found, nil
}

// open is look, and takes the parcel away.
func (s *wrapStore) open(ctx context.Context, token string) (*parcel, error) {
	s.lock.Lock()
	defer s.lock.Unlock()
	found, err := s.look(ctx, token)
	if err != nil {
		return nil, err
	}
	return found, s.storage.Delete(ctx, wrapPrefix+digest(token))
}

// contentOf is an answer in the JSON that HTTP would carry.
func contentOf(resp *logical.Response, req *logical.Request) (json.RawMessage, error) {
	if raw, ok := resp.Data[logical.HTTPRawBody].(string); ok {
		return json.RawMessage(raw), nil
	}
	answer := logical.LogicalResponseToHTTPResponse(resp)
	answer.RequestID = req.ID
	return json.Marshal(answer)
}
