# make build   bin/bottlebuild
# make demo    everything: packages, build, the example to booted machines
# make test    everything the tests need, and the tests
# make check   what a change should pass: fmt, lint, race, test
# make bench   the figures, side by side with docker buildx bake and ninja
# make stress  the tests that repeat something, with large counts

GO   ?= go
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)
APT  := $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get

# Commands whose Debian packages are installed where they are missing.
DEMO_COMMANDS := runc
TEST_COMMANDS := git runc crun skopeo docker-registry chromium busybox
BENCH_COMMANDS := runc ninja

# The same for builds and tests, so that everything is compiled once.
export CGO_ENABLED := 0
export GOFLAGS := -trimpath

.PHONY: build
build: bin/bottlebuild

GO_FILES := $(shell find cmd hcl tasks graph cache internal -name '*.go' ! -name '*_test.go')
bin/bottlebuild: go.mod go.sum $(GO_FILES)
	$(GO) build -ldflags '-s -w' -o $@ ./cmd/bottlebuild

# The example's images copy a static server that is built here.
.PHONY: example
example: examples/images/web/server
examples/images/web/server: examples/server/main.go go.mod
	$(GO) build -ldflags '-s -w' -o $@ ./examples/server

# $(call install,COMMANDS) installs the Debian packages of commands that are missing.
define install
	@missing=; for c in $(1); do \
	  PATH="$$PATH:/usr/sbin:/sbin" command -v $$c >/dev/null || missing="$$missing $$c"; done; \
	missing=$$(echo $$missing | sed -e 's/\bninja\b/ninja-build/' -e 's/\bbusybox\b/busybox-static/'); \
	if [ -n "$$missing" ]; then \
	  command -v apt-get >/dev/null || { echo "please install: $$missing"; exit 1; }; \
	  $(APT) update -q && $(APT) install -q -y --no-install-recommends $$missing; fi
endef

# What the self-test runs in machines, kept in the repository since few have the
# compilers: make probe after a change of probe.c, with gcc-aarch64-linux-gnu.
PROBE := tasks/selftest/probe
PROBE_FLAGS := -std=gnu11 -Os -Wall -Wextra -Werror -ffreestanding -fno-builtin -fno-stack-protector \
  -fno-asynchronous-unwind-tables -fno-tree-loop-distribute-patterns -fno-pie \
  -nostdlib -static -no-pie -s -Wl,--build-id=none -Wl,-z,noseparate-code -Wl,-z,noexecstack
.PHONY: probe
probe:
	x86_64-linux-gnu-gcc $(PROBE_FLAGS) -DSOURCE="\"$$(sha256sum <$(PROBE)/probe.c | cut -d' ' -f1)\"" -o $(PROBE)/probe_amd64 $(PROBE)/probe.c
	aarch64-linux-gnu-gcc $(PROBE_FLAGS) -DSOURCE="\"$$(sha256sum <$(PROBE)/probe.c | cut -d' ' -f1)\"" -o $(PROBE)/probe_arm64 $(PROBE)/probe.c

.PHONY: demo
demo: build example
	$(call install,$(DEMO_COMMANDS))
	$(SUDO) bin/bottlebuild run examples/bottles.hcl
	$(SUDO) bin/bottlebuild exec hello-ada -- /server get http://localhost:8080/
	$(SUDO) bin/bottlebuild ps

.PHONY: demo-down
demo-down: build
	$(SUDO) bin/bottlebuild down hello-ada hello-grace clock

# The registry that Debian does not have, for tests: a module of its own.
bin/registry-v3: testregistry/go.mod testregistry/go.sum
	$(GO) build -C testregistry -ldflags '-s -w' -o ../$@ github.com/distribution/distribution/v3/cmd/registry

.PHONY: test-setup
test-setup: example bin/registry-v3
	$(call install,$(TEST_COMMANDS))

# Tests fail, rather than skip, where something that they need is missing.
.PHONY: test
test: test-setup
	$(GO) vet ./...
	$(SUDO) env "PATH=$(PATH)" BOTTLEBUILD_REQUIRE=1 $(GO) test -shuffle=on -timeout 20m ./...

