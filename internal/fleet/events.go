package fleet

import (
	"encoding/json"
	"fmt"
	"io"
	"time"
)

// An EventLog writes what CloudWatch's metric filters count: one JSON object a line.
// A nil EventLog writes nothing.
type EventLog struct {
	W          io.Writer
	Cluster    string
	InstanceID string // of the head node
	Now        func() time.Time
}

// An event has the keys that all events share, and its detail.
type event struct {
	Time       string `json:"datetime"`
	Version    int    `json:"version"`
	Scheduler  string `json:"scheduler"`
	Cluster    string `json:"cluster-name"`
	NodeRole   string `json:"node-role"`
	Component  string `json:"component"`
	Level      string `json:"level"`
	InstanceID string `json:"instance-id"`
	Type       string `json:"event-type"`
	Message    string `json:"message"`
	Detail     any    `json:"detail"`
}

// maxEventNodes is how many nodes an event names.
const maxEventNodes = 100

type namedNode struct {
	Name string `json:"name"`
}

type codeCount struct {
	Count int         `json:"count"`
	Nodes []namedNode `json:"nodes"`
}

type launchFailureCount struct {
	FailureType string               `json:"failure-type"`
	Count       int                  `json:"count"`
	Errors      map[string]codeCount `json:"error-details"`
}

// launchFailures writes how many nodes could not be launched, by class of failure.
func (l *EventLog) launchFailures(failed []NodeFailure) {
	if l == nil || len(failed) == 0 {
		return
	}
	byType := make(map[string]*launchFailureCount)
	for _, t := range FailureTypes {
		byType[t] = &launchFailureCount{FailureType: t, Errors: make(map[string]codeCount)}
	}
	for _, f := range failed {
		t := byType[FailureType(f.Code)]
		t.Count++
		c := t.Errors[f.Code]
		c.Count++
		if len(c.Nodes) < maxEventNodes {
			c.Nodes = append(c.Nodes, namedNode{f.Node})
		}
		t.Errors[f.Code] = c
	}
	for _, t := range FailureTypes {
		level := "INFO"
		if byType[t].Count > 0 {
			level = "WARNING"
		}
		l.write("slurm-resume", level, "node-launch-failure-count",
			fmt.Sprintf("Number of nodes that failed to launch for reason %s: %d", t, byType[t].Count), byType[t])
	}
}

func (l *EventLog) write(component, level, eventType, message string, detail any) {
	line, err := json.Marshal(event{
		Time:      l.Now().Format("2006-01-02T15:04:05.000-07:00"),
		Scheduler: "slurm", Cluster: l.Cluster, NodeRole: "HeadNode", Component: component, Level: level,
		InstanceID: l.InstanceID, Type: eventType, Message: message, Detail: detail,
	})
	if err != nil {
		return // the types above can all be encoded
	}
	// An event that is lost, because the disk is full, is no reason to stop.
	_, _ = l.W.Write(append(line, '\n'))
}
