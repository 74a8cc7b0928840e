//! Packets in the blocks of a pcapng file (draft-ietf-opsawg-pcapng), and the units of their times.

use std::time::Duration;

use pcap_file::Endianness;
use pcap_file::pcapng::PcapNgReader;
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};

use super::reader::{Fault, Input, Packet, Step};

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
const OBSOLETE_PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const ENHANCED_PACKET: u32 = 6;

pub(super) struct PcapngSource {
    reader: PcapNgReader<Input>,
    /// Those of the current section.
    interfaces: Vec<Interface>,
    /// The only interface whose packets are read.
    wanted: Option<String>,
    /// Names of the interfaces of all sections so far.
    present: Vec<String>,
}

impl PcapngSource {
    pub(super) fn new(input: Input, wanted: Option<&str>) -> Result<Self, Fault> {
        Ok(Self {
            reader: PcapNgReader::new(input)?,
            interfaces: Vec::new(),
            wanted: wanted.map(str::to_owned),
            present: Vec::new(),
        })
    }

    /// Reads the next packet into `packet`.
    pub(super) fn next(&mut self, packet: &mut Packet) -> Result<Step, Fault> {
        loop {
            let order = self.reader.section().endianness;
            let Some(block) = self.reader.next_raw_block() else {
                return self.end();
            };
            let block = block?;
            match block.type_ {
                SECTION_HEADER => self.interfaces.clear(),
                INTERFACE_DESCRIPTION => {
                    let interface = self.reader.interfaces().last().map(Interface::new);
                    self.present
                        .extend(interface.as_ref().map(|interface| interface.name.clone()));
                    self.interfaces.extend(interface);
                }
                OBSOLETE_PACKET | SIMPLE_PACKET | ENHANCED_PACKET => {
                    return read(
                        block.type_,
                        Fields {
                            rest: &block.body,
                            order,
                        },
                        &self.interfaces,
                        self.wanted.as_deref(),
                        packet,
                    )
                    .map_err(Fault::Malformed);
                }
                _ => {}
            }
        }
    }

    fn end(&mut self) -> Result<Step, Fault> {
        match self.wanted.take() {
            Some(interface) if !self.present.contains(&interface) => Err(Fault::NoSuchInterface {
                interface,
                present: std::mem::take(&mut self.present),
            }),
            _ => Ok(Step::End),
        }
    }
}

/// An interface of the current section.
struct Interface {
    /// Its name, empty if it has none.
    name: String,
    link_type: u32,
    /// Longest packet captured; 0 for no limit.
    snap_length: u32,
    resolution: Resolution,
    /// Seconds to be added to all times.
    offset: i64,
}

/// The unit of times: option `if_tsresol`.
#[derive(Clone, Copy)]
enum Resolution {
    /// 10 to the minus this seconds.
    Decimal(u8),
    /// 2 to the minus this seconds.
    Binary(u8),
}

impl Interface {
    fn new(block: &InterfaceDescriptionBlock<'_>) -> Self {
        let mut interface = Self {
            name: String::new(),
            link_type: block.linktype.into(),
            snap_length: block.snaplen,
            resolution: Resolution::Decimal(6),
            offset: 0,
        };
        for option in &block.options {
            match option {
                InterfaceDescriptionOption::IfName(name) => interface.name = name.to_string(),
                InterfaceDescriptionOption::IfTsResol(value) if value & 0x80 == 0 => {
                    interface.resolution = Resolution::Decimal(*value);
                }
                InterfaceDescriptionOption::IfTsResol(value) => {
                    interface.resolution = Resolution::Binary(value & 0x7f);
                }
                InterfaceDescriptionOption::IfTsOffset(seconds) => {
                    interface.offset = seconds.cast_signed();
                }
                _ => {}
            }
        }
        interface
    }

