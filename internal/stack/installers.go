package stack

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"

	"pcluster/internal/config"
)

// Software that images get from its makers, since operating systems don't have it, or
// not in a version that clusters can use. What is fetched is compared with a checksum,
// or comes from a repository whose packages are signed with a key of this fingerprint.
// Newer versions come with their checksums, or not at all.
//
// Where the facts are from:
//   - Slurm, PMIx, DCV: ParallelCluster's cookbook (Slurm's as of 3.16.0), whose checksums
//     are of the files in AWS's public buckets. Slurm's is of the archive that GitHub makes
//     of the tag; DCV's are in its document.
//   - EFS: the cookbook of 3.12. Later ones need a newer Rust than operating systems have.
//   - munge: the release on GitHub. The cookbook, Spack's and Yocto's recipes have its checksum.
//   - EFA: the address is AWS documentation's (Get started with EFA and MPI); version and
//     checksum stand in seven public recipes that fetch it.
//   - NVIDIA's fingerprints: NVIDIA CUDA Installation Guide for Linux.
//
// The key of FSx's repositories has no published fingerprint: it is trusted as it comes
// over HTTPS. (FSx for Lustre User Guide: Installing the Lustre client.)
var sources = []source{
	{name: "SLURM", group: "slurm", versionKey: "version", version: "25-11-6-1",
		base: awsArchives + "/slurm", file: "slurm-%s.tar.gz", sum: "2e305a5cc051d08ded4d710e349636b6a054da2c371bbce85797744b693ca790"},
	{name: "PMIX", group: "pmix", versionKey: "version", version: "5.0.11",
		base: awsArchives + "/pmix", file: "pmix-%s.tar.gz", sum: "11d91183c4fd77117d9e7f186a1f4fde182895314b18fc5783fee7e2e5595e88"},
	{name: "MUNGE", group: "munge", versionKey: "munge_version", version: "0.5.18",
		base: "https://github.com/dun/munge/releases/download/munge-0.5.18", file: "munge-%s.tar.xz", otherFile: "munge-%s.tar.gz",
		sum: "39c3ec6ef5604bfa206e8aa10fc05d5119040f6de4a554bc0fb98ca1aed838dc"},
	{name: "EFA", group: "efa", versionKey: "version", version: "1.50.0",
		base: "https://efa-installer.amazonaws.com", file: "aws-efa-installer-%s.tar.gz", sum: "fa6dff8593d866866c13cb4640d9059835cd4efa427971f100ab40c97bef2841"},
	{name: "EFS", version: "1.34.1",
		base: awsArchives + "/efs", file: "v%s.tar.gz", sum: "69d0d8effca3b58ccaf4b814960ec1d16263807e508b908975c2627988c7eb6c"},
}

const (
	nvidiaDebKey = "EB693B3035CD5710E231E123A4B469963BF863CC"
	nvidiaRPMKey = "610C7B14E068A878070DA4E99CD0A493D42D0685"

	awsArchives = "https://REGION-aws-parallelcluster.s3.REGION.SUFFIX/archives/dependencies"
)

// A source is an archive that a document fetches. Image files may name another by the
// attributes that ParallelCluster's cookbook has for it.
type source struct {
	name       string // of the blanks in documents
	group      string // of the attributes below cluster; none if there are none
	versionKey string
	version    string
	base       string
	file       string // its name, of the version
	otherFile  string // where base_url leads, if it is called otherwise there
	sum        string // SHA-256
}

// fetchFunction is what documents fetch archives with: it unpacks one in a folder of
// its own, if its checksum is the one that was given. What it says last is what a build
// that ends there has as its reason. The folder goes with the shell, so that images don't
// keep a gigabyte of Slurm's objects; that of a build that fails stays to be looked at.
const fetchFunction = `fetch() { built=$(mktemp -d); trap "[ \$? != 0 ] || { cd /; rm -rf '$built'; }" EXIT; cd "$built"; ` +
	`curl -sSfL --retry 3 -o archive "$1" || { echo "$1 can't be fetched" >&2; return 1; }; ` +
	`echo "$2  archive" | sha256sum -c || { echo "$1 is not the archive with the checksum $2" >&2; return 1; }; ` +
	`tar xf archive --strip-components=1 --no-same-owner; }`

