//! Counts UDP datagrams where they arrive, and drops them.

use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;

use super::assembler::{Assembler, Helper, If, Register, Verdict, Width};
use super::frame::{DESTINATION, UDP_HEADERS};
use super::load::attach;
use super::syscall::{Hook, Words};
use crate::Result;
use crate::error::During;
use crate::namespace::Namespace;

/// Counts, each in a cache line of its own, so that processors do not wait for each other. Processors share them in turn.
const COUNTS: usize = 8;
/// Words of a cache line.
const LINE: usize = 8;
const WORDS: usize = COUNTS * LINE;

/// An XDP program on an interface that counts the UDP datagrams to one address, and one of its ports or any, and drops them. All
/// else passes. Detached when dropped.
#[derive(Debug)]
pub struct Counter {
    counts: Words<WORDS>,
    _link: OwnedFd,
}

impl Counter {
    /// Attaches a counter to an interface, in native mode.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) if there is no such interface or the kernel refuses.
    pub fn attach(
        namespace: &Namespace,
        interface: &str,
        address: Ipv4Addr,
        port: Option<u16>,
    ) -> Result<Self> {
        let counts = Words::new().during("make a map")?;
        let code = program(counts.descriptor(), address, port);
        let link = namespace.run(|| attach(Hook::Xdp, &code, "counter", interface))?;
        Ok(Self { counts, _link: link })
    }

    /// Datagrams counted so far.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) if the kernel refuses.
    pub fn count(&self) -> Result<u64> {
        let counts = self.counts.read().during("read the counter")?;
        Ok(counts.iter().sum())
    }
}

fn program(counts: i32, address: Ipv4Addr, port: Option<u16>) -> Vec<[u8; 8]> {
    use Register::{R0, R1, R2, R4, R5};
    let mut asm = Assembler::default();
    let pass = asm.label();
    asm.frame(Hook::Xdp, R1, UDP_HEADERS, pass);
    asm.expect_udp(port, pass);
    asm.load(Width::Word, R5, R2, DESTINATION);
    asm.set_double(R4, u32::from_ne_bytes(address.octets()).into());
    asm.jump_if(R5, If::NotEqual, R4, pass);
    asm.call(Helper::GetSmpProcessorId);
    asm.and(R0, COUNTS as i32 - 1);
    asm.shift_left(R0, (LINE * size_of::<u64>()).ilog2().cast_signed());
    asm.map_value(R1, counts);
    asm.add_register(R1, R0);
    asm.set(R2, 1);
    asm.atomic_add(R1, 0, R2);
    asm.answer(Verdict::Drop);
    asm.place(pass);
    asm.answer(Verdict::Pass);
    asm.finish()
}