.PHONY: race
race: test-setup
	$(SUDO) env "PATH=$(PATH)" CGO_ENABLED=1 BOTTLEBUILD_REQUIRE=1 $(GO) test -race -shuffle=on -timeout 30m ./...

FUZZ     := FuzzLoad FuzzJSON FuzzOverride FuzzVarFile FuzzSet FuzzEval
FUZZTIME ?= 5m

.PHONY: stress
stress: test-setup
	$(SUDO) env "PATH=$(PATH)" BOTTLEBUILD_REQUIRE=1 $(GO) test -shuffle=on -timeout 2h ./graph ./cache ./tasks/buildcontext -rapid.checks=5000
	$(SUDO) env "PATH=$(PATH)" BOTTLEBUILD_REQUIRE=1 BOTTLEBUILD_STRESS=1 $(GO) test -v -timeout 3h -run 'TestCrowd|TestKilled|TestManyEntries' ./cache
	$(SUDO) env "PATH=$(PATH)" BOTTLEBUILD_REQUIRE=1 BOTTLEBUILD_STRESS=1 $(GO) test -v -timeout 3h -run 'TestKilled|TestMutatedRecords' ./cache/remote -remote.mutations 100000
	$(SUDO) env "PATH=$(PATH)" BOTTLEBUILD_REQUIRE=1 $(GO) test -timeout 3h -v ./cmd/bottlebuild -run 'TestKilled$$' -kills 1000
	$(SUDO) env "PATH=$(PATH)" BOTTLEBUILD_REQUIRE=1 BOTTLEBUILD_STRESS=1 $(GO) test -v -timeout 2h -run TestKeyOracle ./tasks
	for t in $(FUZZ); do $(GO) test ./hcl -run '^$$' -fuzz "^$$t\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 5s -parallel 1 || exit 1; done
	for t in FuzzBake FuzzCompose; do $(GO) test ./hcl/importer -run '^$$' -fuzz "^$$t\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 5s -parallel 1 || exit 1; done
	$(SUDO) env "PATH=$(PATH)" BOTTLEBUILD_REQUIRE=1 BOTTLEBUILD_STRESS=1 $(GO) test -timeout 2h -run TestConformance ./tasks/smolvm
	$(SUDO) env "PATH=$(PATH)" BOTTLEBUILD_REQUIRE=1 BOTTLEBUILD_STRESS=1 $(GO) test -v -timeout 1h -run TestManyEntries ./tasks/container

# make bench BENCH='-rows small,files -n 20' runs some rows, and more often.
BENCH_FILES := $(shell find bench -name '*.go')
bin/bench: go.mod bench/go.mod bench/go.sum $(BENCH_FILES) $(GO_FILES)
	$(GO) build -C bench -o ../$@ .
bin/buildx: bench/go.mod bench/go.sum
	$(GO) build -C bench -ldflags '-s -w' -o ../$@ github.com/docker/buildx/cmd/buildx

.PHONY: bench
bench: build bin/bench bin/buildx
	$(call install,$(BENCH_COMMANDS))
	$(SUDO) env "PATH=$(PATH)" bin/bench -bin bin $(BENCH)
	$(GO) test ./cache ./cache/remote -run '^$$' -bench . -benchtime 1x -timeout 1h

GOLANGCI := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.7.2
.PHONY: lint
lint:
	GOOS=darwin $(GO) vet ./...
	$(GO) run $(GOLANGCI) run
	cd bench && $(GO) vet ./...

SOURCES := cmd hcl tasks graph cache internal examples bench
.PHONY: fmt
fmt:
	gofmt -w $(SOURCES)

.PHONY: check
check:
	@test -z "$$(gofmt -l $(SOURCES))" || { gofmt -l $(SOURCES); echo "run: make fmt"; exit 1; }
	$(MAKE) lint race test

.PHONY: clean
clean:
	rm -rf bin examples/dist examples/images/web/server
