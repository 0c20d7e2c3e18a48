package node

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"
)

const (
	mungeKey       = "/etc/munge/munge.key"
	sharedMungeKey = sharedDir + "/.munge/.munge.key"
	loginMungeKey  = sharedLoginDir + "/.munge/.munge.key"
	mungeKeyBytes  = 1024 // the most that munge uses
)

// makeMungeKey decides on the cluster's key: the one in the user's secret, else the
// one that is there already, else a new one.
func (h *Host) makeMungeKey(ctx context.Context, secrets vault, secretARN string) error {
	if secretARN == "" {
		old, err := h.read(sharedMungeKey)
		if err == nil {
			return h.shareMungeKey(ctx, old)
		}
		if !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return h.replaceMungeKey(ctx, secrets, secretARN)
}

// replaceMungeKey gives the cluster the key in the user's secret, or a new one.
func (h *Host) replaceMungeKey(ctx context.Context, secrets vault, secretARN string) error {
	key := make([]byte, mungeKeyBytes)
	if secretARN == "" {
		if _, err := rand.Read(key); err != nil {
			return err
		}
		return h.shareMungeKey(ctx, key)
	}
	text, err := secrets.secret(ctx, secretARN)
	if err != nil {
		return fmt.Errorf("munge key: %w", err)
	}
	if key, err = base64.StdEncoding.DecodeString(strings.TrimSpace(text)); err != nil {
		return fmt.Errorf("munge key in secret %s is not base64: %w", secretARN, err)
	}
	if len(key) < 32 || len(key) > mungeKeyBytes {
		return fmt.Errorf("munge key in secret %s has %d bytes: 32 to %d are allowed", secretARN, len(key), mungeKeyBytes)
	}
	return h.shareMungeKey(ctx, key)
}

// shareMungeKey runs munge with a key that other nodes find on shared storage.
func (h *Host) shareMungeKey(ctx context.Context, key []byte) error {
	for _, path := range []string{sharedMungeKey, loginMungeKey} {
		if err := h.dir(path[:strings.LastIndex(path, "/")], 0o700, rootUser); err != nil {
			return err
		}
		if err := h.write(path, 0o600, rootUser, key); err != nil {
			return err
		}
	}
	return h.useMungeKey(ctx, key)
}

// copyMungeKey takes the cluster's key from shared storage, where the head node may
// still be about to put it.
func (h *Host) copyMungeKey(ctx context.Context, from string) error {
	key, err := poll(ctx, 200*time.Millisecond, func() ([]byte, error) { return h.read(from) })
	if err != nil {
		return fmt.Errorf("munge key of the cluster: %w", err)
	}
	return h.useMungeKey(ctx, key)
}

// useMungeKey runs munge with a key.
func (h *Host) useMungeKey(ctx context.Context, key []byte) error {
	for dir, mode := range map[string]os.FileMode{"/etc/munge": 0o700, "/var/log/munge": 0o700, "/var/lib/munge": 0o711} {
		if err := h.dir(dir, mode, mungeUser); err != nil {
			return err
		}
	}
	if err := h.write(mungeKey, 0o600, mungeUser, key); err != nil {
		return err
	}
	return h.start(ctx, unitMunge)
}

// poll tries something until it succeeds, the context ends, or one of the checks says
// that it never will. It returns what was wrong at last.
func poll[T any](ctx context.Context, interval time.Duration, f func() (T, error), hopeless ...func() error) (T, error) {
	for {
		v, err := f()
		if err == nil {
			return v, nil
		}
		for _, check := range hopeless {
			if err := check(); err != nil {
				return v, err
			}
		}
		select {
		case <-ctx.Done():
			return v, err
		case <-time.After(interval):
		}
	}
}
