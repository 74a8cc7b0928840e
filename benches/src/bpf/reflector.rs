//! Sends UDP datagrams back before any socket sees them.

use std::os::fd::OwnedFd;

use super::assembler::{Assembler, Helper, Register, Verdict, Width};
use super::frame::{DESTINATION, DESTINATION_PORT, SOURCE, SOURCE_PORT, UDP_HEADERS};
use super::load::attach;
use super::syscall::Hook;
use crate::Result;
use crate::namespace::Namespace;

/// The interface in `struct __sk_buff`.
const INTERFACE: i16 = 40;

/// A program at an interface's traffic control hook that sends the UDP datagrams to a port back by the interface that
/// they came in on, as an echo server would. No process has to be woken for it, so what a round trip takes is what the way
/// there and back takes. Detached when dropped.
#[derive(Debug)]
pub struct Reflector {
    _link: OwnedFd,
}

impl Reflector {
    /// Attaches a reflector to an interface.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) if there is no such interface or the kernel refuses; it must be Linux 6.6 or later.
    pub fn attach(namespace: &Namespace, interface: &str, port: u16) -> Result<Self> {
        let link = namespace.run(|| attach(Hook::Ingress, &program(port), "reflector", interface))?;
        Ok(Self { _link: link })
    }
}

fn program(port: u16) -> Vec<[u8; 8]> {
    use Register::{R1, R2, R4, R5, R6};
    let mut asm = Assembler::default();
    let pass = asm.label();
    asm.copy(R6, R1);
    asm.frame(Hook::Ingress, R6, UDP_HEADERS, pass);
    asm.expect_udp(Some(port), pass);
    // Checksums stay right: they are sums, in which places may be changed.
    for (width, a, b) in [
        (Width::Word, 0, 6),
        (Width::Half, 4, 10),
        (Width::Word, SOURCE, DESTINATION),
        (Width::Half, SOURCE_PORT, DESTINATION_PORT),
    ] {
        asm.load(width, R4, R2, a);
        asm.load(width, R5, R2, b);
        asm.store(width, R2, a, R5);
        asm.store(width, R2, b, R4);
    }
    asm.load(Width::Word, R1, R6, INTERFACE);
    asm.set(R2, 0);
    asm.call(Helper::Redirect);
    asm.answer_result();
    asm.place(pass);
    asm.answer(Verdict::Continue);
    asm.finish()
}
