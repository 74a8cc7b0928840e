//! The channels of a worker, by number and by name.

use crate::channel::{ChannelId, Netchannel};
use crate::packet::Packet;

/// What a channel was given so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChannelCounters {
    /// Packets given to it.
    pub packets: u64,
    /// Their bytes, Ethernet header included.
    pub bytes: u64,
    /// Flows that were opened for it.
    pub flows: u64,
}

pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) channel: Box<dyn Netchannel>,
    pub(crate) counters: ChannelCounters,
    /// Packets that wait for this round's call of `process`.
    pub(crate) burst: Vec<Packet>,
}

/// The channels of a worker, by number and by name.
#[derive(Default)]
pub struct Registry {
    entries: Vec<Entry>,
    /// How many of them, the last ones, lead to other workers: nobody gave them a name.
    exits: usize,
}

/// A channel's name is taken.
#[derive(Debug, thiserror::Error)]
#[error("there is already a channel named `{0}`")]
pub struct NameTaken(pub String);

impl Registry {
    /// No channels yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a channel under a name.
    ///
    /// # Errors
    /// If the name is taken.
    pub fn register(&mut self, name: &str, channel: Box<dyn Netchannel>) -> Result<ChannelId, NameTaken> {
        if self.find(name).is_some() {
            return Err(NameTaken(name.to_owned()));
        }
        Ok(self.push(name, channel))
    }

    fn push(&mut self, name: &str, channel: Box<dyn Netchannel>) -> ChannelId {
        let id = ChannelId(self.entries.len() as u16);
        self.entries.push(Entry {
            name: name.to_owned(),
            channel,
            counters: ChannelCounters::default(),
            burst: Vec::new(),
        });
        id
    }

    /// Adds a channel that leads to another worker. No other ones are added after it.
    pub(crate) fn add_exit(&mut self, channel: Box<dyn Netchannel>) -> ChannelId {
        self.exits += 1;
        self.push("", channel)
    }

    /// Those that lead nowhere else.
    fn own(&self) -> &[Entry] {
        &self.entries[..self.len()]
    }

    /// The channel of this name.
    pub fn find(&self, name: &str) -> Option<ChannelId> {
        self.own()
            .iter()
            .position(|entry| entry.name == name)
            .map(|index| ChannelId(index as u16))
    }

    /// All names, with their channels' numbers.
    pub fn ids(&self) -> impl Iterator<Item = (&str, ChannelId)> {
        let names = self.own().iter().map(|entry| entry.name.as_str());
        names.zip((0..).map(ChannelId))
    }

    /// The channel with this number.
    pub(crate) fn get(&self, id: ChannelId) -> Option<&dyn Netchannel> {
        let entry = self.entries.get(usize::from(id.0))?;
        Some(entry.channel.as_ref())
    }

    /// How many there are, without those that lead to other workers.
    pub(crate) fn len(&self) -> usize {
        self.entries.len() - self.exits
    }

    /// Names, channels and their counters, in the order in which they were registered.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &dyn Netchannel, &ChannelCounters)> {
        self.own()
            .iter()
            .map(|entry| (entry.name.as_str(), entry.channel.as_ref(), &entry.counters))
    }

    #[inline]
    pub(crate) fn entry(&mut self, id: ChannelId) -> &mut Entry {
        &mut self.entries[usize::from(id.0)]
    }

    pub(crate) fn entries(&mut self) -> impl Iterator<Item = &mut Entry> {
        let own = self.len();
        self.entries[..own].iter_mut()
    }
}
