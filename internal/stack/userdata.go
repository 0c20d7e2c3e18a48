package stack

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"pcluster/internal/cfn"
	"pcluster/internal/node/spec"
)

// maxUserData is what EC2 takes, before it is encoded.
const maxUserData = 16384

// variable marks the place of a value that CloudFormation fills in. The mark
// passes through JSON and shell as it is, and nothing that users write can
// contain it, since it has a control character.
func variable(name string) string { return "\x01" + name + "\x02" }

// stackARN is filled in with the ARN of the stack that the user data is in.
var stackARN = variable("AWS::StackId")

// substitute turns text with marks into Fn::Sub.
func substitute(text string, values map[string]cfn.Text) cfn.Text {
	text = strings.NewReplacer("\x01", "${", "\x02", "}").Replace(cfn.Literal(text))
	return cfn.Sub(text, values)
}

// A script is the user data of a kind of nodes.
type script struct {
	node      spec.Node
	values    map[string]cfn.Text // of variables in node
	proxy     string
	timeout   int // seconds that the boot may take; 0 if the stack watches the time
	onFailure string
	oneThread bool // per core
}

// What a node does when it can't even start its program. $1 is the reason.
const (
	// signalFailure tells the stack, whose events show the reason.
	signalFailure = `  curl -sf --retry 5 --max-time 60 -X PUT -H 'Content-Type:' --data-binary \
    "{\"Status\":\"FAILURE\",\"UniqueId\":\"user-data\",\"Data\":\"\",\"Reason\":\"Failed to bootstrap the head node: $1\"}" "$handle"
  exit 1`
	// powerOff ends the instance, by its launch template; the fleet replaces it.
	powerOff = `  sleep 5 # for the console output
  poweroff
  exit 1`
)

// userData writes the node's description and a script that fetches the node
// program, unless the image has the right one, and hands over to it.
func (b *builder) userData(s script) cfn.Text {
	description, err := indentedJSON(spec.File{Cluster: s.node})
	if err != nil {
		b.errorf("user data: %w", err)
	}
	var text strings.Builder
	text.WriteString(`Content-Type: multipart/mixed; boundary="==NODE=="
MIME-Version: 1.0

--==NODE==
Content-Type: text/cloud-config; charset="us-ascii"

package_update: false
package_upgrade: false
repo_upgrade: none
`)
	if s.oneThread {
		text.WriteString(oneThreadPerCore)
	}
	text.WriteString(`
--==NODE==
Content-Type: text/x-shellscript; charset="us-ascii"

#!/bin/bash
# Says what this node is, fetches the node program and hands over to it.
export PATH=/usr/local/sbin:/usr/local/bin:/sbin:/bin:/usr/sbin:/usr/bin:/opt/aws/bin
`)
	text.WriteString(proxySettings(s.proxy))
	fmt.Fprintf(&text, "mkdir -p /etc/parallelcluster /opt/parallelcluster/bin\n(umask 077; cat > %s) <<'NODE'\n%s\nNODE\n", spec.Path, description)
	if s.node.WaitHandle != "" {
		fmt.Fprintf(&text, "handle='%s'\n", s.node.WaitHandle)
	}
	fmt.Fprintf(&text, "fail() {\n  echo \"pcluster: $1\" >&2\n%s\n}\n", s.onFailure)

	text.WriteString("case $(uname -m) in\n")
	for _, arch := range slices.Sorted(maps.Keys(b.p.Programs)) {
		machine := map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[arch]
		fmt.Fprintf(&text, "%s) sum=%s; key=%s ;;\n", machine, b.p.Programs[arch], ProgramKey(b.p.Programs[arch], arch))
	}
	text.WriteString("*) fail \"no node program for $(uname -m)\" ;;\nesac\n")
	fmt.Fprintf(&text, "bucket=%s region=%s host=%s.s3.%s.%s\n", b.p.Bucket, b.p.Region, b.p.Bucket, b.p.Region, b.urlSuffix())
	text.WriteString(fetchProgram)
	run := `exec "$program" boot`
	if s.timeout > 0 {
		run = `timeout -k 30 ` + strconv.Itoa(s.timeout) + ` "$program" boot || fail "boot failed with status $?"`
	}
	text.WriteString(run + "\n--==NODE==--\n")

	if n := text.Len(); n > maxUserData-1024 { // room for what CloudFormation fills in
		b.errorf("user data of %s has %d bytes, too many for EC2", s.node.NodeType, n)
	}
	return cfn.Base64(substitute(text.String(), s.values))
}

