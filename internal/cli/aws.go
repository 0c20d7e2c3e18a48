package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/smithy-go/logging"
	"github.com/aws/smithy-go/middleware"
	"go.yaml.in/yaml/v3"

	"pcluster/internal/awsclient"
	"pcluster/internal/cluster"
	"pcluster/internal/validate"
)

// loadAWS reads the SDK's configuration from environment and profile.
func loadAWS(ctx context.Context, region string, log *slog.Logger) (aws.Config, error) {
	options := []func(*awsconfig.LoadOptions) error{
		awsconfig.WithRetryer(func() aws.Retryer {
			return retry.NewStandard(func(o *retry.StandardOptions) {
				o.MaxAttempts, o.MaxBackoff = 6, 5*time.Second
				o.Retryables = append([]retry.IsErrorRetryable{retry.IsErrorRetryableFunc(nobodyThere)}, o.Retryables...)
			})
		}),
		awsconfig.WithLogger(logging.LoggerFunc(func(c logging.Classification, format string, args ...any) {
			if c == logging.Debug {
				log.Debug(fmt.Sprintf(format, args...))
				return
			}
			log.Warn(fmt.Sprintf(format, args...))
		})),
		awsconfig.WithAPIOptions(awsclient.Options),
		awsconfig.WithClientLogMode(aws.LogRetries), // requests would show credentials
	}
	if region != "" {
		options = append(options, awsconfig.WithRegion(region))
	}
	return awsconfig.LoadDefaultConfig(ctx, options...)
}

// nobodyThere ends the attempts to call an endpoint that refuses connections or
// has no address: that is a mistake in the set-up, which people should hear of
// at once, and no hiccup.
func nobodyThere(err error) aws.Ternary {
	dns, isDNS := errors.AsType[*net.DNSError](err)
	if errors.Is(err, syscall.ECONNREFUSED) || isDNS && dns.IsNotFound {
		return aws.FalseTernary
	}
	return aws.UnknownTernary
}

// operator returns what operates on the clusters of the region that the user
// means: that of the option or, for commands that read a cluster file, of the
// file; else of the environment or the profile.
func (env *Env) operator(ctx context.Context, c common, file []byte) (*cluster.Operator, error) {
	operator, _, err := env.operatorIn(ctx, c, file)
	return operator, err
}

// operatorIn is operator, with the SDK's configuration for other services.
func (env *Env) operatorIn(ctx context.Context, c common, file []byte) (*cluster.Operator, aws.Config, error) {
	region, err := chooseRegion(c.Region, regionOfFile(file), env.Getenv)
	if err != nil {
		return nil, aws.Config{}, err
	}
	cfg, err := env.AWS(ctx, region, env.log)
	if err != nil {
		return nil, aws.Config{}, &cluster.Error{Status: http.StatusBadRequest, Body: cluster.ErrorBody{Message: "Bad Request: AWS configuration: " + err.Error()}}
	}
	if err := checkRegion(cfg.Region); err != nil {
		return nil, aws.Config{}, err
	}
	cfg.APIOptions = append(slices.Clip(cfg.APIOptions), env.logCalls)
	return env.Operator(cfg, env.log), cfg, nil
}

// logCalls makes every call of the SDK leave a line in the log.
func (env *Env) logCalls(stack *middleware.Stack) error {
	return stack.Initialize.Add(middleware.InitializeMiddlewareFunc("LogCall", func(
		ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler,
	) (middleware.InitializeOutput, middleware.Metadata, error) {
		env.log.Info("Executing AWS call: region=" + awsmiddleware.GetRegion(ctx) + ", service=" + strings.ToLower(awsmiddleware.GetServiceID(ctx)) +
			", operation=" + awsmiddleware.GetOperationName(ctx) + ", parameters=" + logged(in.Parameters))
		begun := time.Now()
		out, metadata, err := next.HandleInitialize(ctx, in)
		how := "done"
		if err != nil {
			how = err.Error()
		}
		env.log.Debug(fmt.Sprintf("AWS call %s %s took %v: %s", awsmiddleware.GetServiceID(ctx), awsmiddleware.GetOperationName(ctx), time.Since(begun).Round(time.Millisecond), how))
		return out, metadata, err
	}), middleware.After)
}

// regionOfFile returns the region that a cluster file names. A file that can't be
// parsed names none here, so that its own error is the one that shows.
func regionOfFile(text []byte) string {
	var file struct {
		Region string `yaml:"Region"`
	}
	if len(text) == 0 || yaml.Unmarshal(text, &file) != nil {
		return ""
	}
	return file.Region
}

// chooseRegion returns the region to work in, empty for that of the profile.
func chooseRegion(option, file string, getenv func(string) string) (string, error) {
	if option != "" && file != "" && option != file {
		return "", badValue("region is set in both parameter and configuration and conflicts: '%s' in the parameter, '%s' in the configuration.", option, file)
	}
	for _, region := range []string{option, file, getenv("AWS_DEFAULT_REGION"), getenv("AWS_REGION")} {
		if region != "" {
			return region, nil
		}
	}
	return "", nil
}

func checkRegion(region string) error {
	if region == "" {
		return badValue("region needs to be set: use --region, AWS_DEFAULT_REGION, or Region in the configuration.")
	}
	if !slices.Contains(validate.Regions, region) {
		return badValue("invalid or unsupported region '%s'", region)
	}
	return nil
}
