package cluster

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// maxTemplate is how large a template may be for CloudFormation.
const maxTemplate = 1 << 20

// template returns the cluster's template: what we made, or the one that the file names
// in its place (DevSettings/ClusterTemplate). That one gets the same parameters.
func (o *Operator) template(ctx context.Context, own string, made []byte) ([]byte, error) {
	if own == "" {
		return made, nil
	}
	text, err := o.fetch(ctx, own)
	if err != nil {
		return nil, badRequest("DevSettings/ClusterTemplate: %v", err)
	}
	return text, nil
}

// fetch returns what is behind an s3:// or https:// URL.
func (o *Operator) fetch(ctx context.Context, address string) ([]byte, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, err
	}
	var body io.ReadCloser
	if u.Scheme == "s3" {
		out, err := o.S3.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String(u.Host), Key: aws.String(strings.TrimPrefix(u.Path, "/"))})
		if err != nil {
			return nil, fmt.Errorf("%s: %w", address, err)
		}
		body = out.Body
	} else {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
		if err != nil {
			return nil, err
		}
		answer, err := o.HTTP.Do(request)
		if err != nil {
			return nil, err
		}
		body = answer.Body
		if answer.StatusCode != http.StatusOK {
			body.Close()
			return nil, fmt.Errorf("%s: %s", address, answer.Status)
		}
	}
	defer body.Close()
	text, err := io.ReadAll(io.LimitReader(body, maxTemplate+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", address, err)
	case len(text) > maxTemplate:
		return nil, fmt.Errorf("%s has more than the %d bytes that CloudFormation takes", address, maxTemplate)
	}
	return text, nil
}
