package node

import (
	"encoding/json"
	"errors"
	"time"

	"pcluster/internal/node/actions"
	"pcluster/internal/node/spec"
	"pcluster/internal/node/steps"
)

// eventTime is how events write the time.
const eventTime = "2006-01-02T15:04:05.000-07:00"

// A failureEvent is one line of JSON about a node that did not come up, or whose GPUs
// are broken. CloudWatch's metric filters count them.
type failureEvent struct {
	Time        string       `json:"datetime"`
	Version     int          `json:"version"`
	ClusterName string       `json:"cluster-name"`
	Scheduler   string       `json:"scheduler"`
	NodeRole    string       `json:"node-role"`
	Component   string       `json:"component"`
	Level       string       `json:"level"`
	InstanceID  string       `json:"instance-id"`
	Type        string       `json:"event-type"`
	Message     string       `json:"message"`
	Compute     *nodeCompute `json:"compute,omitempty"`
	Detail      any          `json:"detail"`
}

type actionDetail struct {
	Action string `json:"action"`
	Step   int    `json:"step"`
	Stage  string `json:"stage"` // downloading or executing
	Error  any    `json:"error"`
}

type actionError struct {
	ExitCode int    `json:"exit_code"`
	Stderr   string `json:"stderr"`
}

type stepFailure struct {
	Title string `json:"error-title"`
	Step  string `json:"resource-name"`
}

// failureEvent returns the event of a failed boot.
func (n *node) failureEvent(told *spec.Node, err error) []byte {
	e := failureEvent{
		Time: time.Now().Format(eventTime), ClusterName: told.ClusterName, Scheduler: told.Scheduler,
		NodeRole: told.NodeType, Level: "ERROR", InstanceID: n.instanceID(), Message: err.Error(),
	}
	if told.NodeType == spec.Compute && n.self != nil {
		e.Compute = &nodeCompute{
			Name: n.name, InstanceID: n.self.InstanceID, InstanceType: n.self.InstanceType, AZ: n.self.AZ, Address: n.self.Addr,
			Hostname: n.self.Hostname, Queue: told.Queue, Resource: told.ComputeResource, NodeType: kindOf(n.name),
		}
	}
	var action *actions.Failure
	var step *steps.Error
	switch {
	case errors.As(err, &action):
		e.Type, e.Component = "custom-action-error", "custom-action"
		e.Detail = actionDetail{
			Action: string(action.Event), Step: action.Step, Stage: action.Stage.Failing(),
			Error: actionError{ExitCode: action.ExitCode, Stderr: action.Output},
		}
	case errors.As(err, &step):
		e.Type, e.Component = "chef-recipe-exception", "config"
		e.Detail = map[string][]stepFailure{"failures": {{Title: err.Error(), Step: step.Step}}}
	default:
		e.Type, e.Component = "chef-recipe-exception", "init"
		e.Detail = map[string][]stepFailure{"failures": {{Title: err.Error()}}}
	}
	line, err := json.Marshal(e)
	if err != nil {
		return []byte(e.Message + "\n")
	}
	return append(line, '\n')
}
