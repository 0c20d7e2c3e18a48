package configure

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"

	"go.yaml.in/yaml/v3"
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

// The file, as far as it is asked about, with its keys in the order that people expect.
type (
	clusterFile struct {
		Region     string     `yaml:"Region"`
		Image      imageOS    `yaml:"Image"`
		HeadNode   headNode   `yaml:"HeadNode"`
		Scheduling scheduling `yaml:"Scheduling"`
	}
	imageOS struct {
		OS string `yaml:"Os"`
	}
	headNode struct {
		InstanceType string `yaml:"InstanceType"`
		Networking   struct {
			Subnet string `yaml:"SubnetId"`
		} `yaml:"Networking"`
		SSH struct {
			Key string `yaml:"KeyName"`
		} `yaml:"Ssh"`
		IMDS *headMetadata `yaml:"Imds,omitempty"`
	}
	headMetadata struct {
		Secured bool `yaml:"Secured"`
	}
	scheduling struct {
		Scheduler   string       `yaml:"Scheduler"`
		BatchQueues []batchQueue `yaml:"AwsBatchQueues,omitempty"`
		SlurmQueues []slurmQueue `yaml:"SlurmQueues,omitempty"`
	}
	batchQueue struct {
		Name       string          `yaml:"Name"`
		Resources  []batchResource `yaml:"ComputeResources"`
		Networking networking      `yaml:"Networking"`
	}
	batchResource struct {
		Name          string   `yaml:"Name"`
		InstanceTypes []string `yaml:"InstanceTypes"`
		Min           int      `yaml:"MinvCpus"`
		Desired       int      `yaml:"DesiredvCpus"`
		Max           int      `yaml:"MaxvCpus"`
	}
	slurmQueue struct {
		Name       string          `yaml:"Name"`
		Resources  []slurmResource `yaml:"ComputeResources"`
		Networking networking      `yaml:"Networking"`
	}
	slurmResource struct {
		Name      string         `yaml:"Name"`
		Instances []instanceType `yaml:"Instances"`
		Min       int            `yaml:"MinCount"`
		Max       int            `yaml:"MaxCount"`
		EFA       *enabled       `yaml:"Efa,omitempty"`
	}
	instanceType struct {
		Type string `yaml:"InstanceType"`
	}
	networking struct {
		Placement *placementGroup `yaml:"PlacementGroup,omitempty"`
		Subnets   []string        `yaml:"SubnetIds"`
	}
	placementGroup struct {
		Enabled bool   `yaml:"Enabled"`
		ID      string `yaml:"Id,omitempty"`
	}
	enabled struct {
		Enabled bool `yaml:"Enabled"`
	}
)

// text returns the file.
func (p plan) text() ([]byte, error) {
	file := clusterFile{Region: p.region, Image: imageOS{p.os}, HeadNode: headNode{InstanceType: p.headType}}
	file.HeadNode.Networking.Subnet = p.headSubnet
	file.HeadNode.SSH.Key = p.keyName
	file.Scheduling.Scheduler = p.scheduler
	subnets := networking{Subnets: []string{p.computeSubnet}}
	if p.scheduler == batch {
		file.HeadNode.IMDS = &headMetadata{Secured: false}
		file.Scheduling.BatchQueues = []batchQueue{{
			Name:       p.queues[0].name,
			Resources:  []batchResource{{Name: "optimal", InstanceTypes: []string{"optimal"}, Max: p.maxvCPUs}},
			Networking: subnets,
		}}
	}
	for _, q := range p.queues {
		if p.scheduler == batch {
			break
		}
		queue := slurmQueue{Name: q.name, Networking: subnets}
		for _, r := range q.resources {
			resource := slurmResource{
				Name:      notAlphanumeric.ReplaceAllString(r.instanceType, ""),
				Instances: []instanceType{{r.instanceType}}, Max: r.maxCount,
			}
			if r.efaSupported {
				resource.EFA = &enabled{r.efa}
			}
			queue.Resources = append(queue.Resources, resource)
		}
		if q.efa() {
			queue.Networking.Placement = &placementGroup{Enabled: true, ID: q.placementGroup}
		}
		file.Scheduling.SlurmQueues = append(file.Scheduling.SlurmQueues, queue)
	}
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	enc.CompactSeqIndent() // as ParallelCluster writes it
	err := errors.Join(enc.Encode(file), enc.Close())
	return b.Bytes(), err
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
