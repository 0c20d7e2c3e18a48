// Gen packs the catalog's data from the tables that DescribeInstanceTypes and
// DescribeInstanceTypeOfferings returned when they were recorded. It is run by
// hand when there are newer tables; see the README of package catalog.
package main

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"compress/gzip"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"maps"
	"os"
	"slices"
	"strings"
)

// unused are members that neither rules nor the sandbox read, and that change
// with every generation of hardware.
var unused = map[string][]string{
	"":             {"PhcSupport", "RebootMigrationSupport", "NitroTpmInfo", "NitroTpmSupport", "MediaAcceleratorInfo", "FpgaInfo"},
	"NetworkInfo":  {"ConnectionTrackingConfiguration", "SecondaryNetworkSupported", "FlexibleEnaQueuesSupport", "EnaSrdSupported", "BandwidthWeightings", "Ipv4AddressesPerSecondaryInterface"},
	"EbsInfo":      {"EbsCards", "MaximumEbsCards", "AttachmentLimitType"},
	"NetworkCards": {"DefaultEnaQueueCountPerInterface", "MaximumEnaQueueCount", "MaximumEnaQueueCountPerInterface", "AdditionalFlexibleNetworkInterfaces"},
}

func main() {
	log.SetFlags(0)
	log.SetPrefix("gen: ")
	typesFile := flag.String("types", "", "gzipped JSON object of instance types by name")
	offersFile := flag.String("offerings", "", "gzipped JSON list of offerings by zone ID in us-east-1")
	out := flag.String("out", "types.zip", "file to write")
	flag.Parse()
	if err := run(*typesFile, *offersFile, *out); err != nil {
		log.Fatal(err)
	}
}

func run(typesFile, offersFile, out string) error {
	var infos map[string]map[string]any
	if err := readGzip(typesFile, &infos); err != nil {
		return err
	}
	var offers []struct{ InstanceType, Location string }
	if err := readGzip(offersFile, &offers); err != nil {
		return err
	}
	zones := map[string][]string{}
	for _, o := range offers {
		digit, ok := strings.CutPrefix(o.Location, "use1-az")
		if !ok || len(digit) != 1 {
			return fmt.Errorf("%s: location %q is not a zone ID of us-east-1", offersFile, o.Location)
		}
		zones[o.InstanceType] = append(zones[o.InstanceType], digit)
	}

	var index strings.Builder
	families := map[string]*bytes.Buffer{}
	for _, name := range slices.Sorted(maps.Keys(infos)) {
		info := infos[name]
		prune(info)
		data, err := json.Marshal(info)
		if err != nil {
			return err
		}
		family, _, _ := strings.Cut(name, ".")
		if families[family] == nil {
			families[family] = &bytes.Buffer{}
		}
		fmt.Fprintf(families[family], "%s\t%s\n", name, data)
		slices.Sort(zones[name])
		fmt.Fprintf(&index, "%s %s\n", name, strings.Join(zones[name], ""))
	}

	var buf bytes.Buffer
	z := zip.NewWriter(&buf)
	z.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) {
		return flate.NewWriter(w, flate.BestCompression)
	})
	if err := add(z, "index", []byte(index.String())); err != nil {
		return err
	}
	for _, family := range slices.Sorted(maps.Keys(families)) {
		if err := add(z, family, families[family].Bytes()); err != nil {
			return err
		}
	}
	if err := z.Close(); err != nil {
		return err
	}
	return os.WriteFile(out, buf.Bytes(), 0o644)
}

func add(z *zip.Writer, name string, data []byte) error {
	w, err := z.Create(name)
	if err != nil {
		return err
	}
	_, err = w.Write(data)
	return err
}

func prune(info map[string]any) {
	drop(info, "")
	for _, part := range []string{"NetworkInfo", "EbsInfo"} {
		if m, ok := info[part].(map[string]any); ok {
			drop(m, part)
			cards, _ := m["NetworkCards"].([]any)
			for _, c := range cards {
				drop(c.(map[string]any), "NetworkCards")
			}
		}
	}
}

func drop(m map[string]any, part string) {
	for _, k := range unused[part] {
		delete(m, k)
	}
}

func readGzip(path string, v any) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if err := json.NewDecoder(z).Decode(v); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}
