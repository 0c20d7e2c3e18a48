# pcluster: build, try, test, measure. `make demo` is the place to start.

GOFLAGS  += -trimpath
LDFLAGS  := -s -w
NODEDIR  := internal/cluster/programs/bin
HOSTARCH := $(shell go env GOARCH)
# Processors that clusters may have. `make demo` and `make test` build only this machine's.
ARCHES   ?= amd64 arm64

export CGO_ENABLED = 0

.PHONY: build demo test bench journeys torture from-source peer conformance cfnlint iam validator-cases lint setup clean always

build: $(ARCHES:%=node-%)
	go build $(GOFLAGS) -ldflags '$(LDFLAGS)' -o bin/pcluster ./cmd/pcluster

# The node program goes to the nodes' machines; pcluster carries it, compressed.
node-%: always
	@mkdir -p bin $(NODEDIR)
	GOOS=linux GOARCH=$* go build $(GOFLAGS) -ldflags '$(LDFLAGS)' -o bin/pcluster-node-linux-$* ./cmd/pcluster-node
	gzip -9 -n -c bin/pcluster-node-linux-$* > $(NODEDIR)/pcluster-node-linux-$*.gz.new
	cmp -s $(NODEDIR)/pcluster-node-linux-$*.gz.new $(NODEDIR)/pcluster-node-linux-$*.gz \
		&& rm $(NODEDIR)/pcluster-node-linux-$*.gz.new \
		|| mv $(NODEDIR)/pcluster-node-linux-$*.gz.new $(NODEDIR)/pcluster-node-linux-$*.gz

always:

setup:
	@scripts/setup

demo: setup
	@$(MAKE) --no-print-directory build ARCHES=$(HOSTARCH)
	@scripts/demo

test: setup
	@$(MAKE) --no-print-directory build ARCHES=$(HOSTARCH)
	@scripts/test

bench: setup
	@$(MAKE) --no-print-directory build ARCHES=$(HOSTARCH)
	@go run ./bench

# Our judgement of files, and the stacks made of them, beside the real
# ParallelCluster's, which is installed into .cache/peer.
peer:
	@go run ./test/peer

# Our commands and options beside the real ParallelCluster's.
conformance:
	@go test -count=1 -v ./test/conformance -install

# The templates of every example and every key of the language, judged by cfn-lint,
# which is installed into .cache/cfnlint.
cfnlint:
	@go test -count=1 -v ./test/conformance/cfnlint -install

# The policies in docs/iam, and those of roles, beside AWS's own list of its actions,
# which is installed into .cache/iam.
iam:
	@go test -count=1 -v ./test/conformance/iam -install

# Runs a file of validator cases, as in test/validatorcases/testdata.
CASES ?= test/validatorcases/testdata/validator-cases.json
validator-cases:
	@go build -o bin/validatorcases ./test/validatorcases && bin/validatorcases $(CASES)

# Journeys through the AWS CLI, boto3 and the SDK for Go against a region, and against moto.
journeys:
	@scripts/journeys

# A cluster with real Slurm on real machines works while everything around it fails: a
# dozen kinds of faults, a hundred jobs. It takes some ten minutes.
torture: build
	go test -count=1 -timeout 25m -run 'TestTorture$$' -v ./test/e2e -torture

# An image of Debian 12 with munge, PMIx and Slurm from Debian's sources, and a cluster of
# it. It takes twenty minutes and more.
from-source: setup
	@$(MAKE) --no-print-directory build ARCHES=$(HOSTARCH)
	go test -count=1 -timeout 60m -run 'TestSlurmFromSource$$' -v ./test/e2e -from-source

lint:
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { gofmt -l $$(git ls-files '*.go'); exit 1; }
	go vet ./...

clean:
	rm -rf bin $(NODEDIR)/*.gz
