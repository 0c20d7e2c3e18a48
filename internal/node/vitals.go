package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	"golang.org/x/sys/unix"
)

// vitals are what the stack's alarms and its dashboard ask of the head node beside what
// EC2 measures. Their names are those of the CloudWatch agent, which does this on
// ParallelCluster's head nodes.
type vitals struct {
	*Host
	instance string
	api      metricsAPI
	log      *slog.Logger
}

// metricsAPI is the part of CloudWatch that takes them.
type metricsAPI interface {
	PutMetricData(context.Context, *cloudwatch.PutMetricDataInput, ...func(*cloudwatch.Options)) (*cloudwatch.PutMetricDataOutput, error)
}

const (
	vitalsInterval  = time.Minute
	vitalsNamespace = "CWAgent"
)

// run measures once a minute.
func (v *vitals) run(ctx context.Context) {
	complained := false
	for {
		err := v.measure(ctx)
		if err != nil && ctx.Err() == nil && !complained {
			v.log.Warn("memory and disk of the head node are not measured", "error", err)
		}
		complained = err != nil
		if !sleep(ctx, vitalsInterval) {
			return
		}
	}
}

func (v *vitals) measure(ctx context.Context) error {
	memory, err := v.memory()
	if err != nil {
		return err
	}
	disk, err := diskUsed(v.path("/"))
	if err != nil {
		return err
	}
	self := types.Dimension{Name: aws.String("InstanceId"), Value: &v.instance}
	root := types.Dimension{Name: aws.String("path"), Value: aws.String("/")}
	_, err = v.api.PutMetricData(ctx, &cloudwatch.PutMetricDataInput{Namespace: aws.String(vitalsNamespace), MetricData: []types.MetricDatum{
		{MetricName: aws.String("mem_used_percent"), Value: &memory, Unit: types.StandardUnitPercent, Dimensions: []types.Dimension{self}},
		{MetricName: aws.String("disk_used_percent"), Value: &disk, Unit: types.StandardUnitPercent, Dimensions: []types.Dimension{self, root}},
	}})
	return err
}

// memory returns how much of the memory nobody else can have, in percent.
func (v *vitals) memory() (float64, error) {
	data, err := v.read("/proc/meminfo")
	if err != nil {
		return 0, err
	}
	return memoryUsed(data)
}

func memoryUsed(meminfo []byte) (float64, error) {
	kib := map[string]float64{}
	for line := range bytes.Lines(meminfo) {
		name, rest, _ := strings.Cut(string(line), ":")
		if f := strings.Fields(rest); len(f) > 0 {
			if n, err := strconv.ParseFloat(f[0], 64); err == nil {
				kib[name] = n
			}
		}
	}
	total, available := kib["MemTotal"], kib["MemAvailable"]
	if total <= 0 || available > total {
		return 0, errors.New("/proc/meminfo does not tell what is available")
	}
	return 100 * (total - available) / total, nil
}

// diskUsed returns how full a file system is for its users, in percent, as df does.
func diskUsed(dir string) (float64, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return 0, fmt.Errorf("%s: %w", dir, err)
	}
	used := float64(fs.Blocks - fs.Bfree)
	if used+float64(fs.Bavail) == 0 {
		return 0, fmt.Errorf("%s has no blocks", dir)
	}
	return 100 * used / (used + float64(fs.Bavail)), nil
}
