//! Messages: a header, and sets of templates and records.

use std::ops::Range;
use std::time::SystemTime;

use super::template::{OPTIONS_TEMPLATES, TEMPLATES};
use super::{DataRecord, since_epoch};

const VERSION: u16 = 10;
const MESSAGE_HEADER: usize = 16;
const SET_HEADER: usize = 4;
const TEMPLATE_SET: u16 = 2;
const OPTIONS_TEMPLATE_SET: u16 = 3;

/// A message in the making. Records of one template that follow each other are in one set.
pub(in crate::event_log) struct Message {
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
    pub(in crate::event_log) fn new(domain: u32, longest: usize) -> Self {
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
    pub(in crate::event_log) fn records(&self) -> u32 {
        self.records
    }

    pub(in crate::event_log) fn is_empty(&self) -> bool {
        self.bytes.len() == MESSAGE_HEADER
    }

    /// Adds all templates; `false` if there is no room for them in this message.
    pub(in crate::event_log) fn add_templates(&mut self) -> bool {
        let plain = TEMPLATES.iter().map(|template| (TEMPLATE_SET, *template));
        let options = OPTIONS_TEMPLATES
            .iter()
            .map(|template| (OPTIONS_TEMPLATE_SET, *template));
        self.add_whole(|message| {
            for (set, template) in plain.chain(options) {
                message.in_set(set, |out| template.put(out));
            }
        })
    }

    /// Adds a record; `false` if there is no room for it in this message.
    pub(in crate::event_log) fn add(&mut self, record: &DataRecord<'_>) -> bool {
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
    pub(in crate::event_log) fn finish(&mut self, now: SystemTime) -> Vec<u8> {
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

fn write_u16(bytes: &mut [u8], place: Range<usize>, value: u16) {
    bytes[place].copy_from_slice(&value.to_be_bytes());
}