    /// The time since 1970 that a number of units stands for.
    fn time(&self, ticks: u64) -> Duration {
        const NANOSECONDS: u128 = 1_000_000_000;
        let ticks = u128::from(ticks);
        let nanoseconds = match self.resolution {
            Resolution::Decimal(digits @ 0..=9) => ticks * 10u128.pow(9 - u32::from(digits)),
            Resolution::Decimal(digits) => 10u128
                .checked_pow(u32::from(digits) - 9)
                .map_or(0, |divisor| ticks / divisor),
            Resolution::Binary(bits) => (ticks * NANOSECONDS) >> bits,
        };
        // Both parts are in range: not more than 2^64 seconds come out of 2^64 units.
        let seconds = (nanoseconds / NANOSECONDS) as u64;
        let rest = (nanoseconds % NANOSECONDS) as u32;
        Duration::new(seconds.saturating_add_signed(self.offset), rest)
    }
}

/// Reads the packet of a block into `packet`, unless it is of another interface than the one wanted. An error says what is wrong.
fn read(
    kind: u32,
    mut fields: Fields<'_>,
    interfaces: &[Interface],
    wanted: Option<&str>,
    packet: &mut Packet,
) -> Result<Step, String> {
    let mut ticks = None;
    let number = match kind {
        ENHANCED_PACKET => fields.word()?,
        OBSOLETE_PACKET => fields.half_words()?.0,
        _ => 0,
    };
    let interface = interfaces.get(number as usize).ok_or_else(|| {
        format!(
            "its interface is number {number}, but {} are described before it",
            interfaces.len()
        )
    })?;
    let (captured, original) = if kind == SIMPLE_PACKET {
        let original = fields.word()?;
        let limit = interface.snap_length;
        let captured = if limit == 0 { original } else { original.min(limit) };
        (captured, original)
    } else {
        ticks = Some(u64::from(fields.word()?) << 32 | u64::from(fields.word()?));
        (fields.word()?, fields.word()?)
    };
    if wanted.is_some_and(|name| name != interface.name) {
        return Ok(Step::Other);
    }
    let bytes = fields.rest.get(..captured as usize).ok_or_else(|| {
        format!(
            "{captured} bytes in a block that has room for {}",
            fields.rest.len()
        )
    })?;
    if let Some(ticks) = ticks {
        packet.time = interface.time(ticks);
    }
    packet.original_length = original;
    packet.bytes.clear();
    packet.bytes.extend_from_slice(bytes);
    Ok(Step::Packet(interface.link_type))
}

/// What remains of a block.
struct Fields<'a> {
    rest: &'a [u8],
    order: Endianness,
}

impl Fields<'_> {
    fn word(&mut self) -> Result<u32, String> {
        let Some((bytes, rest)) = self.rest.split_first_chunk() else {
            return Err("its block is too short".to_owned());
        };
        self.rest = rest;
        Ok(match self.order {
            Endianness::Big => u32::from_be_bytes(*bytes),
            Endianness::Little => u32::from_le_bytes(*bytes),
        })
    }

    /// Two fields of 16 bits, in the order of the file.
    fn half_words(&mut self) -> Result<(u32, u32), String> {
        let word = self.word()?;
        Ok(match self.order {
            Endianness::Big => (word >> 16, word & 0xffff),
            Endianness::Little => (word & 0xffff, word >> 16),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_the_unit_of_their_interface() {
        let time = |resolution, offset, ticks| {
            Interface {
                name: String::new(),
                link_type: 1,
                snap_length: 0,
                resolution,
                offset,
            }
            .time(ticks)
        };
        assert_eq!(
            time(Resolution::Decimal(6), 0, 1_500_000),
            Duration::from_millis(1500)
        );
        assert_eq!(time(Resolution::Decimal(9), 0, 7), Duration::from_nanos(7));
        assert_eq!(time(Resolution::Decimal(12), 0, 7000), Duration::from_nanos(7));
        assert_eq!(time(Resolution::Decimal(0), -1, 9), Duration::from_secs(8));
        assert_eq!(time(Resolution::Binary(1), 0, 3), Duration::from_millis(1500));
        // Extremes stay in range.
        assert_eq!(
            time(Resolution::Decimal(0), i64::MAX, u64::MAX),
            Duration::from_secs(u64::MAX)
        );
        assert_eq!(time(Resolution::Decimal(127), i64::MIN, u64::MAX), Duration::ZERO);
        assert_eq!(time(Resolution::Binary(127), 0, u64::MAX), Duration::ZERO);
    }
}
