//! Which information elements each kind of record has.

/// The length of an element that says its length itself.
pub(super) const VARIABLE: u16 = u16::MAX;

/// Information elements, by the numbers that IANA gave them.
pub(super) mod element {
    pub(in crate::event_log::ipfix) const PROTOCOL_IDENTIFIER: u16 = 4;
    pub(in crate::event_log::ipfix) const SOURCE_TRANSPORT_PORT: u16 = 7;
    pub(in crate::event_log::ipfix) const SOURCE_IPV4_ADDRESS: u16 = 8;
    pub(in crate::event_log::ipfix) const DESTINATION_TRANSPORT_PORT: u16 = 11;
    pub(in crate::event_log::ipfix) const DESTINATION_IPV4_ADDRESS: u16 = 12;
    pub(in crate::event_log::ipfix) const EXPORTING_PROCESS_ID: u16 = 144;
    pub(in crate::event_log::ipfix) const NOT_SENT_FLOW_TOTAL_COUNT: u16 = 166;
    pub(in crate::event_log::ipfix) const POST_NAT_SOURCE_IPV4_ADDRESS: u16 = 225;
    pub(in crate::event_log::ipfix) const POST_NAT_DESTINATION_IPV4_ADDRESS: u16 = 226;
    pub(in crate::event_log::ipfix) const POST_NAPT_SOURCE_TRANSPORT_PORT: u16 = 227;
    pub(in crate::event_log::ipfix) const POST_NAPT_DESTINATION_TRANSPORT_PORT: u16 = 228;
    pub(in crate::event_log::ipfix) const NAT_EVENT: u16 = 230;
    pub(in crate::event_log::ipfix) const NAT_POOL_ID: u16 = 283;
    pub(in crate::event_log::ipfix) const NAT_POOL_NAME: u16 = 284;
    pub(in crate::event_log::ipfix) const OBSERVATION_TIME_MILLISECONDS: u16 = 323;
    pub(in crate::event_log::ipfix) const PORT_RANGE_START: u16 = 361;
    pub(in crate::event_log::ipfix) const PORT_RANGE_END: u16 = 362;
    pub(in crate::event_log::ipfix) const PORT_RANGE_STEP_SIZE: u16 = 363;
    pub(in crate::event_log::ipfix) const PORT_RANGE_NUM_PORTS: u16 = 364;
    pub(in crate::event_log::ipfix) const NAT_INSTANCE_ID: u16 = 463;
    pub(in crate::event_log::ipfix) const NAT_QUOTA_EXCEEDED_EVENT: u16 = 466;
    pub(in crate::event_log::ipfix) const MAX_SESSION_ENTRIES: u16 = 471;
    pub(in crate::event_log::ipfix) const MAX_BIB_ENTRIES: u16 = 472;
    pub(in crate::event_log::ipfix) const MAX_ENTRIES_PER_USER: u16 = 473;
}

use element::*;

/// Which elements a kind of record has, in their order.
#[derive(Debug)]
pub(super) struct Template {
    pub(super) id: u16,
    /// The first so many are the scope of an options template; 0 for others.
    scope: u16,
    pub(super) elements: &'static [u16],
}

/// An inside endpoint got an external one, or lost it.
pub(super) static MAPPING: Template = Template {
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
pub(super) static WITH_DESTINATION: Template = Template {
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

pub(super) static ADDRESSES_EXHAUSTED: Template = Template {
    id: 258,
    scope: 0,
    elements: &[
        OBSERVATION_TIME_MILLISECONDS,
        NAT_EVENT,
        NAT_INSTANCE_ID,
        NAT_POOL_ID,
    ],
};

pub(super) static PORTS_EXHAUSTED: Template = Template {
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

pub(super) static SESSION_QUOTA: Template = Template {
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

pub(super) static MAPPING_QUOTA: Template = Template {
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

pub(super) static HOST_QUOTA: Template = Template {
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
pub(super) static POOL_NAME: Template = Template {
    id: 263,
    scope: 1,
    elements: &[NAT_POOL_ID, NAT_POOL_NAME],
};

/// How many records could not be exported (RFC 7011 section 4.3).
pub(super) static NOT_SENT: Template = Template {
    id: 264,
    scope: 1,
    elements: &[EXPORTING_PROCESS_ID, NOT_SENT_FLOW_TOTAL_COUNT],
};

/// An inside host got a block of ports, or lost it.
pub(super) static PORT_BLOCK: Template = Template {
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

pub(super) static TEMPLATES: [&Template; 8] = [
    &MAPPING,
    &WITH_DESTINATION,
    &ADDRESSES_EXHAUSTED,
    &PORTS_EXHAUSTED,
    &SESSION_QUOTA,
    &MAPPING_QUOTA,
    &HOST_QUOTA,
    &PORT_BLOCK,
];
pub(super) static OPTIONS_TEMPLATES: [&Template; 2] = [&POOL_NAME, &NOT_SENT];

/// Bytes of an element.
pub(super) fn length(element: u16) -> u16 {
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

impl Template {
    /// What tells a collector of it.
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        out.extend(self.id.to_be_bytes());
        out.extend((self.elements.len() as u16).to_be_bytes());
        if self.scope > 0 {
            out.extend(self.scope.to_be_bytes());
        }
        for element in self.elements {
            out.extend(element.to_be_bytes());
            out.extend(length(*element).to_be_bytes());
        }
    }
}
