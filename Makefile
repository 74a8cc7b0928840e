# `make demo` and `make test` do everything, on a fresh Debian or Ubuntu too. See README.md.

# Rust may have been installed by `setup`, after this shell was started.
export PATH := $(HOME)/.cargo/bin:$(PATH)

# Network namespaces, BPF and AF_XDP sockets need root; building does not.
AS_ROOT = $(if $(filter-out 0,$(shell id -u)),sudo env "PATH=$(PATH)" "HOME=$(HOME)")

.PHONY: build install demo test field-test soak fuzz bench bench-classifier bench-classify bench-reclaim bench-packet-path bench-traffic check check-threads ebpf check-ebpf setup clean

# The `netchannel` command: target/release/netchannel.
build: setup
	cargo build --release --locked --package netchannel-tools

# The command, its manual pages and completions, the systemd unit and a sample configuration. `make` comes first. Options:
# sudo make install PREFIX=/usr DESTDIR=/tmp/package
PREFIX = /usr/local
SYSCONFDIR = /etc
UNITDIR = $(PREFIX)/lib/systemd/system
BINARY = target/release/netchannel
SHARE = $(DESTDIR)$(PREFIX)/share
install:
	@test -x $(BINARY) || { echo "there is no $(BINARY) yet: run make first"; exit 1; }
	install -D -m 755 $(BINARY) $(DESTDIR)$(PREFIX)/sbin/netchannel
	install -d $(DESTDIR)$(SYSCONFDIR)/netchannel $(DESTDIR)$(UNITDIR) $(SHARE)/man/man1 $(SHARE)/doc/netchannel \
	    $(SHARE)/bash-completion/completions $(SHARE)/zsh/site-functions $(SHARE)/fish/vendor_completions.d
	$(BINARY) man --output $(SHARE)/man/man1
	$(BINARY) completions bash > $(SHARE)/bash-completion/completions/netchannel
	$(BINARY) completions zsh > $(SHARE)/zsh/site-functions/_netchannel
	$(BINARY) completions fish > $(SHARE)/fish/vendor_completions.d/netchannel.fish
	sed -e 's,/usr/local/sbin/,$(PREFIX)/sbin/,' -e 's,/etc/netchannel,$(SYSCONFDIR)/netchannel,' \
	    docs/systemd/netchannel.service > $(DESTDIR)$(UNITDIR)/netchannel.service
	install -m 644 docs/netchannel.toml $(SHARE)/doc/netchannel/netchannel.toml

# Real traffic through a NAT between network namespaces. Options: make demo ARGS=--help
demo: build
	cargo build --release --locked --package netchannel-benches --example demo
	$(AS_ROOT) target/release/examples/demo $(ARGS)

# All tests, those that need root included. A failure does not keep the others from running.
test: setup
	cargo build --workspace --all-targets --locked
	status=0; \
	$(AS_ROOT) env CARGO_TARGET_DIR=$(CURDIR)/target cargo test --workspace --locked --no-fail-fast || status=$$?; \
	.ci/check-threads --quick || status=$$?; \
	$(MAKE) soak && exit $$status

# The NAT between programs that others wrote (STUN, HTTP, FTP, DNS, iperf3, traceroute, GRE); `make test` has it too.
field-test: setup
	cargo build --package netchannel-tools --all-targets --locked
	$(AS_ROOT) env CARGO_TARGET_DIR=$(CURDIR)/target cargo test --package netchannel-tools --locked --test field

# The long test of the classifier. Options: make soak MINUTES=60 SEED=7. Each round prints its seed; with that
# seed a run begins with the same round.
soak: MINUTES = 1
soak: setup
	$(if $(SEED),SOAK_SEED=$(SEED)) SOAK_MINUTES=$(MINUTES) cargo test --release --locked --package classifier --test soak

# The fuzzing targets of the parser, the translator, ICMP, state files, rules of every format and requests of the control socket, for as long as wanted; `make test` has a short run.
# Options: make fuzz SECONDS=600 TARGETS=icmp_errors
fuzz: SECONDS = 60
fuzz: TARGETS = parser translator icmp_errors nat_state rules_text rules_json rules_iptables rules_nftables control
fuzz: setup
	netchannel/fuzz/run $(SECONDS) $(TARGETS)

# All benchmarks.
bench: bench-classifier bench-reclaim bench-packet-path bench-traffic

# The classifier's structures: few rules, the tries' own test, ClassBench's styles with up to 1,000,000 rules.
bench-classifier: setup
	cargo bench --locked --package netchannel-benches --bench classifier --bench seed --bench classbench

# The pictures and tables of docs/performance.md: the classifier's structures against the number of rules, on generated
# rule sets or on files. Options: make bench-classify ARGS=--help, or e.g.
# make bench-classify ARGS="--seconds 2 --sizes 1000,10000 --styles acl,fw --structures tuple,trie --output /tmp"
# make bench-classify ARGS="--rules-dir DIRECTORY"
bench-classify: build
	cargo build --release --locked --package netchannel-benches --example plot
	benches/collect-figures $(ARGS)

# Memory reclamation against the crate crossbeam-epoch.
bench-reclaim: setup
	cargo bench --locked --package netchannel-benches --bench reclaim

# What a packet costs in the dispatcher and the channels, without a kernel.
bench-packet-path: setup
	cargo bench --locked --package netchannel-benches --bench packet_path --bench nat --bench nat_state --bench workers

# Packets, TCP, round trips and new flows through this NAT and its peers: about 25 minutes. Options: make bench-traffic ARGS=--help,
# or e.g. make bench-traffic ARGS=--quick
bench-traffic: build
	cargo build --release --locked --package netchannel-benches --examples
	cargo build --release --locked --package netchannel --examples
	$(AS_ROOT) target/release/examples/traffic $(ARGS)

# Formatting, lints and documentation.
check: setup
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked

# What threads share: all interleavings of small cases, and tests under ThreadSanitizer.
check-threads: setup
	.ci/check-threads

# Rebuilds the committed eBPF object; ordinary builds embed it as it is.
ebpf: setup
	xdp-prog/build-object xdp-prog/netchannel.bpf.o

# Fails if the committed eBPF object differs from its source.
check-ebpf: setup
	.ci/check-ebpf

# Packages and Rust, where they are missing.
setup:
	@tools/install-dependencies

clean:
	cargo clean
