//! What a packet is handed to another worker with.

use crate::channel::ChannelId;
use crate::interface::InterfaceId;

/// What the other worker is to do with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Treat it as if it had come in there.
    Arrival,
    /// Give it to this channel, with a word of the channel's own.
    Channel { channel: ChannelId, word: u64 },
}

/// What stands before the bytes of a packet in a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::dispatch) struct Head {
    /// Length of the packet, in bytes.
    pub(in crate::dispatch) len: u16,
    /// The interface that it came in by.
    pub(in crate::dispatch) interface: InterfaceId,
    pub(in crate::dispatch) purpose: Purpose,
}

impl Head {
    /// Length in bytes.
    pub(super) const LEN: usize = 14;

    /// In place of a channel's number.
    const ARRIVAL: u16 = u16::MAX;

    #[inline]
    pub(super) fn to_bytes(self) -> [u8; Self::LEN] {
        let (channel, word) = match self.purpose {
            Purpose::Arrival => (Self::ARRIVAL, 0),
            Purpose::Channel { channel, word } => (channel.0, word),
        };
        let mut bytes = [0; Self::LEN];
        bytes[..2].copy_from_slice(&self.len.to_ne_bytes());
        bytes[2..4].copy_from_slice(&self.interface.0.to_ne_bytes());
        bytes[4..6].copy_from_slice(&channel.to_ne_bytes());
        bytes[6..].copy_from_slice(&word.to_ne_bytes());
        bytes
    }

    #[inline]
    pub(super) fn of_bytes(bytes: [u8; Self::LEN]) -> Self {
        let [a, b, c, d, e, f, word @ ..] = bytes;
        let channel = u16::from_ne_bytes([e, f]);
        Self {
            len: u16::from_ne_bytes([a, b]),
            interface: InterfaceId(u16::from_ne_bytes([c, d])),
            purpose: match channel {
                Self::ARRIVAL => Purpose::Arrival,
                channel => Purpose::Channel {
                    channel: ChannelId(channel),
                    word: u64::from_ne_bytes(word),
                },
            },
        }
    }
}
