package ec2

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"

	"pcluster/internal/sandbox/wire"
)

// noun is how EC2 speaks of a kind of resource when it is missing.
type noun struct {
	prefix string // of the IDs, without the dash
	code   string // error code without its suffix
	format string // of the message, with one %s for the ID
}

var (
	nounVPC       = noun{"vpc", "InvalidVpcID", "The vpc ID '%s' does not exist"}
	nounSubnet    = noun{"subnet", "InvalidSubnetID", "The subnet ID '%s' does not exist"}
	nounGroup     = noun{"sg", "InvalidGroup", "The security group '%s' does not exist"}
	nounENI       = noun{"eni", "InvalidNetworkInterfaceID", "The networkInterface ID '%s' does not exist"}
	nounRoutes    = noun{"rtb", "InvalidRouteTableID", "The routeTable ID '%s' does not exist"}
	nounGateway   = noun{"igw", "InvalidInternetGatewayID", "The internetGateway ID '%s' does not exist"}
	nounImage     = noun{"ami", "InvalidAMIID", "The image id '[%s]' does not exist"}
	nounSnapshot  = noun{"snap", "InvalidSnapshot", "The snapshot '%s' does not exist."}
	nounVolume    = noun{"vol", "InvalidVolume", "The volume '%s' does not exist."}
	nounInstance  = noun{"i", "InvalidInstanceID", "The instance ID '%s' does not exist"}
	nounAllocated = noun{"eipalloc", "InvalidAllocationID", "The allocation ID '%s' does not exist"}
	nounKeyPair   = noun{"key", "InvalidKeyPair", "The key pair '%s' does not exist"}
)

func (n noun) notFound(id string) error {
	return wire.Errorf(n.code+".NotFound", n.format, id)
}

var wellFormed = regexp.MustCompile(`^[a-z]+-[0-9a-z]{8,}$`)

// check refuses an ID that cannot be one of this kind.
func (n noun) check(id string) error {
	if strings.HasPrefix(id, n.prefix+"-") && wellFormed.MatchString(id) {
		return nil
	}
	code := n.code + ".Malformed"
	if n == nounGroup {
		code = "InvalidGroupId.Malformed"
	}
	if n == nounInstance {
		return wire.Errorf(code, "Invalid id: %q", id)
	}
	return wire.Errorf(code, "Invalid id: %q (expecting \"%s-...\")", id, n.prefix)
}

// find returns the row under an ID that a request gave, or EC2's words for why not.
func find[T any](t *table[T], n noun, id string) (*T, error) {
	if row := t.get(id); row != nil {
		return row, nil
	}
	if err := n.check(id); err != nil {
		return nil, err
	}
	return nil, n.notFound(id)
}

// notFoundAll names all missing IDs at once, as EC2 does; nil without any.
func (n noun) notFoundAll(missing []string) error {
	switch {
	case len(missing) == 0:
		return nil
	case len(missing) > 1 && n == nounInstance:
		return wire.Errorf(n.code+".NotFound", "The instance IDs '%s' do not exist", strings.Join(missing, ", "))
	}
	return n.notFound(strings.Join(missing, ", "))
}

func invalidValue(format string, args ...any) error {
	return wire.Errorf("InvalidParameterValue", format, args...)
}

func invalidCombination(format string, args ...any) error {
	return wire.Errorf("InvalidParameterCombination", format, args...)
}

func missing(parameter string) error {
	return wire.Errorf("MissingParameter", "The request must contain the parameter %s", parameter)
}

// dryRun is what a request with DryRun gets where it would otherwise be carried out.
func dryRun(asked *bool) error {
	if asked == nil || !*asked {
		return nil
	}
	return &wire.Error{
		Code:    "DryRunOperation",
		Message: "Request would have succeeded, but DryRun flag is set.",
		Status:  http.StatusPreconditionFailed,
	}
}

// serverErrorf is a failure that EC2 puts on its own side.
func serverErrorf(code, format string, args ...any) error {
	return &wire.Error{Code: code, Message: fmt.Sprintf(format, args...), Status: http.StatusInternalServerError}
}
