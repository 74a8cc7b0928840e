//! What the eBPF program and user space share: map names, keys and values.
#![no_std]
