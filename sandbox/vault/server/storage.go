package main

import (
	"context"
	"encoding/json"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/hashicorp/vault/sdk/physical"
	"github.com/hashicorp/vault/sdk/physical/file"
)

// openStorage opens Vault's own file storage in a directory, or a storage in memory.
func openStorage(directory string) (logical.Storage, error) {
	if directory == "" {
		return &logical.InmemStorage{}, nil
	}
	backend, err := file.NewFileBackend(map[string]string{"path": directory}, hclog.NewNullLogger())
	if err != nil {
		return nil, err
	}
	return logical.NewLogicalStorage(physical.Backend(backend)), nil
}

// load reads what is kept under a key into value; false when nothing is.
func load(ctx context.Context, storage logical.Storage, key string, value any) (bool, error) {
	entry, err := storage.Get(ctx, key)
	if err != nil || entry == nil {
		return false, err
	}
	return true, json.Unmarshal(entry.Value, value)
}

// keep stores a value under a key.
func keep(ctx context.Context, storage logical.Storage, key string, value any) error {
	encoded, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return storage.Put(ctx, &logical.StorageEntry{Key: key, Value: encoded})
}
