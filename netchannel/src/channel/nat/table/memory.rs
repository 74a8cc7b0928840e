//! How large the tables are.

use super::{Peers, Table};
use crate::channel::TableMemory;

impl Table {
    pub(in crate::channel::nat) fn memory(&self) -> Vec<TableMemory> {
        let lists = self.chains.memory() + self.peers.as_ref().map_or(0, Peers::memory);
        let bytes = self.sessions.memory() + self.by_key.memory() + lists + self.wheel.memory();
        let sessions = TableMemory {
            name: "sessions",
            entries: self.sessions.len() as u64,
            capacity: self.sessions.capacity() as u64,
            bytes: bytes as u64,
        };
        vec![self.mappings.memory(), sessions, self.mappings.hosts.memory()]
    }
}
