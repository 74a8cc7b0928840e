//! Small eBPF programs, assembled here: a packet generator and a packet counter, both cheap enough not to be what a
//! measurement measures, a reflector of probes, and the least that an XDP forwarder can do.

mod assembler;
mod counter;
mod frame;
mod generator;
mod load;
mod redirect;
mod reflector;
mod syscall;

pub use counter::Counter;
pub use generator::{Flood, Generator, Load};
pub use redirect::{Redirect, Side};
pub use reflector::Reflector;
