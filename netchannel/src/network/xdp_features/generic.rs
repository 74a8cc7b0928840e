//! Generic netlink, as much of it as the family `netdev` takes (Documentation/netlink/specs/netdev.yaml of the kernel).

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use netlink_packet_core::{
    DecodeError, DefaultNla, Emitable, NLM_F_DUMP, NLM_F_REQUEST, NetlinkBuffer, NetlinkDeserializable,
    NetlinkHeader, NetlinkMessage, NetlinkPayload, NetlinkSerializable, NlasIterator,
};
use netlink_sys::protocols::NETLINK_GENERIC;
use netlink_sys::{Socket, SocketAddr};
use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::time::TimeVal;

use crate::network::NetworkError;

/// The kernel makes no datagram larger.
const DATAGRAM: usize = 64 << 10;
/// How long the kernel may take for one part of an answer.
const ANSWER_SECONDS: i64 = 10;
/// Length of `struct genlmsghdr`.
const HEADER: usize = 4;

// linux/genetlink.h.
const CONTROL_FAMILY: u16 = 0x10;
const GET_FAMILY: u8 = 3;
const FAMILY_ID: u16 = 1;
const FAMILY_NAME: u16 = 2;
const FAMILY_GROUPS: u16 = 7;
const GROUP_NAME: u16 = 1;
const GROUP_ID: u16 = 2;

// linux/netdev.h.
const NETDEV: &[u8] = b"netdev\0";
const MANAGEMENT_GROUP: &[u8] = b"mgmt\0";
const GET_DEVICE: u8 = 1;
const DEVICE_INDEX: u16 = 1;
const DEVICE_XDP_FEATURES: u16 = 3;

/// A message of generic netlink.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Message {
    family: u16,
    command: u8,
    attributes: Vec<u8>,
}

impl Message {
    fn question(family: u16, command: u8, attributes: &[DefaultNla]) -> Self {
        let mut bytes = vec![0; attributes.buffer_len()];
        attributes.emit(&mut bytes);
        Self {
            family,
            command,
            attributes: bytes,
        }
    }
}

impl NetlinkSerializable for Message {
    fn message_type(&self) -> u16 {
        self.family
    }

    fn buffer_len(&self) -> usize {
        HEADER + self.attributes.len()
    }

    fn serialize(&self, buffer: &mut [u8]) {
        // Command, version, and 16 bits of nothing.
        buffer[..HEADER].copy_from_slice(&[self.command, 1, 0, 0]);
        buffer[HEADER..].copy_from_slice(&self.attributes);
    }
}

impl NetlinkDeserializable for Message {
    type Error = DecodeError;

    fn deserialize(header: &NetlinkHeader, payload: &[u8]) -> Result<Self, DecodeError> {
        let (start, attributes) = payload
            .split_at_checked(HEADER)
            .ok_or_else(|| DecodeError::from("a message of generic netlink without its header"))?;
        Ok(Self {
            family: header.message_type,
            command: start[0],
            attributes: attributes.to_vec(),
        })
    }
}

