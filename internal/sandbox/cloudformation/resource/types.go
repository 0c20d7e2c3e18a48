package resource

// Services are the region's services that resources live in. The types of a
// service that is nil do not exist.
type Services struct {
	EC2            EC2
	IAM            IAM
	EFS            EFS
	FSx            FSx
	Logs           Logs
	DynamoDB       DynamoDB
	Route53        Route53
	Lambda         Lambda
	CloudWatch     CloudWatch
	S3             S3
	SecretsManager SecretsManager
	SSM            SSM
	ImageBuilder   ImageBuilder
	SNS            SNS
	ELBv2          ELBv2
	AutoScaling    AutoScaling
	Batch          Batch
	ECR            ECR
	CodeBuild      CodeBuild
}

// Types returns the resource types of the services, by name.
func Types(s Services) map[string]*Type {
	var all []*Type
	if s.EC2 != nil {
		all = append(all, networkTypes(s.EC2)...)
		all = append(all, securityGroupTypes(s.EC2)...)
		all = append(all, addressTypes(s.EC2)...)
		all = append(all, volumeTypes(s.EC2)...)
		all = append(all, instanceTypes(s.EC2, s.SSM)...)
	}
	if s.IAM != nil {
		all = append(all, iamTypes(s.IAM)...)
	}
	if s.EFS != nil {
		all = append(all, efsTypes(s.EFS)...)
	}
	if s.FSx != nil {
		all = append(all, fsxTypes(s.FSx)...)
	}
	if s.Logs != nil {
		all = append(all, logsTypes(s.Logs)...)
	}
	if s.DynamoDB != nil {
		all = append(all, dynamodbTypes(s.DynamoDB)...)
	}
	if s.Route53 != nil {
		all = append(all, route53Types(s.Route53)...)
	}
	if s.Lambda != nil {
		all = append(all, lambdaTypes(s.Lambda)...)
	}
	if s.CloudWatch != nil {
		all = append(all, cloudwatchTypes(s.CloudWatch)...)
	}
	if s.S3 != nil {
		all = append(all, s3Types(s.S3)...)
	}
	if s.SecretsManager != nil {
		all = append(all, secretTypes(s.SecretsManager)...)
	}
	if s.SSM != nil {
		all = append(all, ssmTypes(s.SSM)...)
	}
	if s.ELBv2 != nil {
		all = append(all, elbTypes(s.ELBv2)...)
	}
	if s.AutoScaling != nil {
		all = append(all, autoScalingTypes(s.AutoScaling)...)
	}
	if s.ImageBuilder != nil {
		all = append(all, imageBuilderTypes(s.ImageBuilder)...)
	}
	if s.SNS != nil {
		all = append(all, snsTypes(s.SNS)...)
	}
	if s.Batch != nil {
		all = append(all, batchTypes(s.Batch)...)
	}
	if s.ECR != nil {
		all = append(all, ecrTypes(s.ECR)...)
	}
	if s.CodeBuild != nil {
		all = append(all, codebuildTypes(s.CodeBuild)...)
	}
	types := make(map[string]*Type, len(all))
	for _, t := range all {
		types[t.Name] = t
	}
	return types
}

// Own returns a type that the engine itself provides, with the names of its
// properties ("*" allows any). Those in required must be there.
func Own(t Type, required []string, names ...string) *Type {
	t.properties = only(append(names, required...)...).requires(required...)
	return &t
}
