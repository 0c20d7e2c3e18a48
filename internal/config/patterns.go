package config

import (
	"regexp"
	"sync"
)

// A pattern is what the text of a key must look like, with words for people.
// Patterns hold from the start of the text; to its end only where they say so.
type pattern struct {
	expr  func() *regexp.Regexp
	words string
}

func pat(expr, words string) pattern {
	return pattern{sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expr) }), words}
}

// patterns by the name that a match tag gives.
var patterns = map[string]pattern{
	"ami":         pat(`^ami-([0-9a-z]{8}|[0-9a-z]{17})$`, "an AMI ID: ami- and 8 or 17 characters"),
	"subnet":      pat(`^subnet-([0-9a-z]{8}|[0-9a-z]{17})$`, "a subnet ID: subnet- and 8 or 17 characters"),
	"sg":          pat(`^sg-([0-9a-z]{8}|[0-9a-z]{17})$`, "a security group ID: sg- and 8 or 17 characters"),
	"snapshot":    pat(`^snap-([0-9a-z]{8}|[0-9a-z]{17})$`, "a snapshot ID: snap- and 8 or 17 characters"),
	"volume":      pat(`^vol-([0-9a-z]{8}|[0-9a-z]{17})$`, "a volume ID: vol- and 8 or 17 characters"),
	"efs":         pat(`^fs-([0-9a-z]{8}|[0-9a-z]{17})$`, "a file system ID: fs- and 8 or 17 characters"),
	"accesspoint": pat(`^fsap-[0-9a-z]{17}$`, "an access point ID: fsap- and 17 characters"),
	"lustre":      pat(`^fs-[0-9a-z]{17}$`, "a file system ID: fs- and 17 characters"),
	"fsvol":       pat(`^fsvol-[0-9a-f]{17}$`, "an FSx volume ID: fsvol- and 17 hexadecimal digits"),
	"cache":       pat(`^fc-[0-9a-f]{8,18}$`, "a File Cache ID: fc- and 8 to 18 hexadecimal digits"),
	"backup":      pat(`^backup-[0-9a-f]{8,}$`, "a backup ID: backup- and 8 or more hexadecimal digits"),
	"role":        pat(`^arn:.*:role/`, "the ARN of an IAM role"),
	"profile":     pat(`^arn:.*:instance-profile/`, "the ARN of an IAM instance profile"),
	"policy":      pat(`^arn:.*:policy/`, "the ARN of an IAM policy"),
	"bucket":      pat(`^[*a-z0-9.-]+$`, "a bucket name: small letters, digits, hyphens and dots"),
	"path":        pat(`^/?[^/.\\][^/\\]*(/[^/.\\][^/]*)*$`, "a path without a slash at the end, empty parts, or parts that start with a dot"),
	"source":      pat(`^((25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])\.){3}(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])/(3[0-2]|[12]?[0-9])$|^pl-[a-zA-Z0-9]`, "an IPv4 block such as 10.0.0.0/16, or a prefix list (pl-…)"),
	"secret":      pat(`^arn:.*:(secretsmanager:.*:.*:secret:|ssm:.*:.*:parameter/).*$`, "the ARN of a secret"),
	"dbsecret":    pat(`^arn:.*:secret`, "the ARN of a secret"),
	"dbname":      pat(`^[0-9a-z_]+$`, "small letters, digits and underscores"),
	"parent":      pat(`^ami|^arn`, "an AMI ID, or the ARN of an image"),
	"regions":     pat(`^[a-z0-9-]+(,[a-z0-9-]+)*$`, "regions with commas between"),
	"weekly":      pat(`^[1-7]:([01]\d|2[0-3]):[0-5]\d$`, "d:HH:MM, with the day from 1 (Monday) to 7"),
	"daily":       pat(`^([01]\d|2[0-3]):[0-5]\d$`, "HH:MM"),
	"line":        pat(`^[^\x{0}\x{85}\x{2028}\x{2029}\r\n]+$`, "one line of text"),
}
