//! Packets of known flows, and among them the first ones of ever new flows.

use super::super::assembler::{Assembler, If, Register, Verdict, Width};
use super::{Generator, begin};
use crate::Result;
use crate::namespace::Namespace;
use crate::traffic::datagram::{COMPLEMENTS, DESTINATION_PORT, FRAME, Flow, SOURCE_PORT, frame};

/// The lower half of the source address, and the identification, which is its complement: so the header's checksum is the same for all hosts.
const SOURCE: usize = 28;
const IDENTIFICATION: usize = 18;
const HEADER_CHECKSUM: usize = 24;
const CHECKSUM: usize = SOURCE_PORT + 6;
/// Payload behind the complements of the ports: that of the source address.
const SOURCE_COMPLEMENT: usize = COMPLEMENTS + 4;

/// The lower half of the first flooding host's address.
const FIRST_HOST: u16 = 0x4001;
/// First port of new flows, and how many there are of source and destination ports.
const FIRST_PORT: u16 = 1024;
const SOURCE_PORTS: i32 = 512;
const DESTINATION_PORTS: i32 = 32_768;

/// What to send.
#[derive(Debug, Clone, Copy)]
pub struct Flood {
    /// Datagrams per second, at least 1; as many as possible if empty.
    pub rate: Option<u32>,
    /// One datagram in so many is of a known flow, the others are each the first of its flow, of 16,777,216. A power of two; 1: all are.
    pub one_known_in: u16,
    /// Known flows, in turn, by their source ports, from the first one on. A power of two.
    pub known_flows: u16,
    /// Hosts that the new flows come from, in turn; the upper half of their addresses is that of the known flows' source. A power of two, at most
    /// 16,384.
    pub hosts: u16,
}

impl Generator {
    /// Makes a generator that sends known and new flows from an interface.
    ///
    /// # Errors
    /// As [`Generator::new`].
    pub fn flood(namespace: &Namespace, interface: &str, flow: &Flow, flood: &Flood) -> Result<Self> {
        Self::with(namespace, interface, template(flow), |state, frame| {
            program(state, frame, flow.ports.0, flood)
        })
    }
}

/// The frame of the first known flow, with the complements of what differs between hosts.
fn template(flow: &Flow) -> [u8; FRAME] {
    let mut frame = frame(flow);
    let complement = !u16::from_be_bytes([frame[SOURCE], frame[SOURCE + 1]]);
    for (field, checksum) in [(IDENTIFICATION, HEADER_CHECKSUM), (SOURCE_COMPLEMENT, CHECKSUM)] {
        frame[field..field + 2].copy_from_slice(&complement.to_be_bytes());
        let before = u16::from_be_bytes([frame[checksum], frame[checksum + 1]]);
        let sum = u32::from(!before) + u32::from(complement);
        let after = !((sum & 0xffff) + (sum >> 16)) as u16;
        frame[checksum..checksum + 2].copy_from_slice(&after.to_be_bytes());
    }
    frame
}

fn program(state: i32, frame: &[u8; FRAME], first_port: u16, flood: &Flood) -> Vec<[u8; 8]> {
    use Register::{R1, R2, R3, R5};
    let mut asm = Assembler::default();
    let drop = begin(&mut asm, state, flood.rate, frame);
    let (known, done) = (asm.label(), asm.label());
    // Puts bits of the count into a field of the frame, and their complement into others.
    let put =
        |asm: &mut Assembler, shift: u32, numbers: i32, first: u16, field: usize, complements: &[usize]| {
            asm.copy(R1, R5);
            asm.shift_right(R1, shift.cast_signed());
            asm.and(R1, numbers - 1);
            asm.add(R1, first.into());
            asm.big_endian_half(R1);
            asm.store(Width::Half, R2, field as i16, R1);
            asm.xor(R1, 0xffff);
            for &complement in complements {
                asm.store(Width::Half, R2, complement as i16, R1);
            }
        };
    asm.copy(R1, R5);
    asm.and(R1, i32::from(flood.one_known_in) - 1);
    asm.set(R3, 1);
    asm.jump_if(R1, If::Less, R3, known);
    let hosts = i32::from(flood.hosts);
    put(
        &mut asm,
        0,
        hosts,
        FIRST_HOST,
        SOURCE,
        &[IDENTIFICATION, SOURCE_COMPLEMENT],
    );
    put(
        &mut asm,
        0,
        DESTINATION_PORTS,
        FIRST_PORT,
        DESTINATION_PORT,
        &[COMPLEMENTS + 2],
    );
    let turns = DESTINATION_PORTS.ilog2();
    put(
        &mut asm,
        turns,
        SOURCE_PORTS,
        FIRST_PORT,
        SOURCE_PORT,
        &[COMPLEMENTS],
    );
    // There is no jump without a condition.
    asm.jump_if(R5, If::LessOrEqual, R5, done);
    asm.place(known);
    let flows = i32::from(flood.known_flows);
    put(
        &mut asm,
        flood.one_known_in.ilog2(),
        flows,
        first_port,
        SOURCE_PORT,
        &[COMPLEMENTS],
    );
    asm.place(done);
    asm.answer(Verdict::Transmit);
    asm.place(drop);
    asm.answer(Verdict::Drop);
    asm.finish()
}