// oneThreadPerCore turns the other threads off, at every boot. The kernel can do it on
// all kinds of instances; CPU options of EC2 are not for bare metal, and differ between
// the types that a compute resource may have.
const oneThreadPerCore = `bootcmd:
- [sh, -c, "echo off > /sys/devices/system/cpu/smt/control || echo this machine does not let threads be turned off"]
`

// indentedJSON writes JSON that people can read, without escapes for HTML.
func indentedJSON(v any) (string, error) {
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	e.SetIndent("", " ")
	err := e.Encode(v)

	return strings.TrimRight(unmark(out.String()), "\n"), err
}

// proxySettings are for this script, package managers and people's shells.
func proxySettings(proxy string) string {
	if proxy == "" {
		return ""
	}
	quoted := "'" + strings.ReplaceAll(proxy, "'", `'\''`) + "'"
	host, port := proxy, ""
	if u, err := url.Parse(proxy); err == nil {
		host, port = u.Hostname(), u.Port()
	}
	return `proxy=` + quoted + `
cat > /etc/profile.d/proxy.sh <<PROXY
export http_proxy="$proxy" https_proxy="$proxy" no_proxy=localhost,127.0.0.1,169.254.169.254
export HTTP_PROXY="$proxy" HTTPS_PROXY="$proxy" NO_PROXY=localhost,127.0.0.1,169.254.169.254
PROXY
. /etc/profile.d/proxy.sh
printf '[Boto]\nproxy = %s\nproxy_port = %s\n' '` + host + `' '` + port + `' > /etc/boto.cfg
for f in /etc/dnf/dnf.conf /etc/yum.conf; do [ -f $f ] && ! grep -q ^proxy= $f && echo "proxy=$proxy" >> $f; done
[ -d /etc/apt/apt.conf.d ] && echo "Acquire::http::Proxy \"$proxy\";" > /etc/apt/apt.conf.d/99proxy
`
}

// fetchProgram brings the program whose checksum is $sum. Older versions of curl
// can't sign with session tokens, and then the AWS CLI of the image does it. The
// credentials go to curl by its standard input, out of other processes' sight.
const fetchProgram = `program=/opt/parallelcluster/bin/pcluster-node
good() { echo "$sum  $1" | sha256sum -c --status 2>/dev/null; }
metadata() { curl -sf --retry 5 --max-time 10 -H "X-aws-ec2-metadata-token: $token" "http://169.254.169.254/latest/$1"; }
by_curl() {
  token=$(curl -sf --retry 5 --max-time 10 -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 300' http://169.254.169.254/latest/api/token)
  role=$(metadata meta-data/iam/security-credentials/) || return 1
  credentials=$(metadata "meta-data/iam/security-credentials/$role") || return 1
  value() { sed -n "s/.*\"$1\" *: *\"\([^\"]*\)\".*/\1/p" <<<"$credentials"; }
  curl -sf --max-time 120 --aws-sigv4 "aws:amz:$region:s3" -o "$1" -K - "https://$host/$key" <<END
user = "$(value AccessKeyId):$(value SecretAccessKey)"
header = "x-amz-security-token: $(value Token)"
header = "x-amz-content-sha256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
END
}
by_cli() { aws s3 cp --region "$region" --only-show-errors "s3://$bucket/$key" "$1"; }
new=$program.new
for attempt in 1 2 3 4 5; do
  good "$program" && break
  [ $attempt -gt 1 ] && sleep $attempt
  for way in by_curl by_cli; do
    $way "$new" && good "$new" && chmod 755 "$new" && mv "$new" "$program" && break 2
  done
done
good "$program" || fail "the node program s3://$bucket/$key can't be fetched"
`

// unmark restores the marks of variables, which JSON writes as escapes.
func unmark(json string) string {
	return strings.NewReplacer(`\u0001`, "\x01", `\u0002`, "\x02").Replace(json)
}
