package region

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"

	"pcluster/internal/sandbox"
)

// s3Operations asks a region for each operation that the SDK has of S3, of which there is
// no API model here, and says which of them the region has. The operations are asked for
// with nothing but the names of a bucket and an object: one that the region has answers,
// or finds fault with that.
func s3Operations(t *testing.T, region *sandbox.Light) (all, answered []string) {
	t.Helper()
	key, secret := region.Credentials()
	cfg := goSDK{endpoint: region.URL()}.config(call{Key: key, Secret: secret})
	client := s3.NewFromConfig(cfg, pathStyle, func(o *s3.Options) {
		o.DisableS3ExpressSessionAuth = aws.Bool(true)
		o.APIOptions = append(o.APIOptions, func(stack *middleware.Stack) error {
			_, _ = stack.Initialize.Remove("OperationInputValidation") // operations without rules lack it
			return nil
		})
	})
	ctx := t.Context()
	v := reflect.ValueOf(client)
	for i := range v.NumMethod() {
		name, method := v.Type().Method(i).Name, v.Method(i)
		switch {
		case method.Type().NumIn() != 3 || method.Type().In(0) != reflect.TypeFor[context.Context]():
			continue // no operation
		case name == "WriteGetObjectResponse" || name == "ListDirectoryBuckets":
			continue // of other endpoints
		}
		all = append(all, name)
		if _, err := client.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String("probed")}); err != nil && !strings.Contains(err.Error(), "BucketAlreadyOwnedByYou") {
			t.Fatal(err)
		}
		in := reflect.New(method.Type().In(1).Elem())
		for member, value := range map[string]string{"Bucket": "probed", "Key": "x", "Id": "x", "UploadId": "x", "CopySource": "probed/x", "RenameSource": "x", "AnnotationName": "x"} {
			if f := in.Elem().FieldByName(member); f.IsValid() {
				f.Set(reflect.ValueOf(aws.String(value)))
			}
		}
		results := method.Call([]reflect.Value{reflect.ValueOf(ctx), in})
		err, _ := results[1].Interface().(error)
		var api smithy.APIError
		switch {
		case err != nil && !errors.As(err, &api):
			t.Errorf("%s: %v", name, err)
		case err == nil || api.ErrorCode() != "NotImplemented" && api.ErrorCode() != "MethodNotAllowed":
			answered = append(answered, name)
		}
	}
	return all, answered
}
