package policy

import (
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func parse(t testing.TB, statement string) Document {
	t.Helper()
	d, err := Parse(`{"Version":"2012-10-17","Statement":` + statement + `}`)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestEvaluate(t *testing.T) {
	const tagged = `{"Effect":"Allow","Action":"ec2:TerminateInstances","Resource":"arn:aws:ec2:us-east-1:1:instance/*","Condition":{"StringEquals":{"aws:ResourceTag/cluster":"a"}}}`
	instance := Request{Action: "ec2:TerminateInstances", Resource: "arn:aws:ec2:us-east-1:1:instance/i-1"}
	for name, tt := range map[string]struct {
		statement string
		request   Request
		want      Decision
	}{
		"nothing is allowed by itself":         {`[]`, instance, NotAllowed},
		"any action on anything":               {`{"Effect":"Allow","Action":"*","Resource":"*"}`, instance, Allowed},
		"actions are not case-sensitive":       {`{"Effect":"Allow","Action":"EC2:terminate*","Resource":"*"}`, instance, Allowed},
		"resources are":                        {`{"Effect":"Allow","Action":"*","Resource":"arn:aws:ec2:us-east-1:1:INSTANCE/*"}`, instance, NotAllowed},
		"a star reaches over slashes":          {`{"Effect":"Allow","Action":"s3:Get*","Resource":"arn:aws:s3:::b/*"}`, Request{Action: "s3:GetObject", Resource: "arn:aws:s3:::b/x/y"}, Allowed},
		"but not to the bucket itself":         {`{"Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s3:::b/*"}`, Request{Action: "s3:ListBucket", Resource: "arn:aws:s3:::b"}, NotAllowed},
		"a denial wins":                        {`[{"Effect":"Allow","Action":"*","Resource":"*"},{"Effect":"Deny","Action":"ec2:*","Resource":"*"}]`, instance, Denied},
		"all but some actions":                 {`{"Effect":"Allow","NotAction":"iam:*","Resource":"*"}`, instance, Allowed},
		"all but some resources":               {`{"Effect":"Allow","Action":"*","NotResource":"arn:aws:ec2:*"}`, instance, NotAllowed},
		"tag of the resource":                  {tagged, instance.With("aws:ResourceTag/cluster", "a"), Allowed},
		"another tag":                          {tagged, instance.With("aws:ResourceTag/cluster", "b"), NotAllowed},
		"no tag":                               {tagged, instance, NotAllowed},
		"keys are not case-sensitive":          {tagged, instance.With("aws:resourcetag/CLUSTER", "a"), Allowed},
		"a negated operator holds without key": {`{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringNotEquals":{"aws:ResourceTag/x":"1"}}}`, instance, Allowed},
		"IfExists holds without key":           {`{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringEqualsIfExists":{"x:y":"1"}}}`, instance, Allowed},
		"IfExists with key":                    {`{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringEqualsIfExists":{"x:y":"1"}}}`, instance.With("x:y", "2"), NotAllowed},
		"Null":                                 {`{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"Null":{"x:y":"true"}}}`, instance, Allowed},
		"Null false":                           {`{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"Null":{"x:y":false}}}`, instance, NotAllowed},
		"every tag key has to be allowed":      {`{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"ForAllValues:StringEquals":{"aws:TagKeys":["a","b"]}}}`, instance.With("aws:TagKeys", "a", "c"), NotAllowed},
		"no tag key at all":                    {`{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"ForAllValues:StringEquals":{"aws:TagKeys":["a","b"]}}}`, instance, Allowed},
		"one tag key is enough":                {`{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"ForAnyValue:StringEquals":{"aws:TagKeys":["a","b"]}}}`, instance.With("aws:TagKeys", "a", "c"), Allowed},
		"all conditions have to hold":          {`{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringEquals":{"a:b":"1","c:d":"2"}}}`, instance.With("a:b", "1"), NotAllowed},
		"numbers":                              {`{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"NumericLessThanEquals":{"s3:max-keys":10}}}`, instance.With("s3:max-keys", "10"), Allowed},
		"dates":                                {`{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"DateLessThan":{"aws:CurrentTime":"2026-01-01T00:00:00Z"}}}`, instance.With("aws:CurrentTime", "2025-12-31T23:59:59Z"), Allowed},
		"addresses":                            {`{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"IpAddress":{"aws:SourceIp":"10.0.0.0/8"}}}`, instance.With("aws:SourceIp", "10.1.2.3"), Allowed},
		"ARNs part by part":                    {`{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"ArnLike":{"x:arn":"arn:aws:s3:*"}}}`, instance.With("x:arn", "arn:aws:s3:::b"), NotAllowed},
		"policy variables":                     {`{"Effect":"Allow","Action":"*","Resource":"arn:aws:iam::1:user/${aws:username}"}`, Request{Action: "iam:GetUser", Resource: "arn:aws:iam::1:user/ann"}.With("aws:username", "ann"), Allowed},
		"unknown policy variables":             {`{"Effect":"Allow","Action":"*","Resource":"arn:aws:iam::1:user/${aws:username}"}`, Request{Action: "iam:GetUser", Resource: "arn:aws:iam::1:user/"}, NotAllowed},
	} {
		t.Run(name, func(t *testing.T) {
			var documents []Document
			if tt.statement != "[]" {
				documents = append(documents, parse(t, tt.statement))
			}
			if got := Evaluate(documents, nil, tt.request); got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
		})
	}
}

func TestBoundaryHasToAllowToo(t *testing.T) {
	all := parse(t, `{"Effect":"Allow","Action":"*","Resource":"*"}`)
	boundary := parse(t, `{"Effect":"Allow","Action":"ec2:*","Resource":"*"}`)
	for action, want := range map[string]Decision{"ec2:RunInstances": Allowed, "iam:CreateRole": NotAllowed} {
		if got := Evaluate([]Document{all}, &boundary, Request{Action: action, Resource: "*"}); got != want {
			t.Errorf("%s: %s, want %s", action, got, want)
		}
	}
	if got := Evaluate(nil, &boundary, Request{Action: "ec2:RunInstances", Resource: "*"}); got != NotAllowed {
		t.Errorf("a boundary alone: %s, want %s", got, NotAllowed)
	}
}

func TestParseRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"no JSON":            `{`,
		"another version":    `{"Version":"2020-01-01","Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}`,
		"no statement":       `{"Version":"2012-10-17","Statement":[]}`,
		"unknown element":    `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Actions":"*","Resource":"*"}}`,
		"unknown effect":     `{"Version":"2012-10-17","Statement":{"Effect":"allow","Action":"*","Resource":"*"}}`,
		"no action":          `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Resource":"*"}}`,
		"action of nothing":  `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"RunInstances","Resource":"*"}}`,
		"two kinds of them":  `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","NotAction":"*","Resource":"*"}}`,
		"unknown operator":   `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringIs":{"a":"b"}}}}`,
		"condition of lists": `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringEquals":{"a":[["b"]]}}}}`,
		"two documents":      `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*"}} {}`,
	} {
		if _, err := Parse(text); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

// Like is held against regular expressions.
func TestLike(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pattern := rapid.StringMatching(`[ab/*?]{0,8}`).Draw(t, "pattern")
		name := rapid.StringMatching(`[ab/]{0,8}`).Draw(t, "name")
		expr := strings.NewReplacer(`\*`, `.*`, `\?`, `.`).Replace(regexp.QuoteMeta(pattern))
		if got, want := Like(pattern, name), regexp.MustCompile(`^`+expr+`$`).MatchString(name); got != want {
			t.Fatalf("Like(%q, %q) = %v", pattern, name, got)
		}
	})
}

func FuzzParse(f *testing.F) {
	f.Add(`{"Version":"2012-10-17","Statement":[{"Sid":"a","Effect":"Allow","Principal":{"AWS":"*"},"Action":["ec2:*"],"Resource":"${aws:username}","Condition":{"Bool":{"a":true}}}]}`)
	f.Fuzz(func(t *testing.T, text string) {
		d, err := Parse(text)
		if err == nil {
			Evaluate([]Document{d}, nil, Request{Action: "ec2:RunInstances", Resource: "*", Context: map[string][]string{"a": {"true"}}})
		}
	})
}
