//go:build linux

package main

import (
	"context"
	"path/filepath"
	"time"

	"pcluster/internal/cluster"
	"pcluster/internal/config"
	"pcluster/internal/facts"
	"pcluster/internal/facts/catalog"
	"pcluster/internal/facts/live"
)

// synthesis measures how long the templates of files take, in the process, facts
// gathered from memory included, and the command that prints them.
func (b *bench) synthesis(ctx context.Context, runs int) error {
	files, err := judgedFiles(b.root)
	if err != nil {
		return err
	}
	budgets := map[string]float64{"the seed's": 5, "a full": 100}
	for _, f := range files {
		own := b.table.add("templates of "+f.name+" file", "ms", budgets[f.name], 0)
		own.values = nil
		for i := range 1 + 20*runs {
			c, problems := config.Parse(f.name, f.text) // synthesis adds tags, so each time anew
			if err := problems.Err(); err != nil {
				return err
			}
			p := cluster.Preview{Name: "cluster", Region: "us-east-1", Account: "111122223333"}
			source := facts.Assumed(&facts.Memory{Partial: true, Catalog: func(name string) (facts.InstanceType, bool) {
				info, ok := catalog.InstanceType(name)
				return live.InstanceType(info), ok
			}}, p.Region, func(string) {})
			start := time.Now()
			if _, err := p.Templates(ctx, c, source); err != nil {
				return err
			}
			if i > 0 { // the first one unpacks the catalog of instance types
				own.values = append(own.values, time.Since(start).Seconds()*1000)
			}
		}
		own.note = "facts from memory included"
	}
	path := filepath.Join(b.root, "examples", "bluebrain", "config", "compute-cluster.yaml")
	for range runs {
		took, err := b.timed(ctx, b.bin, "template", "-c", path, "--offline")
		if err != nil {
			return err
		}
		b.table.add("template --offline, the seed's file", "ms", 100, took.Seconds()*1000)
	}
	return nil
}
