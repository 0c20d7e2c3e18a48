//go:build linux

package imagebuilder

import (
	"embed"
	"fmt"
	"path"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/imagebuilder/types"

	"pcluster/internal/component"
)

// What Amazon brings. Images are the region's own with the users of an operating
// system; components have the names of Amazon's and documents of ours.

// managedImages are the images of Image Builder's own, by their name without the
// architecture at its end, and the operating system that each is.
var managedImages = map[string]string{
	"amazon-linux-2": "alinux2", "amazon-linux-2023": "alinux2023",
	"ubuntu-server-22-lts": "ubuntu2204", "ubuntu-server-24-lts": "ubuntu2404",
	"red-hat-enterprise-linux-8": "rhel8", "red-hat-enterprise-linux-9": "rhel9",
	"rocky-linux-8": "rocky8", "rocky-linux-9": "rocky9", "debian-12": "debian12",
}

//go:embed managed/*.yaml
var managedDocuments embed.FS

// managedVersion is the version of all components that Amazon brings here.
const managedVersion = "1.0.2"

// managedComponents are the components that Amazon brings, without their ARNs.
var managedComponents = sync.OnceValue(func() []types.Component {
	entries, err := managedDocuments.ReadDir("managed")
	if err != nil {
		panic(err) // an embedded tree
	}
	var all []types.Component
	for _, e := range entries { // in the order of names
		text, err := managedDocuments.ReadFile(path.Join("managed", e.Name()))
		if err != nil {
			panic(err)
		}
		doc, problems := component.Parse(text)
		if err := problems.Err(); err != nil {
			panic(fmt.Sprintf("%s: %v", e.Name(), err))
		}
		all = append(all, types.Component{
			Name: &doc.Name, Description: &doc.Description, Version: aws.String(managedVersion), Platform: types.PlatformLinux, Type: typeOf(doc),
			Owner: aws.String("Amazon"), Data: aws.String(string(text)), Encrypted: aws.Bool(true), DateCreated: aws.String("2025-10-01T12:00:00.000Z"),
			State: &types.ComponentState{Status: types.ComponentStatusActive},
		})
	}
	return all
})

// amazonComponents are the components that Amazon brings to this region.
func (s *Service) amazonComponents() []types.Component {
	all := append([]types.Component(nil), managedComponents()...)
	for i := range all {
		all[i].Arn = aws.String(strings.Join([]string{"arn:aws:imagebuilder", s.id.Name(), "aws", "component/" + *all[i].Name + "/" + managedVersion + "/1"}, ":"))
	}
	return all
}