// plainAttribute is what can stand between the quotes of a script.
var plainAttribute = regexp.MustCompile(`^[A-Za-z0-9._:/@~+%?=&-]+$`)

// attributesPath is where an image file names sources of software.
const attributesPath = "DevSettings.Cookbook.ExtraChefAttributes"

// CheckImageSources says what is wrong with the sources of software that an image file
// names. SynthesizeImage refuses it, too, so that nobody can suppress it.
func CheckImageSources(f *config.ImageFile) (found config.Problems) {
	if f.DevSettings.DisablePclusterComponent {
		return nil
	}
	_, errs := installerBlanks(f.DevSettings.Cookbook.ExtraChefAttributes, "", "")
	for _, err := range errs {
		found = append(found, config.Problem{Level: config.Error, Validator: "ExtraChefAttributesValidator", Path: attributesPath, Pos: f.Pos(attributesPath), Message: err.Error()})
	}
	return found
}

// installerBlanks are the blanks of documents that install what comes from its makers,
// with what the image file's attributes (DevSettings/Cookbook/ExtraChefAttributes) say
// instead. A version that the file names comes with ASKED, too.
func installerBlanks(attributes, region, suffix string) (map[string]string, []error) {
	var given struct {
		Cluster map[string]json.RawMessage `json:"cluster"`
	}
	if attributes != "" {
		if err := json.Unmarshal([]byte(attributes), &given); err != nil {
			return nil, []error{err}
		}
	}
	out := map[string]string{"FETCH": fetchFunction, "NVIDIA_DEB_KEY": nvidiaDebKey, "NVIDIA_RPM_KEY": nvidiaRPMKey}
	var errs []error
	for _, s := range sources {
		s.base = strings.NewReplacer("REGION", region, "SUFFIX", suffix).Replace(s.base)
		asked, err := s.with(given.Cluster[s.group])
		if err != nil {
			errs = append(errs, err)
		}
		out[s.name+"_URL"], out[s.name+"_SUM"] = asked.base+"/"+fmt.Sprintf(asked.file, asked.version), asked.sum
		out[s.name+"_ASKED"] = ""
		if asked != s {
			out[s.name+"_ASKED"] = asked.version
		}
	}
	return out, errs
}

// with returns the source that attributes ask for.
func (s source) with(attributes json.RawMessage) (source, error) {
	if s.group == "" || len(attributes) == 0 {
		return s, nil
	}
	var given map[string]any // the cookbook has more attributes than those looked at here
	if err := json.Unmarshal(attributes, &given); err != nil {
		return s, fmt.Errorf("cluster.%s has to be an object", s.group)
	}
	out := s
	for _, a := range []struct {
		key  string
		into *string
	}{{s.versionKey, &out.version}, {"sha256", &out.sum}, {"base_url", &out.base}} {
		value, ok := given[a.key]
		if !ok {
			continue
		}
		text, ok := value.(string)
		if !ok || !plainAttribute.MatchString(text) {
			return s, fmt.Errorf("cluster.%s.%s can't be %v", s.group, a.key, value)
		}
		*a.into = strings.TrimSuffix(text, "/")
	}
	if out.version != s.version && out.sum == s.sum {
		return s, fmt.Errorf("cluster.%s.%s needs a cluster.%s.sha256 beside it, the checksum of what is fetched", s.group, s.versionKey, s.group)
	}
	if out.base == s.base {
		out.base = strings.ReplaceAll(s.base, s.version, out.version) // of a release on GitHub
	} else if s.otherFile != "" {
		out.file = s.otherFile
	}
	return out, nil
}
