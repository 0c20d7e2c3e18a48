package cfn

// Role is AWS::IAM::Role.
type Role struct {
	RoleName                 Text `json:",omitempty"`
	Path                     string
	AssumeRolePolicyDocument PolicyDocument
	ManagedPolicyArns        []Text         `json:",omitempty"`
	Policies                 []InlinePolicy `json:",omitempty"`
	PermissionsBoundary      string         `json:",omitempty"`
	MaxSessionDuration       int            `json:",omitempty"` // seconds
	Tags                     Tags           `json:",omitempty"`
}

func (Role) kind() kind { return kind{"AWS::IAM::Role", []Attribute{Arn}} }

// InlinePolicy is a policy inside of a role.
type InlinePolicy struct {
	PolicyName     string
	PolicyDocument PolicyDocument
}

// Policy is AWS::IAM::Policy.
type Policy struct {
	PolicyName     Text
	PolicyDocument PolicyDocument
	Roles          []Text
}

func (Policy) kind() kind { return kind{"AWS::IAM::Policy", nil} }

// InstanceProfile is AWS::IAM::InstanceProfile.
type InstanceProfile struct {
	InstanceProfileName Text `json:",omitempty"`
	Path                string
	Roles               []Text
}

func (InstanceProfile) kind() kind { return kind{"AWS::IAM::InstanceProfile", []Attribute{Arn}} }

// A PolicyDocument of IAM.
type PolicyDocument struct {
	Version   string
	Statement []Statement
}

// Allow returns a policy of these statements.
func Allow(statements ...Statement) PolicyDocument {
	for i := range statements {
		statements[i].Effect = "Allow"
	}
	return PolicyDocument{"2012-10-17", statements}
}

// A Statement of a policy.
type Statement struct {
	Sid       string `json:",omitempty"`
	Effect    string
	Principal map[string]Text            `json:",omitempty"`
	Action    []string                   `json:",omitempty"`
	Resource  []Text                     `json:",omitempty"`
	Condition map[string]map[string]Text `json:",omitempty"`
}
