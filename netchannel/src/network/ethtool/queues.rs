//! Queues and their rings, and which packets arrive on which queue (`struct ethtool_channels`, `ethtool_ringparam`, `ethtool_rxfh_indir`,
//! `ethtool_rxnfc` of linux/ethtool.h).

use super::{CHANNELS_WORDS, Ethtool, GET_CHANNELS};
use crate::network::NetworkError;

const GET_RINGS: u32 = 0x10;
const GET_HASH_FIELDS: u32 = 0x29;
const GET_INDIRECTION: u32 = 0x38;
const SET_INDIRECTION: u32 = 0x39;
/// 32-bit words of `struct ethtool_ringparam`, and of `struct ethtool_rxnfc` with room to spare.
const RINGS_WORDS: usize = 9;
const CLASSIFICATION_WORDS: usize = 64;
/// `UDP_V4_FLOW`, and the bits of the hash that stand for its ports (`RXH_L4_B_0_1`, `RXH_L4_B_2_3`).
const UDP_OVER_IPV4: u32 = 0x02;
const PORTS: u64 = 1 << 6 | 1 << 7;
/// Entries of the longest indirection table that is believed.
const LONGEST_TABLE: u32 = 65_536;

/// How many queues an interface could have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QueueLimits {
    /// Queues that receive.
    pub receive: u32,
    /// Queues that transmit.
    pub transmit: u32,
    /// Whether its queues do both: `ethtool -L INTERFACE combined N` sets their number.
    pub combined: bool,
}

/// Entries of a network card's own rings, which are not those of AF_XDP sockets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CardRings {
    /// Of each receive queue.
    pub receive: u32,
    /// The most that there could be.
    pub most_receive: u32,
    /// Of each transmit queue.
    pub transmit: u32,
    /// The most that there could be.
    pub most_transmit: u32,
}

impl Ethtool {
    /// How many queues the interface could have; `None` if its driver does not tell.
    pub fn queue_limits(&self, interface: &str) -> Option<QueueLimits> {
        let mut words = [0; CHANNELS_WORDS];
        words[0] = GET_CHANNELS;
        self.ethtool(interface, "read its number of queues", &mut words)
            .ok()?;
        let [_, receive, transmit, _, combined, ..] = words;
        Some(QueueLimits {
            receive: receive.max(combined),
            transmit: transmit.max(combined),
            combined: combined > 0,
        })
    }

    /// The card's rings; `None` for a driver without any.
    pub fn rings(&self, interface: &str) -> Option<CardRings> {
        let mut words = [0; RINGS_WORDS];
        words[0] = GET_RINGS;
        self.ethtool(interface, "read its rings", &mut words).ok()?;
        let [_, most_receive, _, _, most_transmit, receive, _, _, transmit] = words;
        Some(CardRings {
            receive,
            most_receive,
            transmit,
            most_transmit,
        })
    }

    /// The receive queues that a packet's hash is spread over (RSS), one for each value of its last bits; `None` for a driver that has
    /// no such table.
    pub fn indirection(&self, interface: &str) -> Option<Vec<u32>> {
        const ACTION: &str = "read how it spreads packets over its queues";
        let mut size = [GET_INDIRECTION, 0];
        self.ethtool(interface, ACTION, &mut size).ok()?;
        let entries = size[1];
        if entries == 0 || entries > LONGEST_TABLE {
            return None;
        }
        let mut words = vec![0; 2 + entries as usize];
        words[..2].copy_from_slice(&[GET_INDIRECTION, entries]);
        self.ethtool(interface, ACTION, &mut words).ok()?;
        words.drain(..2);
        Some(words)
    }

    /// Spreads packets over queues by this table, as long as the one that [`indirection`](Self::indirection) gives.
    ///
    /// # Errors
    /// When there is no such interface, or the driver refuses.
    pub fn set_indirection(&self, interface: &str, table: &[u32]) -> Result<(), NetworkError> {
        let mut words = vec![SET_INDIRECTION, table.len() as u32];
        words.extend(table);
        self.ethtool(
            interface,
            "change how it spreads packets over its queues",
            &mut words,
        )
    }

    /// Whether the ports of UDP over IPv4 have a say in a packet's queue; `None` for a driver that does not tell.
    pub fn hashes_udp_ports(&self, interface: &str) -> Option<bool> {
        let mut words = [0; CLASSIFICATION_WORDS];
        words[..2].copy_from_slice(&[GET_HASH_FIELDS, UDP_OVER_IPV4]);
        self.ethtool(interface, "read what it hashes", &mut words).ok()?;
        let bytes = [words[2].to_ne_bytes(), words[3].to_ne_bytes()].concat();
        let fields = u64::from_ne_bytes(bytes.try_into().ok()?);
        Some(fields & PORTS == PORTS)
    }
}

/// A table as long as `table` that spreads packets evenly over the first `queues` queues; `None` if `table` does so as far as it matters: it
/// names each of them, and no other.
pub fn spread_over(table: &[u32], queues: u32) -> Option<Vec<u32>> {
    let is_used = |queue| table.contains(&queue);
    if table.iter().all(|&queue| queue < queues) && (0..queues).take(table.len()).all(is_used) {
        return None;
    }
    Some((0..queues.max(1)).cycle().take(table.len()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_changed_only_if_it_leaves_queues_out_or_names_others() {
        assert_eq!(spread_over(&[0, 1, 0, 1], 2), None);
        assert_eq!(
            spread_over(&[0, 0, 0, 1], 2),
            None,
            "weights are the administrator's"
        );
        assert_eq!(spread_over(&[0, 1, 2, 3], 2), Some(vec![0, 1, 0, 1]));
        assert_eq!(spread_over(&[1, 1, 1, 1], 3), Some(vec![0, 1, 2, 0]));
        assert_eq!(spread_over(&[0, 1], 3), None, "as many as it has room for");
        assert_eq!(spread_over(&[7], 0), Some(vec![0]));
    }

    #[test]
    fn drivers_without_tables_or_rings_say_nothing() {
        let ethtool = Ethtool::open().expect("a socket");
        assert_eq!(ethtool.indirection("lo"), None);
        assert_eq!(ethtool.rings("lo"), None);
        assert_eq!(ethtool.queue_limits("nobody-has-it"), None);
        assert_eq!(ethtool.hashes_udp_ports("lo"), None);
        assert!(ethtool.set_indirection("lo", &[0, 0]).is_err());
    }
}
