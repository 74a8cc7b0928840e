//! Two small eBPF programs, assembled here: a packet generator and a packet counter, both cheap enough not to
//! be what a measurement measures.

mod assembler;
mod counter;
mod generator;
mod syscall;

pub use counter::Counter;
pub use generator::{FRAME, Flow, Generator, Load};
