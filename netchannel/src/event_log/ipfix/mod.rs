//! IPFIX messages (RFC 7011) about NAT events (RFC 8158): which elements each kind of record has, and their bytes. No I/O and no clock.

mod message;
mod template;
#[cfg(test)]
mod tests;

use std::net::Ipv4Addr;
use std::time::{Duration, SystemTime};

use crate::channel::nat::{Event, LimitReached, PortBlock, Protocol, Translation};
use crate::drop_reason::DropReason;
use crate::packet::protocol;
pub(super) use message::Message;
use template::element::*;
use template::{
    ADDRESSES_EXHAUSTED, HOST_QUOTA, MAPPING, MAPPING_QUOTA, NOT_SENT, POOL_NAME, PORT_BLOCK,
    PORTS_EXHAUSTED, SESSION_QUOTA, Template, WITH_DESTINATION,
};

/// Values of natEvent.
mod nat_event {
    pub(super) const ADDRESSES_EXHAUSTED: u8 = 3;
    pub(super) const NAT44_SESSION_CREATE: u8 = 4;
    pub(super) const NAT44_SESSION_DELETE: u8 = 5;
    pub(super) const NAT44_BIB_CREATE: u8 = 8;
    pub(super) const NAT44_BIB_DELETE: u8 = 9;
    pub(super) const PORTS_EXHAUSTED: u8 = 12;
    pub(super) const QUOTA_EXCEEDED: u8 = 13;
    pub(super) const PORT_BLOCK_ALLOCATE: u8 = 16;
    pub(super) const PORT_BLOCK_FREE: u8 = 17;
}

/// Values of natQuotaExceededEvent.
mod quota {
    pub(super) const SESSIONS: u32 = 1;
    pub(super) const BIB_ENTRIES: u32 = 2;
    pub(super) const ENTRIES_PER_USER: u32 = 3;
}

/// What the elements of a record are made of; each template has some of it.
#[derive(Clone, Copy, Debug)]
struct Values<'a> {
    time: u64,
    event: u8,
    /// The channel's number, which stands for the translator and for its pool.
    instance: u32,
    protocol: u8,
    inside: (Ipv4Addr, u16),
    external: (Ipv4Addr, u16),
    remote: (Ipv4Addr, u16),
    /// First and last port of a block.
    ports: (u16, u16),
    quota: u32,
    bound: u32,
    not_sent: u64,
    pool_name: &'a str,
}

impl Values<'_> {
    /// All zero but for the instance.
    const fn of(instance: u32) -> Self {
        const NONE: (Ipv4Addr, u16) = (Ipv4Addr::UNSPECIFIED, 0);
        Self {
            time: 0,
            event: 0,
            instance,
            protocol: 0,
            inside: NONE,
            external: NONE,
            remote: NONE,
            ports: (0, 0),
            quota: 0,
            bound: 0,
            not_sent: 0,
            pool_name: "",
        }
    }

    fn put(&self, element: u16, out: &mut Vec<u8>) {
        match element {
            OBSERVATION_TIME_MILLISECONDS => out.extend(self.time.to_be_bytes()),
            NAT_EVENT => out.push(self.event),
            PROTOCOL_IDENTIFIER => out.push(self.protocol),
            SOURCE_IPV4_ADDRESS => out.extend(self.inside.0.octets()),
            SOURCE_TRANSPORT_PORT => out.extend(self.inside.1.to_be_bytes()),
            POST_NAT_SOURCE_IPV4_ADDRESS => out.extend(self.external.0.octets()),
            POST_NAPT_SOURCE_TRANSPORT_PORT => out.extend(self.external.1.to_be_bytes()),
            // Only the source is translated.
            DESTINATION_IPV4_ADDRESS | POST_NAT_DESTINATION_IPV4_ADDRESS => {
                out.extend(self.remote.0.octets())
            }
            DESTINATION_TRANSPORT_PORT | POST_NAPT_DESTINATION_TRANSPORT_PORT => {
                out.extend(self.remote.1.to_be_bytes());
            }
            PORT_RANGE_START => out.extend(self.ports.0.to_be_bytes()),
            PORT_RANGE_END => out.extend(self.ports.1.to_be_bytes()),
            // Every port between them.
            PORT_RANGE_STEP_SIZE => out.extend(1u16.to_be_bytes()),
            PORT_RANGE_NUM_PORTS => out.extend((self.ports.1 - self.ports.0 + 1).to_be_bytes()),
            NAT_QUOTA_EXCEEDED_EVENT => out.extend(self.quota.to_be_bytes()),
            MAX_SESSION_ENTRIES | MAX_BIB_ENTRIES | MAX_ENTRIES_PER_USER => {
                out.extend(self.bound.to_be_bytes())
            }
            NOT_SENT_FLOW_TOTAL_COUNT => out.extend(self.not_sent.to_be_bytes()),
            NAT_POOL_NAME => {
                // Names of channels are short: their length fits one byte.
                let name = &self.pool_name.as_bytes()[..self.pool_name.len().min(254)];
                out.push(name.len() as u8);
                out.extend(name);
            }
            // The translator, its pool, and the process that tells of them have one number.
            _ => out.extend(self.instance.to_be_bytes()),
        }
    }
}

