package ec2

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"pcluster/internal/sandbox/wire"
)

// tokensFor is how long a client token stands for what it made.
const tokensFor = 24 * time.Hour

// A token is what a client token was used for.
type token struct {
	Hash string // of the request's parameters
	IDs  []string
	At   time.Time
}

// recall returns the IDs that an earlier request with the same token got, nil if
// there was none. s.mu is held until remember is called.
func (s *Service) recall(operation string, clientToken *string, in any) ([]string, error) {
	if aws.ToString(clientToken) == "" {
		return nil, nil
	}
	known := s.tokens.get(operation + "/" + *clientToken)
	if known == nil || s.now().Sub(known.At) > tokensFor {
		return nil, nil
	}
	if hash, err := hashOf(in); err != nil {
		return nil, err
	} else if hash != known.Hash {
		return nil, wire.Errorf("IdempotentParameterMismatch",
			"Arguments on this idempotent request are inconsistent with arguments used in previous request(s).")
	}
	return known.IDs, nil
}

func (s *Service) remember(operation string, clientToken *string, in any, ids ...string) error {
	if aws.ToString(clientToken) == "" {
		return nil
	}
	hash, err := hashOf(in)
	if err != nil {
		return err
	}
	return s.tokens.put(operation+"/"+*clientToken, &token{Hash: hash, IDs: ids, At: s.now()})
}

func hashOf(in any) (string, error) {
	data, err := json.Marshal(in)
	if err != nil {
		return "", fmt.Errorf("hash request: %w", err)
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:]), nil
}

// once makes the row with the given ID unless an earlier request with the same
// client token made one, and returns it. The token is noted first: if the daemon
// dies in between, the repeated request finds no row and makes it. s.mu is held.
func once[T any](s *Service, operation string, clientToken *string, in any, t *table[T], id string, make func() error) (*T, error) {
	ids, err := s.recall(operation, clientToken, in)
	if err != nil {
		return nil, err
	}
	if len(ids) == 1 {
		if row := t.get(ids[0]); row != nil {
			return row, nil
		}
	}
	if err := s.remember(operation, clientToken, in, id); err != nil {
		return nil, err
	}
	if err := make(); err != nil {
		return nil, errors.Join(err, s.forget(operation, clientToken))
	}
	return t.get(id), nil
}

// forget makes a client token good for another request, since this one failed.
func (s *Service) forget(operation string, clientToken *string) error {
	return s.tokens.delete(operation + "/" + aws.ToString(clientToken))
}

// forgetTokens drops tokens that no longer stand for anything.
func (s *Service) forgetTokens() error {
	for _, key := range s.tokens.rows.Keys() {
		if t := s.tokens.get(key); t != nil && s.now().Sub(t.At) > tokensFor {
			if err := s.tokens.delete(key); err != nil {
				return err
			}
		}
	}
	return nil
}
