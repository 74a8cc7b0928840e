//! The eBPF program: tells the frames that user space asks for from those that the kernel keeps.
//!
//! On any other target than BPF this is an empty shell, so that the workspace builds without a BPF tool chain.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]
// `core` has no atomic additions for BPF, for it can't exchange and compare on all of its versions.
#![cfg_attr(target_arch = "bpf", feature(core_intrinsics), allow(internal_features))]

#[cfg(target_arch = "bpf")]
mod program;

#[cfg(not(target_arch = "bpf"))]
fn main() {}
