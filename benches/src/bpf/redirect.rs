//! The least that an XDP forwarder can do: it replaces MAC addresses and redirects.

use std::os::fd::{AsFd, OwnedFd};

use nix::net::if_::if_nametoindex;

use super::assembler::{Assembler, Helper, If, Register, Verdict, Width};
use super::syscall::{self, Devices, Hook};
use crate::Result;
use crate::error::During;
use crate::namespace::Namespace;

const ETHERTYPE: i16 = 12;
const HEADERS: i32 = 34;

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
            let index = |side: Side<'_>| {
                if_nametoindex(side.interface).during(format!("find interface {}", side.interface))
            };
            let indices = [index(sides[0])?, index(sides[1])?];
            let devices = Devices::new(&indices).during("make a map of interfaces")?;
            let link = |from: usize, to: usize| {
                let code = program(&devices, to as i32, sides[to].addresses);
                let program = syscall::load(Hook::Xdp, &code).during("load the redirecting program")?;
                syscall::attach(Hook::Xdp, program.as_fd(), indices[from]).during(format!(
                    "attach the redirecting program to {}",
                    sides[from].interface
                ))
            };
            Ok(Self {
                _links: [link(0, 1)?, link(1, 0)?],
            })
        })
    }
}

fn program(devices: &Devices, to: i32, addresses: [[u8; 6]; 2]) -> Vec<[u8; 8]> {
    use Register::{R1, R2, R3, R4, R5};
    let mut asm = Assembler::default();
    let pass = asm.label();
    asm.load(Width::Word, R2, R1, 0);
    asm.load(Width::Word, R3, R1, 4);
    asm.copy(R4, R2);
    asm.add(R4, HEADERS);
    asm.jump_if(R4, If::Greater, R3, pass);
    asm.load(Width::Half, R5, R2, ETHERTYPE);
    let ipv4 = u16::from_ne_bytes([0x08, 0x00]);
    asm.jump_if_constant(R5, If::NotEqual, ipv4.into(), pass);
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
