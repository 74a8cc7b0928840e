.PHONY: ebpf check-ebpf

# Rebuilds the committed eBPF object; ordinary builds embed it as it is.
ebpf:
	xdp-prog/build-object xdp-prog/netchannel.bpf.o

# Fails if the committed eBPF object differs from its source.
check-ebpf:
	.ci/check-ebpf
