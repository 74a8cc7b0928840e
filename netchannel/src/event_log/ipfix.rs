//! IPFIX messages (RFC 7011) about NAT events (RFC 8158): which elements each kind of record has, and their bytes. No I/O and no clock.

use std::net::Ipv4Addr;
use std::ops::Range;
use std::time::{Duration, SystemTime};

use crate::channel::nat::{Event, LimitReached, PortBlock, Protocol, Translation};
use crate::drop_reason::DropReason;
use crate::packet::protocol;

const VERSION: u16 = 10;
const MESSAGE_HEADER: usize = 16;
const SET_HEADER: usize = 4;
const TEMPLATE_SET: u16 = 2;
const OPTIONS_TEMPLATE_SET: u16 = 3;
/// The length of an element that says its length itself.
const VARIABLE: u16 = u16::MAX;

/// Information elements, by the numbers that IANA gave them.
mod element {
    pub(super) const PROTOCOL_IDENTIFIER: u16 = 4;
    pub(super) const SOURCE_TRANSPORT_PORT: u16 = 7;
    pub(super) const SOURCE_IPV4_ADDRESS: u16 = 8;
    pub(super) const DESTINATION_TRANSPORT_PORT: u16 = 11;
    pub(super) const DESTINATION_IPV4_ADDRESS: u16 = 12;
    pub(super) const EXPORTING_PROCESS_ID: u16 = 144;
    pub(super) const NOT_SENT_FLOW_TOTAL_COUNT: u16 = 166;
    pub(super) const POST_NAT_SOURCE_IPV4_ADDRESS: u16 = 225;
    pub(super) const POST_NAT_DESTINATION_IPV4_ADDRESS: u16 = 226;
    pub(super) const POST_NAPT_SOURCE_TRANSPORT_PORT: u16 = 227;
    pub(super) const POST_NAPT_DESTINATION_TRANSPORT_PORT: u16 = 228;
    pub(super) const NAT_EVENT: u16 = 230;
    pub(super) const NAT_POOL_ID: u16 = 283;
    pub(super) const NAT_POOL_NAME: u16 = 284;
    pub(super) const OBSERVATION_TIME_MILLISECONDS: u16 = 323;
    pub(super) const PORT_RANGE_START: u16 = 361;
    pub(super) const PORT_RANGE_END: u16 = 362;
    pub(super) const PORT_RANGE_STEP_SIZE: u16 = 363;
    pub(super) const PORT_RANGE_NUM_PORTS: u16 = 364;
    pub(super) const NAT_INSTANCE_ID: u16 = 463;
    pub(super) const NAT_QUOTA_EXCEEDED_EVENT: u16 = 466;
    pub(super) const MAX_SESSION_ENTRIES: u16 = 471;
    pub(super) const MAX_BIB_ENTRIES: u16 = 472;
    pub(super) const MAX_ENTRIES_PER_USER: u16 = 473;
}
use element::*;

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

/// Which elements a kind of record has, in their order.
#[derive(Debug)]
struct Template {
    id: u16,
    /// The first so many are the scope of an options template; 0 for others.
    scope: u16,
    elements: &'static [u16],
}

/// An inside endpoint got an external one, or lost it.
static MAPPING: Template = Template {
    id: 256,
    scope: 0,
    elements: &[
        OBSERVATION_TIME_MILLISECONDS,
        NAT_EVENT,
        NAT_INSTANCE_ID,
        SOURCE_IPV4_ADDRESS,
        POST_NAT_SOURCE_IPV4_ADDRESS,
        PROTOCOL_IDENTIFIER,
        SOURCE_TRANSPORT_PORT,
        POST_NAPT_SOURCE_TRANSPORT_PORT,
    ],
};

/// The same with the outside endpoint, if destinations are told.
static WITH_DESTINATION: Template = Template {
    id: 257,
    scope: 0,
    elements: &[
        OBSERVATION_TIME_MILLISECONDS,
        NAT_EVENT,
        NAT_INSTANCE_ID,
        SOURCE_IPV4_ADDRESS,
        POST_NAT_SOURCE_IPV4_ADDRESS,
        PROTOCOL_IDENTIFIER,
        SOURCE_TRANSPORT_PORT,
        POST_NAPT_SOURCE_TRANSPORT_PORT,
        DESTINATION_IPV4_ADDRESS,
        POST_NAT_DESTINATION_IPV4_ADDRESS,
        DESTINATION_TRANSPORT_PORT,
        POST_NAPT_DESTINATION_TRANSPORT_PORT,
    ],
};

