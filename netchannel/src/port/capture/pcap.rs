//! Packets of a pcap file (draft-ietf-opsawg-pcap).

use std::time::Duration;

use pcap_file::TsResolution;
use pcap_file::pcap::PcapReader;

use super::reader::{Fault, Input, Packet, Step};

/// Bits of the link type field that hold the link type; the others tell of a frame check sequence.
const LINK_TYPE: u32 = 0x0fff_ffff;

pub(super) struct PcapSource {
    reader: PcapReader<Input>,
}

impl PcapSource {
    pub(super) fn new(input: Input) -> Result<Self, Fault> {
        let reader = PcapReader::new(input)?;
        Ok(Self { reader })
    }

    /// Reads the next packet into `packet`.
    pub(super) fn next(&mut self, packet: &mut Packet) -> Result<Step, Fault> {
        let header = self.reader.header();
        // The raw form, for the checked one refuses packets that the capture cut off.
        let Some(raw) = self.reader.next_raw_packet() else {
            return Ok(Step::End);
        };
        let raw = raw?;
        let (unit, per_second) = match header.ts_resolution {
            TsResolution::MicroSecond => (1000, 1_000_000),
            TsResolution::NanoSecond => (1, 1_000_000_000),
        };
        if raw.ts_frac >= per_second {
            return Err(Fault::Malformed(format!(
                "its time has {} parts of a second, of {per_second}",
                raw.ts_frac
            )));
        }
        packet.time = Duration::new(u64::from(raw.ts_sec), raw.ts_frac * unit);
        packet.original_length = raw.orig_len;
        packet.bytes.clear();
        packet.bytes.extend_from_slice(&raw.data);
        Ok(Step::Packet(u32::from(header.datalink) & LINK_TYPE))
    }
}
