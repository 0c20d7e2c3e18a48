package configure

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"

	"github.com/goccy/go-yaml"
)

// A plan is what was answered.
type plan struct {
	region, keyName, scheduler, os, headType string
	queues                                   []queue
	maxvCPUs                                 int // of AWS Batch
	headSubnet, computeSubnet                string
}

type queue struct {
	name           string
	resources      []resource
	placementGroup string // if one of the resources has EFA; empty: one that is made
}

type resource struct {
	instanceType string
	efaSupported bool
	efa          bool
	maxCount     int
}

func (q queue) efa() bool {
	for _, r := range q.resources {
		if r.efa {
			return true
		}
	}
	return false
}

// nodes returns how many compute nodes there may be at once.
func (p plan) nodes() int {
	if p.scheduler == batch {
		return p.maxvCPUs
	}
	n := 0
	for _, q := range p.queues {
		for _, r := range q.resources {
			n += r.maxCount
		}
	}
	return n
}

// computeTypes returns the instance types of compute nodes.
func (p plan) computeTypes() []string {
	var types []string
	for _, q := range p.queues {
		for _, r := range q.resources {
			types = append(types, r.instanceType)
		}
	}
	return types
}

var notAlphanumeric = regexp.MustCompile(`[^A-Za-z0-9]`)

// text returns the file, its keys in the order that people expect.
func (p plan) text() ([]byte, error) {
	type object = yaml.MapSlice
	pair := func(key string, value any) yaml.MapItem { return yaml.MapItem{Key: key, Value: value} }
	head := object{
		pair("InstanceType", p.headType),
		pair("Networking", object{pair("SubnetId", p.headSubnet)}),
		pair("Ssh", object{pair("KeyName", p.keyName)}),
	}
	scheduling := object{pair("Scheduler", p.scheduler)}
	if p.scheduler == batch {
		head = append(head, pair("Imds", object{pair("Secured", false)}))
		scheduling = append(scheduling, pair("AwsBatchQueues", []object{{
			pair("Name", p.queues[0].name),
			pair("ComputeResources", []object{{
				pair("Name", "optimal"), pair("InstanceTypes", []string{"optimal"}),
				pair("MinvCpus", 0), pair("DesiredvCpus", 0), pair("MaxvCpus", p.maxvCPUs),
			}}),
			pair("Networking", object{pair("SubnetIds", []string{p.computeSubnet})}),
		}}))
	} else {
		var queues []object
		for _, q := range p.queues {
			var resources []object
			for _, r := range q.resources {
				o := object{
					pair("Name", notAlphanumeric.ReplaceAllString(r.instanceType, "")),
					pair("Instances", []object{{pair("InstanceType", r.instanceType)}}),
					pair("MinCount", 0), pair("MaxCount", r.maxCount),
				}
				if r.efaSupported {
					o = append(o, pair("Efa", object{pair("Enabled", r.efa)}))
				}
				resources = append(resources, o)
			}
			networking := object{}
			if q.efa() {
				group := object{pair("Enabled", true)}
				if q.placementGroup != "" {
					group = append(group, pair("Id", q.placementGroup))
				}
				networking = append(networking, pair("PlacementGroup", group))
			}
			networking = append(networking, pair("SubnetIds", []string{p.computeSubnet}))
			queues = append(queues, object{pair("Name", q.name), pair("ComputeResources", resources), pair("Networking", networking)})
		}
		scheduling = append(scheduling, pair("SlurmQueues", queues))
	}
	return yaml.Marshal(object{
		pair("Region", p.region),
		pair("Image", object{pair("Os", p.os)}),
		pair("HeadNode", head),
		pair("Scheduling", scheduling),
	})
}

// checkFree refuses a path at which there is something.
func checkFree(path string) error {
	if _, err := os.Lstat(path); err == nil {
		return fmt.Errorf("A file/folder exists at %s. Please specify a different file path", path)
	} else if !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// write writes the file, which only its owner may read, with the folder that it is in.
func write(path string, text []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	// Created, not replaced: the questions took a while.
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(text)
	return errors.Join(err, file.Close())
}
