//go:build linux

package sandbox

import (
	"context"
	"errors"
	"reflect"
	"testing"

	"pcluster/internal/sandbox/cloudformation/resource"
)

// Every call that stacks' resources make is asked for. A method that is not would reach
// the service, which is nil here.
func TestStacksAskBeforeEachCall(t *testing.T) {
	refusal := errors.New("refused")
	no := func(context.Context, string, string, any) error { return refusal }
	for as, service := range map[reflect.Type]any{
		reflect.TypeFor[resource.EC2](): ec2For{ask: no}, reflect.TypeFor[resource.IAM](): iamFor{ask: no}, reflect.TypeFor[resource.IAMUsers](): iamFor{ask: no},
		reflect.TypeFor[resource.EFS](): efsFor{ask: no}, reflect.TypeFor[resource.FSx](): fsxFor{ask: no}, reflect.TypeFor[resource.Logs](): logsFor{ask: no},
		reflect.TypeFor[resource.DynamoDB](): dynamodbFor{ask: no}, reflect.TypeFor[resource.Route53](): route53For{ask: no}, reflect.TypeFor[resource.Lambda](): lambdaFor{ask: no},
		reflect.TypeFor[resource.CloudWatch](): cloudwatchFor{ask: no}, reflect.TypeFor[resource.SecretsManager](): secretsmanagerFor{ask: no}, reflect.TypeFor[resource.SSM](): ssmFor{ask: no},
		reflect.TypeFor[resource.ELBv2](): elbv2For{ask: no}, reflect.TypeFor[resource.AutoScaling](): autoscalingFor{ask: no},
		reflect.TypeFor[resource.ImageBuilder](): imagebuilderFor{ask: no}, reflect.TypeFor[resource.SNS](): snsFor{ask: no},
		reflect.TypeFor[resource.Batch](): batchFor{ask: no}, reflect.TypeFor[resource.ECR](): ecrFor{ask: no}, reflect.TypeFor[resource.CodeBuild](): codebuildFor{ask: no},
	} {
		for i := range as.NumMethod() {
			name := as.Method(i).Name
			method := reflect.ValueOf(service).MethodByName(name)
			if method.Type().NumIn() != 2 || method.Type().In(1).Kind() != reflect.Pointer {
				continue // not a call of AWS's API
			}
			out := method.Call([]reflect.Value{reflect.ValueOf(t.Context()), reflect.New(method.Type().In(1).Elem())})
			if err, _ := out[len(out)-1].Interface().(error); !errors.Is(err, refusal) {
				t.Errorf("%s.%s is not asked for: %v", as, name, err)
			}
		}
	}
}
