// Package live answers questions about an AWS account by asking AWS. Answers are
// remembered, and a question that several ask at once is asked once.
package live

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/batch"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/efs"
	"github.com/aws/aws-sdk-go-v2/service/fsx"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/imagebuilder"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/resourcegroups"
	"github.com/aws/aws-sdk-go-v2/service/route53"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/smithy-go"

	"pcluster/internal/facts"
)

// Source is a facts.Source that asks AWS.
type Source struct {
	region  string
	ec2     *ec2.Client
	efs     *efs.Client
	fsx     *fsx.Client
	iam     *iam.Client
	groups  *resourcegroups.Client
	kms     *kms.Client
	builder *imagebuilder.Client
	batch   *batch.Client
	route53 *route53.Client
	s3      *s3.Client
	secrets *secretsmanager.Client
	ssm     *ssm.Client
	http    *http.Client

	types memo[string, facts.InstanceType]
	memo  memo[string, any]
}

var _ facts.Source = (*Source)(nil)

// New returns a source for the account and region of the configuration.
func New(cfg aws.Config) *Source {
	return &Source{
		region:  cfg.Region,
		ec2:     ec2.NewFromConfig(cfg),
		efs:     efs.NewFromConfig(cfg),
		fsx:     fsx.NewFromConfig(cfg),
		iam:     iam.NewFromConfig(cfg),
		groups:  resourcegroups.NewFromConfig(cfg),
		kms:     kms.NewFromConfig(cfg),
		builder: imagebuilder.NewFromConfig(cfg),
		batch:   batch.NewFromConfig(cfg),
		route53: route53.NewFromConfig(cfg),
		s3:      s3.NewFromConfig(cfg),
		secrets: secretsmanager.NewFromConfig(cfg),
		ssm:     ssm.NewFromConfig(cfg),
		http:    &http.Client{Timeout: 10 * time.Second},
	}
}

// memo remembers answers, errors too, and makes askers of the same question wait
// for one answer. Answers to an asker who gave up are not kept.
type memo[K comparable, V any] struct {
	mu    sync.Mutex
	known map[K]*entry[V]
}

type entry[V any] struct {
	done  chan struct{}
	value V
	err   error
}

func (m *memo[K, V]) get(ctx context.Context, key K, ask func() (V, error)) (V, error) {
	for {
		m.mu.Lock()
		if m.known == nil {
			m.known = map[K]*entry[V]{}
		}
		e, ok := m.known[key]
		if !ok {
			e = &entry[V]{done: make(chan struct{})}
			m.known[key] = e
			m.mu.Unlock()
			e.value, e.err = ask()
			if ctx.Err() != nil {
				m.mu.Lock()
				delete(m.known, key)
				m.mu.Unlock()
			}
			close(e.done)
			return e.value, e.err
		}
		m.mu.Unlock()
		select {
		case <-e.done:
		case <-ctx.Done():
			var none V
			return none, ctx.Err()
		}
		if !errors.Is(e.err, context.Canceled) && !errors.Is(e.err, context.DeadlineExceeded) || ctx.Err() != nil {
			return e.value, e.err
		}
	}
}

// once asks a question under a name, with AWS's errors turned into ours.
func once[T any](ctx context.Context, s *Source, name string, ask func() (T, error)) (T, error) {
	v, err := s.memo.get(ctx, name, func() (any, error) {
		v, err := ask()
		return v, translate(err)
	})
	if v == nil {
		var none T
		return none, err
	}
	return v.(T), err
}

// translate turns an error of an AWS service into a facts.Error.
func translate(err error) error {
	var known *facts.Error
	var api smithy.APIError
	if err == nil || errors.As(err, &known) || !errors.As(err, &api) {
		return err
	}
	return facts.NewError(api.ErrorCode(), api.ErrorMessage())
}

// none is the error of an answer that has nothing in it.
func none(code, message string) error {
	return &facts.Error{Code: code, Message: message, Missing: true}
}
