//! From a program's code to one that is at work.

use std::os::fd::{AsFd, OwnedFd};

use nix::net::if_::if_nametoindex;

use super::syscall::{self, Hook};
use crate::Result;
use crate::error::During;

/// Loads a program for a hook; `name` is told if the kernel refuses.
pub(super) fn load(hook: Hook, code: &[[u8; 8]], name: &str) -> Result<OwnedFd> {
    syscall::load(hook, code).during(format!("load the {name}'s program"))
}

/// The number of an interface of the calling thread's network namespace.
pub(super) fn number_of(interface: &str) -> Result<u32> {
    if_nametoindex(interface).during(format!("find interface {interface}"))
}

/// Loads a program and attaches it to an interface of the calling thread's network namespace. It is detached when the descriptor is closed.
pub(super) fn attach(hook: Hook, code: &[[u8; 8]], name: &str, interface: &str) -> Result<OwnedFd> {
    let program = load(hook, code, name)?;
    let number = number_of(interface)?;
    syscall::attach(hook, program.as_fd(), number).during(format!("attach the {name} to {interface}"))
}
