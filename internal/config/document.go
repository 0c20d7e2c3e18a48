package config

import "strings"

// ReadYAML reads a file that is one YAML mapping, with the place of every value.
// Problems say "Configuration" where what names another kind of file.
func ReadYAML(data []byte, what string) (*Node, Problems) {
	doc, found := readDocument(data)
	for i := range found {
		found[i].Validator = what
		found[i].Message = strings.Replace(found[i].Message, "Configuration must", what+" must", 1)
		found[i].Message = strings.Replace(found[i].Message, "configuration is", what+" is", 1)
	}
	if doc == nil {
		return nil, found
	}
	return doc.Root, found
}
