//! The least that an XDP forwarder can do: it replaces MAC addresses and redirects.

use std::os::fd::OwnedFd;

use super::assembler::{Assembler, Helper, Register, Verdict, Width};
use super::frame::IPV4_HEADERS;
use super::load::{attach, number_of};
use super::syscall::{Devices, Hook};
use crate::Result;
use crate::error::During;
use crate::namespace::Namespace;

/// One of the two interfaces.
#[derive(Debug, Clone, Copy)]
pub struct Side<'a> {
    /// Its name.
    pub interface: &'a str,
    /// Destination and source MAC address of what leaves by it.
    pub addresses: [[u8; 6]; 2],
}

/// XDP programs on two interfaces, in native mode, each of which sends IPv4 packets to the other interface; all else
/// passes. Detached when dropped.
#[derive(Debug)]
pub struct Redirect {
    _links: [OwnedFd; 2],
}

impl Redirect {
    /// Attaches the programs.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) if there are no such interfaces or the kernel refuses.
    pub fn attach(namespace: &Namespace, sides: [Side<'_>; 2]) -> Result<Self> {
        namespace.run(|| {
            let interfaces = [number_of(sides[0].interface)?, number_of(sides[1].interface)?];
            let devices = Devices::new(&interfaces).during("make a map of interfaces")?;
            let link = |from: usize, to: usize| {
                let code = program(&devices, to as i32, sides[to].addresses);
                attach(Hook::Xdp, &code, "redirector", sides[from].interface)
            };
            Ok(Self {
                _links: [link(0, 1)?, link(1, 0)?],
            })
        })
    }
}

fn program(devices: &Devices, to: i32, addresses: [[u8; 6]; 2]) -> Vec<[u8; 8]> {
    use Register::{R1, R2, R3};
    let mut asm = Assembler::default();
    let pass = asm.label();
    asm.frame(Hook::Xdp, R1, IPV4_HEADERS, pass);
    asm.expect_ipv4(pass);
    let [destination, source] = addresses;
    let [a, b, c, d, e, f] = destination;
    let [g, h, i, j, k, l] = source;
    asm.set_double(R1, u64::from_ne_bytes([a, b, c, d, e, f, g, h]));
    asm.store(Width::Double, R2, 0, R1);
    asm.set_double(R1, u32::from_ne_bytes([i, j, k, l]).into());
    asm.store(Width::Word, R2, 8, R1);
    asm.map(R1, devices.descriptor());
    asm.set(R2, to);
    asm.set(R3, 0);
    asm.call(Helper::RedirectMap);
    asm.answer_result();
    asm.place(pass);
    asm.answer(Verdict::Pass);
    asm.finish()
}
