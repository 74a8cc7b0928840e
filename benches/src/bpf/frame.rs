//! How programs begin that look at frames.

use super::assembler::{Assembler, If, Label, Register, Width};
use super::syscall::Hook;

/// Offsets in a UDP datagram in an IPv4 packet without options on Ethernet.
const ETHERTYPE: i16 = 12;
const PROTOCOL: i16 = 23;
pub(super) const SOURCE: i16 = 26;
pub(super) const DESTINATION: i16 = 30;
pub(super) const SOURCE_PORT: i16 = 34;
pub(super) const DESTINATION_PORT: i16 = 36;
/// All headers up to that of IPv4, and of UDP.
pub(super) const IPV4_HEADERS: usize = 34;
pub(super) const UDP_HEADERS: usize = 42;

impl Assembler {
    /// `R2 =` the frame of a `context`; goes to `other` if that is shorter than `length`. Changes R3 and R4.
    pub(super) fn frame(&mut self, hook: Hook, context: Register, length: usize, other: Label) {
        use Register::{R2, R3, R4};
        let (data, end) = hook.data();
        self.load(Width::Word, R2, context, data);
        self.load(Width::Word, R3, context, end);
        self.copy(R4, R2);
        self.add(R4, length as i32);
        self.jump_if(R4, If::Greater, R3, other);
    }

    /// Goes to `other` unless the frame in R2, of [`IPV4_HEADERS`] or more, is of IPv4. Changes R5.
    pub(super) fn expect_ipv4(&mut self, other: Label) {
        self.expect_half(ETHERTYPE, 0x0800, other);
    }

    /// Goes to `other` unless the frame in R2, of [`UDP_HEADERS`] or more, is a UDP datagram to a port, or to any. Changes R5.
    pub(super) fn expect_udp(&mut self, port: Option<u16>, other: Label) {
        self.expect_ipv4(other);
        self.load(Width::Byte, Register::R5, Register::R2, PROTOCOL);
        self.jump_if_constant(Register::R5, If::NotEqual, libc::IPPROTO_UDP, other);
        if let Some(port) = port {
            self.expect_half(DESTINATION_PORT, port, other);
        }
    }

    fn expect_half(&mut self, offset: i16, value: u16, other: Label) {
        self.load(Width::Half, Register::R5, Register::R2, offset);
        // Loads give bytes as they lie in memory, so constants have to be turned round on a little-endian machine.
        let value = u16::from_ne_bytes(value.to_be_bytes());
        self.jump_if_constant(Register::R5, If::NotEqual, value.into(), other);
    }
}
