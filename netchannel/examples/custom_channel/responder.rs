//! A channel that answers UDP datagrams itself.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Read};
use std::net::IpAddr;

use etherparse::PacketBuilder;
use netchannel::channel::{ChannelError, Netchannel, Setup};
use netchannel::dispatch::{Context, is_possible_source};
use netchannel::drop_reason::DropReason;
use netchannel::interface::Role;
use netchannel::packet::{Fragment, Packet, Transport, checksum, protocol};
use serde_json::Value;

/// Longest answer in bytes: it goes through any IPv4 network in one piece (RFC 791 §3.1: 576 bytes with headers).
pub(crate) const LONGEST_ANSWER: usize = 512;
/// Bytes of payload that wait for the channel's user; what comes on top is not kept.
const INBOX: usize = 64 * 1024;
/// Time to live of an answer.
const TTL: u8 = 64;
/// Length of a UDP header in bytes.
const UDP_HEADER: usize = 8;

/// Answers every UDP datagram with one text. Its user reads the payloads that came, each followed by a line feed, and writes the
/// next answer.
pub(crate) struct Responder {
    name: String,
    answer: Vec<u8>,
    inbox: VecDeque<u8>,
    answered: u64,
    /// Payloads that found the inbox full.
    missed: u64,
}

impl Responder {
    /// A responder that answers this until its user writes something else.
    pub(crate) fn new(answer: &str) -> Self {
        Self {
            name: String::new(),
            answer: answer.as_bytes().to_vec(),
            inbox: VecDeque::with_capacity(INBOX),
            answered: 0,
            missed: 0,
        }
    }

    /// Keeps a payload for the user.
    fn keep(&mut self, payload: &[u8]) {
        if self.inbox.len() + payload.len() < INBOX {
            self.inbox.extend(payload);
            self.inbox.push_back(b'\n');
        } else {
            self.missed += 1;
        }
    }
}

impl Netchannel for Responder {
    fn kind(&self) -> &'static str {
        "responder"
    }

    fn init(&mut self, setup: &Setup<'_>) -> Result<(), ChannelError> {
        self.name = setup.name.to_owned();
        // Rules are for packets from inside.
        if setup
            .interfaces
            .iter()
            .any(|(_, interface)| interface.role == Role::Inside)
        {
            return Ok(());
        }
        Err(ChannelError {
            channel: self.name.clone(),
            reason: "nothing can reach it; configure an inside interface".to_owned(),
        })
    }

    fn process(&mut self, burst: &mut Vec<Packet>, context: &mut Context<'_>) {
        for mut packet in burst.drain(..) {
            let Some(payload) = request(&packet) else {
                context.drop(packet, DropReason::Channel);
                continue;
            };
            self.keep(payload);
            if turn_into_answer(&mut packet, &self.answer).is_err() {
                context.drop(packet, DropReason::TooBig);
                continue;
            }
            self.answered += 1;
            // Back to where it came from, in the frame that it came in.
            let interface = packet.interface;
            context.transmit(packet, interface);
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.inbox.read(buffer)
    }

    fn write(&mut self, data: &[u8], _context: &mut Context<'_>) -> io::Result<usize> {
        if data.len() > LONGEST_ANSWER {
            let message = format!(
                "an answer of {} bytes; at most {LONGEST_ANSWER} are possible",
                data.len()
            );
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        self.answer.clear();
        self.answer.extend_from_slice(data);
        Ok(data.len())
    }

    fn cleanup(&mut self, _context: &mut Context<'_>) {
        log::info!("{}: answered {} datagrams", self.name, self.answered);
    }

    fn details(&self) -> BTreeMap<String, Value> {
        let answer = String::from_utf8_lossy(&self.answer).into_owned();
        [
            ("answer", Value::from(answer)),
            ("answered", Value::from(self.answered)),
            ("missed", Value::from(self.missed)),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }
}

/// The payload of a packet that deserves an answer: a whole UDP datagram with a right checksum (RFC 1122 §4.1.3.4, RFC 8200 §8.1) from
/// a single host.
fn request(packet: &Packet) -> Option<&[u8]> {
    let headers = &packet.headers;
    let is_datagram =
        matches!(headers.transport, Transport::Udp { .. }) && headers.fragment == Fragment::Whole;
    if !is_datagram || !is_possible_source(headers.source) {
        return None;
    }
    // The parser has seen that the datagram is as long as its header says, and at least a header.
    let segment = packet.transport();
    let length = u16::from_be_bytes([segment[4], segment[5]]);
    let datagram = &segment[..usize::from(length)];
    let no_checksum = headers.is_ipv4() && datagram[6..8] == [0, 0];
    let pseudo = checksum::pseudo_sum(
        headers.source,
        headers.destination,
        protocol::UDP,
        u64::from(length),
    );
    let is_intact = no_checksum || checksum::add(pseudo, checksum::sum(datagram)) == 0xffff;
    is_intact.then(|| &datagram[UDP_HEADER..])
}

/// Turns a request into the answer to it, in the same frame.
///
/// # Errors
/// If the answer does not fit in the frame, or the packet's addresses are of two families, which the parser rules out.
fn turn_into_answer(packet: &mut Packet, answer: &[u8]) -> Result<(), Box<dyn std::error::Error>> {
    let headers = packet.headers;
    let ip = match (headers.source, headers.destination) {
        (IpAddr::V4(host), IpAddr::V4(service)) => PacketBuilder::ipv4(service.octets(), host.octets(), TTL),
        (IpAddr::V6(host), IpAddr::V6(service)) => PacketBuilder::ipv6(service.octets(), host.octets(), TTL),
        _ => return Err("addresses of two families".into()),
    };
    let (host_port, service_port) = headers.ports();
    let builder = ip.udp(service_port, host_port);

    let network = usize::from(headers.network);
    packet.frame.set_len(network + builder.size(answer.len()))?;
    let (link, ip_packet) = packet.frame.bytes_mut().split_at_mut(network);
    // Destination and source change places; VLAN tags and Ethernet type stay.
    link[..12].rotate_left(6);
    builder.write_to_slice(ip_packet, answer)?;
    Ok(())
}
