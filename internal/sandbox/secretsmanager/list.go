package secretsmanager

import (
	"context"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"pcluster/internal/sandbox/page"
	"pcluster/internal/sandbox/wire"
)

// ListSecrets lists secrets by name.
func (s *Service) ListSecrets(_ context.Context, in *sm.ListSecretsInput) (*sm.ListSecretsOutput, error) {
	var found []secret
	for _, r := range s.secrets.All() {
		if s.over(r) || !r.Deleted.IsZero() && !aws.ToBool(in.IncludePlannedDeletion) || !r.fits(in.Filters) {
			continue
		}
		found = append(found, r)
	}
	rows, next, err := page.Of(found, func(r secret) string { return r.Name }, in.NextToken, page.Limit(in.MaxResults, 100))
	if err != nil {
		return nil, wire.Errorf("InvalidNextTokenException", "The NextToken value is invalid.")
	}
	out := &sm.ListSecretsOutput{NextToken: next}
	for _, r := range rows {
		out.SecretList = append(out.SecretList, types.SecretListEntry{
			ARN: &r.ARN, Name: &r.Name, Description: text(r.Description), KmsKeyId: text(r.KMSKey), Tags: sdkTags(r.Tags), CreatedDate: &r.Created,
			LastChangedDate: &r.Changed, LastAccessedDate: date(r.Accessed), DeletedDate: date(r.Deleted), SecretVersionsToStages: r.stages(),
		})
	}
	if in.SortOrder == types.SortOrderTypeDesc {
		slices.Reverse(out.SecretList)
	}
	return out, nil
}

// fits reports whether a secret passes all filters. Values match by prefix; one
// that begins with ! must not match.
func (r *secret) fits(filters []types.Filter) bool {
	for _, f := range filters {
		var have []string
		switch f.Key {
		case types.FilterNameStringTypeName:
			have = []string{r.Name}
		case types.FilterNameStringTypeDescription:
			have = []string{r.Description}
		case types.FilterNameStringTypeTagKey:
			for _, t := range r.Tags {
				have = append(have, t.Key)
			}
		case types.FilterNameStringTypeTagValue:
			for _, t := range r.Tags {
				have = append(have, t.Value)
			}
		case types.FilterNameStringTypeAll:
			have = []string{r.Name, r.Description}
			for _, t := range r.Tags {
				have = append(have, t.Key, t.Value)
			}
		}
		if !slices.ContainsFunc(f.Values, func(want string) bool {
			want, not := strings.CutPrefix(want, "!")
			return not != slices.ContainsFunc(have, func(h string) bool { return strings.HasPrefix(h, want) })
		}) {
			return false
		}
	}
	return true
}

// GetRandomPassword makes up a password.
func (s *Service) GetRandomPassword(_ context.Context, in *sm.GetRandomPasswordInput) (*sm.GetRandomPasswordOutput, error) {
	kinds := []string{}
	add := func(excluded *bool, chars string) {
		chars = strings.Map(func(r rune) rune {
			if strings.ContainsRune(aws.ToString(in.ExcludeCharacters), r) {
				return -1
			}
			return r
		}, chars)
		if !aws.ToBool(excluded) && chars != "" {
			kinds = append(kinds, chars)
		}
	}
	add(in.ExcludeLowercase, "abcdefghijklmnopqrstuvwxyz")
	add(in.ExcludeUppercase, "ABCDEFGHIJKLMNOPQRSTUVWXYZ")
	add(in.ExcludeNumbers, "0123456789")
	add(in.ExcludePunctuation, "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")
	if aws.ToBool(in.IncludeSpace) {
		add(nil, " ")
	}
	n := 32
	if in.PasswordLength != nil {
		n = int(*in.PasswordLength)
	}
	if len(kinds) == 0 || n < len(kinds) {
		return nil, wire.Errorf("InvalidParameterException", "The password length %d is too short, or all characters are excluded.", n)
	}
	every := in.RequireEachIncludedType == nil || *in.RequireEachIncludedType
	for {
		p := randomText(n, strings.Join(kinds, ""))
		if !every || !slices.ContainsFunc(kinds, func(k string) bool { return !strings.ContainsAny(p, k) }) {
			return &sm.GetRandomPasswordOutput{RandomPassword: &p}, nil
		}
	}
}
