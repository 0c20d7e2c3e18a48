package iam

import (
	"encoding/json"
	"net/url"
	"strings"
	"unicode"

	"pcluster/internal/sandbox/wire"
)

// Policy documents are kept as they were sent. What AWS refuses at once is
// refused here too; what their statements mean is nobody's business.

type document struct {
	Version   string
	Statement statements
}

type statement struct {
	Effect       string
	Action       any
	NotAction    any
	Resource     any
	NotResource  any
	Principal    any
	NotPrincipal any
}

// statements may be written as a list or as a single one.
type statements []statement

func (s *statements) UnmarshalJSON(text []byte) error {
	if strings.HasPrefix(strings.TrimSpace(string(text)), "{") {
		*s = make(statements, 1)
		return json.Unmarshal(text, &(*s)[0])
	}
	var list []statement
	err := json.Unmarshal(text, &list)
	*s = list
	return err
}

func malformed(format string, args ...any) error {
	return wire.Errorf("MalformedPolicyDocument", format, args...)
}

func parseDocument(text string) (document, error) {
	var d document
	if err := json.Unmarshal([]byte(text), &d); err != nil {
		return d, malformed("Syntax errors in policy.")
	}
	if d.Version != "" && d.Version != "2012-10-17" && d.Version != "2008-10-17" {
		return d, malformed("The policy is invalid: version %q is not one of 2012-10-17 and 2008-10-17", d.Version)
	}
	if len(d.Statement) == 0 {
		return d, malformed("Syntax errors in policy: it has no statement.")
	}
	for _, st := range d.Statement {
		if st.Effect != "Allow" && st.Effect != "Deny" {
			return d, malformed("Policy statement must have an effect, Allow or Deny.")
		}
		if st.Action == nil && st.NotAction == nil {
			return d, malformed("Policy statement must contain actions.")
		}
	}
	return d, nil
}

// checkPermissions checks the document of an inline or managed policy.
func checkPermissions(text string) error {
	d, err := parseDocument(text)
	if err != nil {
		return err
	}
	for _, st := range d.Statement {
		if st.Principal != nil || st.NotPrincipal != nil {
			return malformed("Policy document should not specify a principal.")
		}
		if st.Resource == nil && st.NotResource == nil {
			return malformed("Policy statement must contain resources.")
		}
	}
	return nil
}

// checkTrust checks a role's trust policy.
func checkTrust(text string) error {
	d, err := parseDocument(text)
	if err != nil {
		return err
	}
	for _, st := range d.Statement {
		if st.Resource != nil || st.NotResource != nil {
			return malformed("Has prohibited field Resource")
		}
		if st.Principal == nil && st.NotPrincipal == nil {
			return malformed("AssumeRole policy may only specify STS AssumeRole actions and must have a principal.")
		}
	}
	return nil
}

// documentSize is what counts towards IAM's limits: white space does not.
func documentSize(text string) int {
	n := 0
	for _, r := range text {
		if !unicode.IsSpace(r) {
			n++
		}
	}
	return n
}

// encoded returns a document as IAM's answers carry it: percent-encoded.
func encoded(text string) string {
	return strings.ReplaceAll(url.QueryEscape(text), "+", "%20")
}
