//! Who has how much memory.

use std::fs;

use super::inspect::Inspector;
use super::workers::queues;
use crate::control::ControlError;
use crate::control::report::{Frames, Memory, PortFrames, ProcessMemory, Table};
use crate::dispatch::Dispatcher;
use crate::port::FramePool;

impl Inspector {
    pub(super) fn memory(&self) -> Result<Memory, ControlError> {
        let devices: Vec<String> = self.ports.iter().map(|port| port.device.clone()).collect();
        let of_workers =
            self.ask_all(move |dispatcher, _| (frames(dispatcher, &devices), tables(dispatcher)))?;
        let mut of_workers = of_workers.into_iter();
        let (mut frames, mut tables) = of_workers.next().unwrap_or_default();
        for (more_frames, more_tables) in of_workers {
            add_frames(&mut frames, &more_frames);
            add_tables(&mut tables, more_tables);
        }
        let network = self.network.load();
        let counted = |name: &str, entries: usize| Table {
            owner: "network".to_owned(),
            name: name.to_owned(),
            entries: Some(entries as u64),
            ..Table::default()
        };
        tables.push(counted("routes", network.routes.len()));
        tables.push(counted("neighbours", network.neighbours.len()));
        tables.extend(self.buffers.iter().map(|(name, records, bytes)| Table {
            owner: "events".to_owned(),
            name: name.clone(),
            entries: None,
            capacity: Some(*records),
            bytes: Some(*bytes),
        }));
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        Ok(Memory {
            process: process(&status),
            frames,
            tables,
        })
    }
}

fn frames(dispatcher: &Dispatcher, devices: &[String]) -> Frames {
    let pool: &FramePool = dispatcher.pool();
    let ports = dispatcher.ports().iter().zip(devices).map(|(port, device)| {
        let sending: usize = queues(port.as_ref()).iter().map(|queue| queue.sending).sum();
        PortFrames {
            device: device.clone(),
            receiving: (port.held() - sending) as u64,
            sending: sending as u64,
        }
    });
    Frames {
        frames: pool.count() as u64,
        bytes: pool.count() as u64 * u64::from(crate::config::FRAME_SIZE),
        free: pool.free() as u64,
        held: dispatcher.totals().held,
        ports: ports.collect(),
    }
}

fn add_frames(sum: &mut Frames, more: &Frames) {
    sum.frames += more.frames;
    sum.bytes += more.bytes;
    sum.free += more.free;
    sum.held += more.held;
    for (port, more) in sum.ports.iter_mut().zip(&more.ports) {
        port.receiving += more.receiving;
        port.sending += more.sending;
    }
}

/// Adds the tables of another worker to those of the same owner and name.
fn add_tables(sums: &mut Vec<Table>, more: Vec<Table>) {
    let add =
        |one: Option<u64>, other: Option<u64>| one.zip(other).map(|(one, other)| one.saturating_add(other));
    for table in more {
        let is_same = |known: &&mut Table| (&known.owner, &known.name) == (&table.owner, &table.name);
        match sums.iter_mut().find(is_same) {
            Some(sum) => {
                sum.entries = add(sum.entries, table.entries);
                sum.capacity = add(sum.capacity, table.capacity);
                sum.bytes = add(sum.bytes, table.bytes);
            }
            None => sums.push(table),
        }
    }
}

fn tables(dispatcher: &Dispatcher) -> Vec<Table> {
    let table = |owner: &str, name: &str, entries: u64, capacity: Option<u64>, bytes: u64| Table {
        owner: owner.to_owned(),
        name: name.to_owned(),
        entries: Some(entries),
        capacity,
        bytes: Some(bytes),
    };
    let mut all = Vec::new();
    if let Some(long) = dispatcher.pool().long_frames() {
        all.push(table(
            "frames",
            "long packets",
            long.in_use() as u64,
            Some(long.count() as u64),
            (long.count() * long.frame_capacity()) as u64,
        ));
    }
    for (name, entries, places, bytes) in dispatcher.flows().memory() {
        all.push(table(
            "flow table",
            name,
            entries as u64,
            Some(places as u64),
            bytes as u64,
        ));
    }
    for (name, rules, bytes) in dispatcher.rules().memory() {
        all.push(table("rules", name, rules as u64, None, bytes as u64));
    }
    for (channel, of, _) in dispatcher.channels().iter() {
        let owner = format!("channel {channel}");
        let tables = of.memory().into_iter();
        all.extend(tables.map(|of| table(&owner, of.name, of.entries, Some(of.capacity), of.bytes)));
    }
    all
}

/// Reads `/proc/self/status`, whose figures are in units of 1024 bytes (proc(5)).
fn process(status: &str) -> ProcessMemory {
    let figure = |name: &str| {
        let lines = status.lines();
        let rest = lines.filter_map(|line| line.strip_prefix(name)).next()?;
        let number = rest.trim_start_matches(':').split_whitespace().next()?;
        number.parse::<u64>().ok()?.checked_mul(1024)
    };
    ProcessMemory {
        resident_bytes: figure("VmRSS"),
        peak_resident_bytes: figure("VmHWM"),
        locked_bytes: figure("VmLck"),
        virtual_bytes: figure("VmSize"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_s_own_memory_is_found() {
        let status = "Name:\tnetchannel\nVmSize:\t  1000 kB\nVmLck:\t       8 kB\nVmHWM:\t     300 kB\nVmRSS:\t     200 kB\n";
        let memory = process(status);
        assert_eq!(memory.resident_bytes, Some(200 << 10));
        assert_eq!(memory.peak_resident_bytes, Some(300 << 10));
        assert_eq!(
            (memory.locked_bytes, memory.virtual_bytes),
            (Some(8 << 10), Some(1000 << 10))
        );
        assert_eq!(process(""), ProcessMemory::default());
    }
}