static ADDRESSES_EXHAUSTED: Template = Template {
    id: 258,
    scope: 0,
    elements: &[
        OBSERVATION_TIME_MILLISECONDS,
        NAT_EVENT,
        NAT_INSTANCE_ID,
        NAT_POOL_ID,
    ],
};

static PORTS_EXHAUSTED: Template = Template {
    id: 259,
    scope: 0,
    elements: &[
        OBSERVATION_TIME_MILLISECONDS,
        NAT_EVENT,
        NAT_INSTANCE_ID,
        NAT_POOL_ID,
        POST_NAT_SOURCE_IPV4_ADDRESS,
        PROTOCOL_IDENTIFIER,
    ],
};

static SESSION_QUOTA: Template = Template {
    id: 260,
    scope: 0,
    elements: &[
        OBSERVATION_TIME_MILLISECONDS,
        NAT_EVENT,
        NAT_INSTANCE_ID,
        NAT_QUOTA_EXCEEDED_EVENT,
        MAX_SESSION_ENTRIES,
    ],
};

static MAPPING_QUOTA: Template = Template {
    id: 261,
    scope: 0,
    elements: &[
        OBSERVATION_TIME_MILLISECONDS,
        NAT_EVENT,
        NAT_INSTANCE_ID,
        NAT_QUOTA_EXCEEDED_EVENT,
        MAX_BIB_ENTRIES,
    ],
};

static HOST_QUOTA: Template = Template {
    id: 262,
    scope: 0,
    elements: &[
        OBSERVATION_TIME_MILLISECONDS,
        NAT_EVENT,
        NAT_INSTANCE_ID,
        NAT_QUOTA_EXCEEDED_EVENT,
        MAX_ENTRIES_PER_USER,
        SOURCE_IPV4_ADDRESS,
    ],
};

/// Names the pool, which is the channel.
static POOL_NAME: Template = Template {
    id: 263,
    scope: 1,
    elements: &[NAT_POOL_ID, NAT_POOL_NAME],
};

/// How many records could not be exported (RFC 7011 section 4.3).
static NOT_SENT: Template = Template {
    id: 264,
    scope: 1,
    elements: &[EXPORTING_PROCESS_ID, NOT_SENT_FLOW_TOTAL_COUNT],
};

/// An inside host got a block of ports, or lost it.
static PORT_BLOCK: Template = Template {
    id: 265,
    scope: 0,
    elements: &[
        OBSERVATION_TIME_MILLISECONDS,
        NAT_EVENT,
        NAT_INSTANCE_ID,
        SOURCE_IPV4_ADDRESS,
        POST_NAT_SOURCE_IPV4_ADDRESS,
        PORT_RANGE_START,
        PORT_RANGE_END,
        PORT_RANGE_STEP_SIZE,
        PORT_RANGE_NUM_PORTS,
    ],
};

static TEMPLATES: [&Template; 8] = [
    &MAPPING,
    &WITH_DESTINATION,
    &ADDRESSES_EXHAUSTED,
    &PORTS_EXHAUSTED,
    &SESSION_QUOTA,
    &MAPPING_QUOTA,
    &HOST_QUOTA,
    &PORT_BLOCK,
];
static OPTIONS_TEMPLATES: [&Template; 2] = [&POOL_NAME, &NOT_SENT];

