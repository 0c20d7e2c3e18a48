package config

import (
	"reflect"
	"strings"
)

// OperatingSystems returns the operating systems that a cluster may have.
func OperatingSystems() []string {
	field, _ := reflect.TypeFor[Image]().FieldByName("Os")
	return strings.Fields(field.Tag.Get("oneof"))
}
