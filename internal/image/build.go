package image

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"pcluster/internal/cluster"
	"pcluster/internal/config"
	"pcluster/internal/facts"
	"pcluster/internal/stack"
	"pcluster/internal/validate"
)

// A BuildRequest asks for an image.
type BuildRequest struct {
	ID                 string
	Configuration      []byte // text of the image file
	File               string // its path, for messages
	SuppressValidators []string
	FailureLevel       string // INFO, WARNING or ERROR; empty: ERROR
	DryRun             bool
	RollbackOnFailure  bool
}

// Answers to files that are refused. Clients compare the first two.
const (
	invalidShape   = "Invalid image configuration."
	invalidMeaning = "Configuration is invalid"
)

var idPattern = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9-]{0,127}$`)

// Judge says whether an image can be built, in the account and region of the
// operator. A dry run that succeeds is an error with status 412, as with clusters,
// but says nothing of what was found below the level that counts. It returns the
// file, and what was found in it below that level.
func Judge(ctx context.Context, o *cluster.Operator, r BuildRequest) (*config.ImageFile, []cluster.ValidationMessage, error) {
	if len(bytes.TrimSpace(r.Configuration)) == 0 {
		return nil, nil, badRequest("configuration is required and cannot be empty")
	}
	if !idPattern.MatchString(r.ID) {
		return nil, nil, badRequest("%q is not an image ID: it has to be a letter, followed by at most 127 letters, digits and hyphens", r.ID)
	}
	if err := checkFree(ctx, o, r.ID); err != nil {
		return nil, nil, err
	}
	f, messages, err := check(ctx, o, r)
	if err != nil {
		return nil, nil, err
	}
	if r.DryRun {
		return nil, nil, refuse(http.StatusPreconditionFailed, cluster.DryRunMessage)
	}
	return f, messages, nil
}

// checkFree refuses an ID that an image, or a stack that builds one, has.
func checkFree(ctx context.Context, o *cluster.Operator, id string) error {
	exists := refuse(http.StatusConflict, "ParallelCluster image "+id+" already exists.")
	switch err := o.Facts.BuiltImage(ctx, id); {
	case err == nil:
		return exists
	case !facts.NotFound(err):
		return err
	}
	building, err := o.StackExists(ctx, id)
	if building {
		return exists
	}
	return err
}

// check parses and validates the file.
func check(ctx context.Context, o *cluster.Operator, r BuildRequest) (*config.ImageFile, []cluster.ValidationMessage, error) {
	level := config.Error
	if r.FailureLevel != "" {
		var err error
		if level, err = config.ParseLevel(r.FailureLevel); err != nil {
			return nil, nil, badRequest("%s", err)
		}
	}
	suppress, err := validate.ParseSuppress(r.SuppressValidators)
	if err != nil {
		return nil, nil, badRequest("%s", err)
	}
	reject := func(message string, list []cluster.ValidationMessage, problems config.Problems) error {
		e := refuse(http.StatusBadRequest, message)
		e.Body.ConfigurationValidationErrors = list
		e.Problems, e.File, e.Text = problems, r.File, r.Configuration
		return e
	}
	f, problems := config.ParseImage(r.File, r.Configuration)
	if p, malformed := problems.Malformed(); malformed {
		return nil, nil, reject(strings.TrimSpace("Bad Request: "+p.Message+" "+p.Hint), nil, problems)
	}
	if len(problems.Shape()) > 0 {
		return nil, nil, reject(invalidShape, cluster.ShapeMessages(problems), problems)
	}
	if late := problems.Late(); len(late) > 0 {
		return nil, nil, reject(strings.TrimSuffix(invalidShape, ".")+": "+late[0].String(), nil, problems)
	}
	report := validate.Image(ctx, f, o.Facts, validate.Options{Region: o.Region, Suppress: suppress})
	problems = slices.Concat(problems, report.Found, stack.CheckImageSources(f))
	if len(problems.At(level)) > 0 {
		return nil, nil, reject(invalidMeaning, cluster.ValidationMessages(problems), problems)
	}
	return f, cluster.ValidationMessages(problems), nil
}

func refuse(status int, message string) *cluster.Error {
	return &cluster.Error{Status: status, Body: cluster.ErrorBody{Message: message}}
}

func badRequest(format string, args ...any) error {
	return refuse(http.StatusBadRequest, "Bad Request: "+fmt.Sprintf(format, args...))
}
