package wire

import (
	"reflect"

	cloudwatch "github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	logs "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"
	dynamodb "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// unionWrappers returns, for the Go interface that stands for a union of the
// model, the struct that wraps each member. The SDK ties them only by name, and
// reflection cannot list the types that implement an interface.
func unionWrappers(union reflect.Type) map[string]reflect.Type {
	switch union {
	case reflect.TypeFor[dynamodb.AttributeValue]():
		return map[string]reflect.Type{
			"B":    reflect.TypeFor[dynamodb.AttributeValueMemberB](),
			"BOOL": reflect.TypeFor[dynamodb.AttributeValueMemberBOOL](),
			"BS":   reflect.TypeFor[dynamodb.AttributeValueMemberBS](),
			"L":    reflect.TypeFor[dynamodb.AttributeValueMemberL](),
			"M":    reflect.TypeFor[dynamodb.AttributeValueMemberM](),
			"N":    reflect.TypeFor[dynamodb.AttributeValueMemberN](),
			"NS":   reflect.TypeFor[dynamodb.AttributeValueMemberNS](),
			"NULL": reflect.TypeFor[dynamodb.AttributeValueMemberNULL](),
			"S":    reflect.TypeFor[dynamodb.AttributeValueMemberS](),
			"SS":   reflect.TypeFor[dynamodb.AttributeValueMemberSS](),
		}
	case reflect.TypeFor[cloudwatch.EvaluationCriteria]():
		return map[string]reflect.Type{
			"PromQLCriteria": reflect.TypeFor[cloudwatch.EvaluationCriteriaMemberPromQLCriteria](),
		}
	case reflect.TypeFor[logs.IntegrationDetails]():
		return map[string]reflect.Type{
			"openSearchIntegrationDetails": reflect.TypeFor[logs.IntegrationDetailsMemberOpenSearchIntegrationDetails](),
		}
	case reflect.TypeFor[logs.ResourceConfig]():
		return map[string]reflect.Type{
			"openSearchResourceConfig": reflect.TypeFor[logs.ResourceConfigMemberOpenSearchResourceConfig](),
		}
	}
	return nil
}
