package component

// A kind is what an input may be.
type kind int

const (
	text kind = iota
	texts
	flag
	number
	mode // file permissions
	encoding
	algorithm
	s3URL
	webURL
	pairs // a list of one-entry mappings, or a mapping
)

func (k kind) String() string {
	return [...]string{"text", "a list of texts", "true or false", "a whole number", "permissions as octal digits",
		"utf8, utf16, utf16-LE, utf16-BE, utf32, utf32-LE or utf32-BE", "MD5, SHA1, SHA256 or SHA512",
		"s3://BUCKET/KEY", "a URL that begins with https:// or http://", "a list of names with values"}[k]
}

// A field is an input of an action.
type field struct {
	name     string
	kind     kind
	required bool
}

func need(name string, k kind) field { return field{name, k, true} }
func may(name string, k kind) field  { return field{name, k, false} }

// An action is what can be said about an action module without running it.
type action struct {
	fields  []field
	many    bool   // inputs are a list of mappings
	orOne   bool   // or, with many, one of the mappings alone
	refused string // why it cannot run on Linux; empty: it can
}

const windowsOnly = "it works on Windows only"

var fileOwner = []field{may("owner", text), may("group", text), may("permissions", mode), may("overwrite", flag)}

func move() action {
	return action{many: true, fields: []field{need("source", text), need("destination", text), may("overwrite", flag)}}
}

// actions are the modules of AWS's executor.
var actions = map[string]action{
	"Assert":          {},
	"ExecuteBash":     {fields: []field{need("commands", texts)}},
	"ExecuteBinary":   {fields: []field{need("path", text), may("arguments", texts)}},
	"ExecuteDocument": {many: true, orOne: true, fields: []field{need("document", text), may("document-s3-bucket-owner", text), may("phases", text), may("parameters", pairs)}},
	"S3Download":      {many: true, fields: []field{need("source", s3URL), need("destination", text), may("expectedBucketOwner", text), may("overwrite", flag)}},
	"S3Upload":        {many: true, fields: []field{need("source", text), need("destination", s3URL), may("recurse", flag), may("expectedBucketOwner", text)}},
	"WebDownload": {many: true, fields: []field{need("source", webURL), need("destination", text), may("overwrite", flag), may("checksum", text),
		may("algorithm", algorithm), may("ignoreCertificateErrors", flag)}},
	"AppendFile":           {many: true, fields: []field{need("path", text), may("content", text), may("encoding", encoding)}},
	"CopyFile":             move(),
	"CopyFolder":           move(),
	"CreateFile":           {many: true, fields: append([]field{need("path", text), may("content", text), may("encoding", encoding)}, fileOwner...)},
	"CreateFolder":         {many: true, fields: append([]field{need("path", text)}, fileOwner...)},
	"CreateSymlink":        {many: true, fields: []field{need("path", text), need("target", text), may("force", flag)}},
	"DeleteFile":           {many: true, fields: []field{need("path", text)}},
	"DeleteFolder":         {many: true, fields: []field{need("path", text), may("force", flag)}},
	"ListFiles":            {many: true, fields: []field{need("path", text), may("fileNamePattern", text), may("recursive", flag)}},
	"MoveFile":             move(),
	"MoveFolder":           move(),
	"ReadFile":             {many: true, fields: []field{need("path", text), may("encoding", encoding), may("printFileContent", flag)}},
	"SetFileEncoding":      {many: true, fields: []field{need("path", text), may("encoding", encoding)}},
	"SetFileOwner":         {many: true, fields: []field{need("path", text), need("owner", text), may("group", text)}},
	"SetFolderOwner":       {many: true, fields: []field{need("path", text), need("owner", text), may("group", text), may("recursive", flag)}},
	"SetFilePermissions":   {many: true, fields: []field{need("path", text), need("permissions", mode)}},
	"SetFolderPermissions": {many: true, fields: []field{need("path", text), need("permissions", mode), may("recursive", flag)}},
	"Reboot":               {fields: []field{may("delaySeconds", number)}},
	"UpdateOS":             {fields: []field{may("include", texts), may("exclude", texts)}},
	"SetRegistry":          {refused: "Linux has no registry; write a file with CreateFile instead"},
	"ExecutePowerShell":    {refused: windowsOnly + "; use ExecuteBash"},
	"InstallMSI":           {refused: windowsOnly + "; use ExecuteBash with the system's package manager"},
	"UninstallMSI":         {refused: windowsOnly + "; use ExecuteBash with the system's package manager"},
}

// optionalInputs are actions that need no inputs at all.
var optionalInputs = map[string]bool{"Reboot": true, "UpdateOS": true}
