// Command validatorcases runs a file of validator cases, each a configuration, an
// account on paper, and what validation has to say about it, and prints those
// that come out differently. `make validator-cases CASES=file.json` calls it.
//
// The format is explained by the file itself, in its member about; the copy that
// the tests run is in testdata. Most cases call package validate. Those of the
// validator "(request)" run the command itself, with the account in place of AWS.
package main

import (
	"flag"
	"fmt"
	"os"
	"runtime"
)

func main() {
	verbose := flag.Bool("v", false, "name the cases that are left out, too")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: validatorcases [-v] file.json")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() != 1 {
		flag.Usage()
		os.Exit(2)
	}
	failed, err := run(flag.Arg(0), *verbose)
	if err != nil {
		fmt.Fprintln(os.Stderr, "validatorcases:", err)
		os.Exit(2)
	}
	if failed > 0 {
		os.Exit(1)
	}
}

func run(path string, verbose bool) (failed int, err error) {
	file, err := load(path)
	if err != nil {
		return 0, err
	}
	passed, left := 0, 0
	// More at once than processors, since some cases wait for a server that hangs.
	for _, v := range file.judge(runtime.GOMAXPROCS(0) * 8) {
		switch {
		case v.skip != "":
			left++
			if verbose {
				fmt.Printf("left out %s: %s\n", v.id, v.skip)
			}
		case v.want != v.got:
			failed++
			fmt.Printf("FAILED %s (%s): %s\n  expected: %s\n  actual:   %s\n", v.id, v.validator, v.about, v.want, v.got)
		default:
			passed++
		}
	}
	if left > 0 {
		fmt.Printf("%d left out: they are about releases other than %s\n", left, release)
	}
	fmt.Printf("%d passed, %d failed\n", passed, failed)
	return failed, nil
}