/// The attributes in `bytes`, by their kinds; what can't be read ends them.
fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let attribute = NlasIterator::new(rest).next()?.ok()?;
        let (kind, length) = (attribute.kind(), usize::from(attribute.length()));
        let value = rest.get(HEADER..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

fn value(bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    attributes(bytes).find_map(|(kind, value)| (kind == wanted).then_some(value))
}

fn number_16(bytes: &[u8], wanted: u16) -> Option<u16> {
    value(bytes, wanted)?.try_into().ok().map(u16::from_ne_bytes)
}

fn number_32(bytes: &[u8], wanted: u16) -> Option<u32> {
    value(bytes, wanted)?.try_into().ok().map(u32::from_ne_bytes)
}

/// Index and XDP features of a device.
fn device(bytes: &[u8]) -> Option<(u32, u64)> {
    let features = value(bytes, DEVICE_XDP_FEATURES)?.try_into().ok()?;
    Some((number_32(bytes, DEVICE_INDEX)?, u64::from_ne_bytes(features)))
}

/// The number of the family's multicast group of this name.
fn group(bytes: &[u8], name: &[u8]) -> Option<u32> {
    attributes(value(bytes, FAMILY_GROUPS)?)
        .find(|(_, group)| value(group, GROUP_NAME) == Some(name))
        .and_then(|(_, group)| number_32(group, GROUP_ID))
}

/// A socket to the family `netdev`, of the network namespace of the thread that opened it.
pub(super) struct NetdevSocket {
    socket: Socket,
    family: u16,
    group: Option<u32>,
    buffer: Vec<u8>,
    sequence: u32,
}

impl AsFd for NetdevSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl NetdevSocket {
    /// None if the kernel has no such family.
    pub(super) fn open() -> Result<Option<Self>, NetworkError> {
        let failed = |action| move |source| NetworkError::Socket { action, source };
        let mut socket = Socket::new(NETLINK_GENERIC).map_err(failed("open a generic netlink socket"))?;
        socket
            .bind_auto()
            .map_err(failed("bind a generic netlink socket"))?;
        setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::new(ANSWER_SECONDS, 0))
            .map_err(io::Error::from)
            .map_err(failed("set the time-out of a generic netlink socket"))?;
        let mut socket = Self {
            socket,
            family: 0,
            group: None,
            buffer: vec![0; DATAGRAM],
            sequence: 0,
        };
        let name = [DefaultNla::new(FAMILY_NAME, NETDEV.to_vec())];
        let question = Message::question(CONTROL_FAMILY, GET_FAMILY, &name);
        let mut found = None;
        let asked = socket.ask(question, 0, |answer| {
            found = number_16(&answer.attributes, FAMILY_ID)
                .map(|family| (family, group(&answer.attributes, MANAGEMENT_GROUP)));
        });
        match asked {
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(None),
            asked => asked.map_err(reading)?,
        }
        Ok(found.map(|(family, group)| Self {
            family,
            group,
            ..socket
        }))
    }

    /// Has the kernel tell of changes from now on.
    pub(super) fn subscribe(&mut self) -> Result<(), NetworkError> {
        let Some(group) = self.group else { return Ok(()) };
        self.socket
            .add_membership(group)
            .map_err(|source| NetworkError::Socket {
                action: "subscribe to changes on a generic netlink socket",
                source,
            })
    }

    /// The XDP features of all devices.
    pub(super) fn read(&mut self) -> Result<HashMap<u32, u64>, NetworkError> {
        let question = Message::question(self.family, GET_DEVICE, &[]);
        let mut devices = HashMap::new();
        self.ask(question, NLM_F_DUMP, |answer| {
            devices.extend(device(&answer.attributes));
        })
        .map_err(reading)?;
        Ok(devices)
    }

    /// Takes all that the kernel told of changes; whether there was something, be it that it could not tell.
    pub(super) fn take_changes(&mut self) -> Result<bool, NetworkError> {
        let mut changed = false;
        loop {
            let mut space = &mut self.buffer[..];
            match self.socket.recv_from(&mut space, libc::MSG_DONTWAIT) {
                Ok(_) => changed = true,
                Err(error) => match error.raw_os_error() {
                    Some(libc::EAGAIN) => return Ok(changed),
                    Some(libc::EINTR) => {}
                    Some(libc::ENOBUFS | libc::ENOMEM) => changed = true,
                    _ => return Err(NetworkError::Receive { source: error }),
                },
            }
        }
    }

    /// Asks a question and shows each message of the answer.
    fn ask(&mut self, question: Message, flags: u16, mut show: impl FnMut(Message)) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = self.sequence;
        let mut request = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(question));
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        self.socket.send_to(&bytes, &SocketAddr::new(0, 0), 0)?;
        let is_dump = flags & NLM_F_DUMP != 0;
        loop {
            let mut space = &mut self.buffer[..];
            let (length, sender) = match self.socket.recv_from(&mut space, 0) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                received => received?,
            };
            // Other processes could send too.
            if sender.port_number() != 0 {
                continue;
            }
            let mut rest = &self.buffer[..length];
            while let Ok(message) = NetlinkBuffer::new_checked(rest) {
                let length = message.length() as usize;
                let parsed = NetlinkMessage::<Message>::deserialize(&rest[..length]);
                rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
                let message = parsed.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
                let (header, payload) = message.into_parts();
                // What is left over from an earlier question that failed.
                if header.sequence_number != self.sequence {
                    continue;
                }
                match payload {
                    NetlinkPayload::InnerMessage(message) => {
                        show(message);
                        if !is_dump {
                            return Ok(());
                        }
                    }
                    NetlinkPayload::Error(error) if error.code.is_some() => return Err(error.to_io()),
                    NetlinkPayload::Done(done) if done.code < 0 => {
                        return Err(io::Error::from_raw_os_error(-done.code));
                    }
                    NetlinkPayload::Done(_) => return Ok(()),
                    _ => {}
                }
            }
        }
    }
}

fn reading(source: io::Error) -> NetworkError {
    NetworkError::Read {
        table: "XDP features of devices",
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(attributes: &[DefaultNla]) -> Vec<u8> {
        Message::question(0, 0, attributes).attributes
    }

    #[test]
    fn devices_and_groups_are_read() {
        let told = bytes(&[
            DefaultNla::new(DEVICE_INDEX, 7u32.to_ne_bytes().to_vec()),
            DefaultNla::new(9, vec![1, 2, 3]),
            DefaultNla::new(DEVICE_XDP_FEATURES, 5u64.to_ne_bytes().to_vec()),
        ]);
        assert_eq!(device(&told), Some((7, 5)));
        let one = |name: &[u8], id: u32| {
            let group = bytes(&[
                DefaultNla::new(GROUP_ID, id.to_ne_bytes().to_vec()),
                DefaultNla::new(GROUP_NAME, name.to_vec()),
            ]);
            DefaultNla::new(id as u16, group)
        };
        let groups = bytes(&[one(b"page-pool\0", 1), one(MANAGEMENT_GROUP, 2)]);
        let told = bytes(&[DefaultNla::new(FAMILY_GROUPS, groups)]);
        assert_eq!(group(&told, MANAGEMENT_GROUP), Some(2));
        assert_eq!(group(&told, b"other\0"), None);
    }

    #[test]
    fn what_is_cut_is_not_read() {
        let told = bytes(&[
            DefaultNla::new(DEVICE_INDEX, 7u32.to_ne_bytes().to_vec()),
            DefaultNla::new(DEVICE_XDP_FEATURES, 5u64.to_ne_bytes().to_vec()),
        ]);
        for length in 0..told.len() {
            assert_eq!(device(&told[..length]), None);
        }
    }
}