/// Bytes of an element.
fn length(element: u16) -> u16 {
    match element {
        PROTOCOL_IDENTIFIER | NAT_EVENT => 1,
        SOURCE_TRANSPORT_PORT
        | DESTINATION_TRANSPORT_PORT
        | POST_NAPT_SOURCE_TRANSPORT_PORT
        | POST_NAPT_DESTINATION_TRANSPORT_PORT
        | PORT_RANGE_START
        | PORT_RANGE_END
        | PORT_RANGE_STEP_SIZE
        | PORT_RANGE_NUM_PORTS => 2,
        NOT_SENT_FLOW_TOTAL_COUNT | OBSERVATION_TIME_MILLISECONDS => 8,
        NAT_POOL_NAME => VARIABLE,
        // Addresses, numbers and counts.
        _ => 4,
    }
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

/// A message in the making. Records of one template that follow each other are in one set.
pub(super) struct Message {
    domain: u32,
    /// Data records of all messages before this one.
    sequence: u32,
    longest: usize,
    bytes: Vec<u8>,
    /// Of the last set: its identifier and where it starts.
    set: Option<(u16, usize)>,
    /// Data records in it.
    records: u32,
}

impl Message {
    /// The first message of an observation domain; each has at most `longest` bytes.
    pub(super) fn new(domain: u32, longest: usize) -> Self {
        Self {
            domain,
            sequence: 0,
            longest,
            bytes: vec![0; MESSAGE_HEADER],
            set: None,
            records: 0,
        }
    }

    /// Data records in it.
    pub(super) fn records(&self) -> u32 {
        self.records
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.len() == MESSAGE_HEADER
    }

    /// Adds all templates; `false` if there is no room for them in this message.
    pub(super) fn add_templates(&mut self) -> bool {
        let plain = TEMPLATES.iter().map(|template| (TEMPLATE_SET, *template));
        let options = OPTIONS_TEMPLATES
            .iter()
            .map(|template| (OPTIONS_TEMPLATE_SET, *template));
        self.add_whole(|message| {
            for (set, template) in plain.chain(options) {
                message.in_set(set, |out| put_template(template, out));
            }
        })
    }

    /// Adds a record; `false` if there is no room for it in this message.
    pub(super) fn add(&mut self, record: &DataRecord<'_>) -> bool {
        let added = self.add_whole(|message| {
            message.in_set(record.template.id, |out| {
                for element in record.template.elements {
                    record.values.put(*element, out);
                }
            });
        });
        self.records += u32::from(added);
        added
    }

    /// Adds all or nothing.
    fn add_whole(&mut self, add: impl FnOnce(&mut Self)) -> bool {
        let (length, set) = (self.bytes.len(), self.set);
        add(self);
        let fits = self.bytes.len() <= self.longest;
        if !fits {
            self.bytes.truncate(length);
            self.set = set;
        }
        fits
    }

    fn in_set(&mut self, id: u16, put: impl FnOnce(&mut Vec<u8>)) {
        if self.set.is_none_or(|(last, _)| last != id) {
            self.close_set();
            self.set = Some((id, self.bytes.len()));
            self.bytes.extend(id.to_be_bytes());
            self.bytes.extend([0; SET_HEADER - 2]);
        }
        put(&mut self.bytes);
    }

    /// Writes the length of the last set.
    fn close_set(&mut self) {
        if let Some((_, start)) = self.set {
            let length = (self.bytes.len() - start) as u16;
            write_u16(&mut self.bytes, start + 2..start + 4, length);
        }
    }

    /// The bytes of the message, and begins the next one.
    pub(super) fn finish(&mut self, now: SystemTime) -> Vec<u8> {
        self.close_set();
        self.set = None;
        let mut bytes = std::mem::replace(&mut self.bytes, vec![0; MESSAGE_HEADER]);
        let length = bytes.len() as u16;
        write_u16(&mut bytes, 0..2, VERSION);
        write_u16(&mut bytes, 2..4, length);
        let seconds = since_epoch(now).as_secs() as u32;
        bytes[4..8].copy_from_slice(&seconds.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.sequence.to_be_bytes());
        bytes[12..16].copy_from_slice(&self.domain.to_be_bytes());
        self.sequence = self.sequence.wrapping_add(self.records);
        self.records = 0;
        bytes
    }
}

fn put_template(template: &Template, out: &mut Vec<u8>) {
    out.extend(template.id.to_be_bytes());
    out.extend((template.elements.len() as u16).to_be_bytes());
    if template.scope > 0 {
        out.extend(template.scope.to_be_bytes());
    }
    for element in template.elements {
        out.extend(element.to_be_bytes());
        out.extend(length(*element).to_be_bytes());
    }
}

fn write_u16(bytes: &mut [u8], place: Range<usize>, value: u16) {
    bytes[place].copy_from_slice(&value.to_be_bytes());
}

#[cfg(test)]
#[path = "ipfix_tests.rs"]
mod tests;
