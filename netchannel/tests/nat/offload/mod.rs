//! Flows that the XDP program carries, in the kernel: what leaves is the same as without it, byte for byte. Needs root.

mod carrier;
mod equality;
mod lifetime;
