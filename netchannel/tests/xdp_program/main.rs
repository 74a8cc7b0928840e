//! The XDP program in the kernel: what becomes of which frame, attaching, and handing frames over. Needs root.

mod attaching;
mod bench;
#[path = "../common/mod.rs"]
mod common;
mod external;
mod frames;
mod handover;
mod holding;
mod interest;
mod loading;
mod namespace;
mod offload;
mod verdicts;
