//! Sends UDP datagrams back before any socket sees them.

use std::os::fd::{AsFd, OwnedFd};

use nix::net::if_::if_nametoindex;

use super::assembler::{Assembler, Helper, If, Register, Verdict, Width};
use super::syscall::{self, Hook};
use crate::Result;
use crate::error::During;
use crate::namespace::Namespace;

/// Fields of `struct __sk_buff`.
const INTERFACE: i16 = 40;
const DATA: i16 = 76;
const DATA_END: i16 = 80;
/// Offsets in an IPv4 packet without options on Ethernet.
const ETHERTYPE: i16 = 12;
const PROTOCOL: i16 = 23;
const SOURCE: i16 = 26;
const DESTINATION: i16 = 30;
const SOURCE_PORT: i16 = 34;
const DESTINATION_PORT: i16 = 36;
const HEADERS: i32 = 42;

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
        let program = syscall::load(Hook::Ingress, &program(port)).during("load the reflector's program")?;
        let link = namespace.run(|| {
            let index = if_nametoindex(interface).during(format!("find interface {interface}"))?;
            syscall::attach(Hook::Ingress, program.as_fd(), index)
                .during(format!("attach the reflector to {interface}"))
        })?;
        Ok(Self { _link: link })
    }
}

fn program(port: u16) -> Vec<[u8; 8]> {
    use Register::{R1, R2, R3, R4, R5, R6};
    let mut asm = Assembler::default();
    let pass = asm.label();
    asm.copy(R6, R1);
    asm.load(Width::Word, R2, R6, DATA);
    asm.load(Width::Word, R3, R6, DATA_END);
    asm.copy(R4, R2);
    asm.add(R4, HEADERS);
    asm.jump_if(R4, If::Greater, R3, pass);
    for (offset, value) in [(ETHERTYPE, 0x0800), (DESTINATION_PORT, port)] {
        asm.load(Width::Half, R5, R2, offset);
        asm.jump_if_constant(
            R5,
            If::NotEqual,
            u16::from_ne_bytes(value.to_be_bytes()).into(),
            pass,
        );
    }
    asm.load(Width::Byte, R5, R2, PROTOCOL);
    asm.jump_if_constant(R5, If::NotEqual, libc::IPPROTO_UDP, pass);
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
