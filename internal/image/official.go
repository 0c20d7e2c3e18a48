package image

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"pcluster/internal/cluster"
	"pcluster/internal/config"
	"pcluster/internal/facts"
)

// OfficialImages are the AMIs that AWS publishes (ListOfficialImagesResponse).
type OfficialImages struct {
	Images []AMI `json:"images"`
}

// An AMI is one of them (AmiInfo). Clients want all keys.
type AMI struct {
	ID           string `json:"amiId"`
	OS           string `json:"os"`
	Name         string `json:"name"`
	Version      string `json:"version"`
	Architecture string `json:"architecture"`
}

// officialNames are the operating systems that can be asked for, with the part of
// the AMIs' names that stands for them.
func officialNames() map[string]string {
	names := maps.Clone(facts.OfficialNames)
	// Not published, but a legal question: the answer is empty.
	names["rocky8"], names["rocky9"] = "rocky8-hvm", "rocky9-hvm"
	return names
}

var architectures = []string{"x86_64", "arm64"}

// ListOfficial returns the newest official AMI for each operating system and
// architecture; empty arguments stand for all.
func ListOfficial(ctx context.Context, o *cluster.Operator, os, architecture string) (*OfficialImages, error) {
	names := officialNames()
	var mistakes []string
	if os != "" && names[os] == "" {
		known := slices.DeleteFunc(config.OperatingSystems(), func(s string) bool { return names[s] == "" })
		mistakes = append(mistakes, notOneOf(os, known))
	}
	if architecture != "" && !slices.Contains(architectures, architecture) {
		mistakes = append(mistakes, notOneOf(architecture, architectures))
	}
	if len(mistakes) > 0 {
		return nil, badRequest("%s", strings.Join(mistakes, "; "))
	}
	pattern := fmt.Sprintf("aws-parallelcluster-%s.*-%s-%s*", facts.Release(), cmp.Or(names[os], "*"), cmp.Or(architecture, "*"))
	newest := map[[2]string]ec2types.Image{}
	in := &ec2.DescribeImagesInput{
		Owners: []string{"amazon"}, IncludeDeprecated: aws.Bool(true), Filters: []ec2types.Filter{{Name: aws.String("name"), Values: []string{pattern}}},
	}
	for {
		out, err := o.EC2.DescribeImages(ctx, in)
		if err != nil {
			return nil, fmt.Errorf("official images: %w", err)
		}
		for _, i := range out.Images {
			key := [2]string{systemOf(aws.ToString(i.Name), names), string(i.Architecture)}
			if old, ok := newest[key]; !ok || newer(i, old) {
				newest[key] = i
			}
		}
		if in.NextToken = out.NextToken; in.NextToken == nil {
			break
		}
	}
	list := &OfficialImages{Images: []AMI{}}
	for key, i := range newest {
		list.Images = append(list.Images, AMI{
			ID: aws.ToString(i.ImageId), OS: key[0], Name: aws.ToString(i.Name), Version: config.ToolVersion, Architecture: key[1],
		})
	}
	slices.SortFunc(list.Images, func(a, b AMI) int {
		return cmp.Or(cmp.Compare(a.OS, b.OS), cmp.Compare(a.Architecture, b.Architecture))
	})
	return list, nil
}

func notOneOf(value string, known []string) string {
	return fmt.Sprintf("%s is not one of ['%s']", value, strings.Join(known, "', '"))
}

// systemOf returns the operating system that the name of an AMI tells.
func systemOf(name string, names map[string]string) string {
	for os, part := range names {
		if strings.Contains(name, "-"+part+"-") {
			return os
		}
	}
	return "linux"
}

// newer reports whether an AMI is to be taken instead of another: one that is not
// deprecated, else the one that was made later.
func newer(a, b ec2types.Image) bool {
	if x, y := aws.ToString(a.DeprecationTime) == "", aws.ToString(b.DeprecationTime) == ""; x != y {
		return x
	}
	return aws.ToString(a.CreationDate) > aws.ToString(b.CreationDate)
}