/// A record ready to be put into a message.
#[derive(Debug)]
pub(super) struct DataRecord<'a> {
    template: &'static Template,
    values: Values<'a>,
}

impl<'a> DataRecord<'a> {
    /// That of an event; `None` for a limit that RFC 8158 has no event for: on new mappings in a second.
    pub(super) fn of(instance: u32, time: SystemTime, event: &Event) -> Option<Self> {
        let values = Values {
            time: milliseconds(time),
            ..Values::of(instance)
        };
        let translated = |event, translation: &Translation| {
            let values = Values {
                event,
                protocol: number_of(translation.protocol),
                inside: (*translation.inside.ip(), translation.inside.port()),
                external: (*translation.external.ip(), translation.external.port()),
                ..values
            };
            Some(match translation.remote {
                None => Self {
                    template: &MAPPING,
                    values,
                },
                Some(remote) => Self {
                    template: &WITH_DESTINATION,
                    values: Values {
                        remote: (*remote.ip(), remote.port()),
                        ..values
                    },
                },
            })
        };
        let of_block = |event, block: &PortBlock| {
            Some(Self {
                template: &PORT_BLOCK,
                values: Values {
                    event,
                    inside: (block.host, 0),
                    external: (block.external, 0),
                    ports: (block.first, block.last),
                    ..values
                },
            })
        };
        match event {
            Event::MappingCreated(translation) => translated(nat_event::NAT44_BIB_CREATE, translation),
            Event::MappingDeleted(translation, _) => translated(nat_event::NAT44_BIB_DELETE, translation),
            Event::SessionCreated(translation) => translated(nat_event::NAT44_SESSION_CREATE, translation),
            Event::SessionDeleted(translation, _) => translated(nat_event::NAT44_SESSION_DELETE, translation),
            Event::BlockAllocated(block) => of_block(nat_event::PORT_BLOCK_ALLOCATE, block),
            Event::BlockReleased(block) => of_block(nat_event::PORT_BLOCK_FREE, block),
            Event::LimitReached(reached) => Self::of_limit(reached, values),
        }
    }

    fn of_limit(reached: &LimitReached, values: Values<'a>) -> Option<Self> {
        let values = Values {
            protocol: number_of(reached.protocol),
            inside: (reached.host, 0),
            bound: reached.bound,
            ..values
        };
        let quota = |quota, template| Self {
            template,
            values: Values {
                event: nat_event::QUOTA_EXCEEDED,
                quota,
                ..values
            },
        };
        Some(match (reached.limit, reached.external) {
            (DropReason::NatPortsExhausted, Some(address)) => Self {
                template: &PORTS_EXHAUSTED,
                values: Values {
                    event: nat_event::PORTS_EXHAUSTED,
                    external: (address, 0),
                    ..values
                },
            },
            (DropReason::NatPortsExhausted, None) => Self {
                template: &ADDRESSES_EXHAUSTED,
                values: Values {
                    event: nat_event::ADDRESSES_EXHAUSTED,
                    ..values
                },
            },
            (DropReason::NatSessionLimit, _) => quota(quota::SESSIONS, &SESSION_QUOTA),
            (DropReason::NatMappingLimit, _) => quota(quota::BIB_ENTRIES, &MAPPING_QUOTA),
            (
                DropReason::NatHostMappingLimit
                | DropReason::NatHostSessionLimit
                | DropReason::NatHostBlockLimit
                | DropReason::NatMappingSessionLimit,
                _,
            ) => quota(quota::ENTRIES_PER_USER, &HOST_QUOTA),
            _ => return None,
        })
    }

    /// The name of the pool.
    pub(super) fn pool_name(instance: u32, name: &'a str) -> Self {
        Self {
            template: &POOL_NAME,
            values: Values {
                pool_name: name,
                ..Values::of(instance)
            },
        }
    }

    /// How many records were lost since the start.
    pub(super) fn not_sent(instance: u32, count: u64) -> Self {
        Self {
            template: &NOT_SENT,
            values: Values {
                not_sent: count,
                ..Values::of(instance)
            },
        }
    }
}

fn number_of(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => protocol::TCP,
        Protocol::Udp => protocol::UDP,
        Protocol::Icmp => protocol::ICMP,
    }
}

fn since_epoch(time: SystemTime) -> Duration {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

fn milliseconds(time: SystemTime) -> u64 {
    u64::try_from(since_epoch(time).as_millis()).unwrap_or(u64::MAX)
}
