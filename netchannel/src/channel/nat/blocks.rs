//! Blocks of external ports that inside hosts are given as they need them, so that one record of a log tells who had each of a block's
//! ports (RFC 6888 REQ-14). A block is the same ports of all protocols: carrier-grade
//! translators give them so, and the records of RFC 8158 and the ranges of RFC 7422 name no protocol.

use std::time::Duration;

use rand::rngs::StdRng;

use super::address_set::{AddressId, AddressSet};
use super::chain::{Chains, NONE};
use super::ports::{ANY_PORT, Choice, FreePorts, Span};
use super::settings::NatSettings;
use super::slab::Slab;
use crate::channel::listing::BlockCounts;
use crate::time::Time;

/// How ports are given to inside hosts in blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortBlocks {
    /// Ports of a block: [`SMALLEST_BLOCK`] or more, in a row. Reserved ones among them are nobody's.
    pub size: u16,
    /// Blocks that a host may have: 1 to [`MOST_BLOCKS`]. A new mapping costs a look at each that it has.
    pub most: u16,
    /// How long a block stays its host's after its last mapping, so that what is still on its way comes to nobody else (RFC 6888
    /// REQ-8). Zero for not at all.
    pub hold: Duration,
    /// Blocks without mappings at one time; if there are more, the one that has been so longest is free at once.
    pub hold_count: u32,
}

/// The smallest block.
pub const SMALLEST_BLOCK: u16 = 16;

/// The most blocks that a host may be allowed to have.
pub const MOST_BLOCKS: u16 = 256;

impl Default for PortBlocks {
    fn default() -> Self {
        Self {
            size: 512,
            most: 4,
            hold: Duration::from_secs(120),
            hold_count: 16_384,
        }
    }
}

impl PortBlocks {
    /// The blocks of an address, in ascending order: each range of ports is cut from its first port on, and what is left at its end is not
    /// used. Blocks of reserved ports alone are none.
    pub(super) fn spans(&self, settings: &NatSettings) -> Vec<Span> {
        let usable = FreePorts::new(&settings.ports, &settings.reserved_ports);
        let any = |span: &Span| {
            let mut wishes = ANY.wishes(0);
            wishes.any(|wish| usable.count_of(*span, wish) > 0)
        };
        let mut ports = FreePorts::new(&settings.ports, &[]);
        if settings.deterministic.is_some() {
            let spare = settings.spare_ports();
            let first = spare.map_or(u16::MAX, |spare| *spare.start());
            (0..first).for_each(|port| {
                ports.remove(port);
            });
        }
        let ranges = ports.ranges();
        let size = self.size.max(1);
        let starts = ranges.into_iter().flat_map(|ports| {
            let last = *ports.end();
            ports
                .step_by(usize::from(size))
                .filter(move |&first| last - first >= size - 1)
        });
        starts
            .map(|first| (first, first + (size - 1)))
            .filter(any)
            .collect()
    }

    /// The ports that are in blocks, without reserved ones.
    pub(super) fn usable_ports(&self, settings: &NatSettings) -> FreePorts {
        let spans = self.spans(settings);
        let blocks: Vec<_> = spans.into_iter().map(|(first, last)| first..=last).collect();
        FreePorts::new(&blocks, &settings.reserved_ports)
    }
}

/// Any of a set, with equal chance.
const ANY: Choice = Choice {
    preserve: false,
    parity: false,
    class: false,
};

/// Number of a block that a host has.
pub(super) type BlockId = u32;

/// A block that a host has.
pub(super) struct Block {
    address: AddressId,
    /// Its number at the address, from 1.
    number: u16,
    /// Its host, [`NONE`] before it is told.
    host: u32,
    mappings: u32,
    /// Until when it is held if it has no mappings; then it is in the list of those.
    until: Time,
    older: BlockId,
    newer: BlockId,
}

/// The blocks of all addresses. Everything is O(1) but for what is said.
pub(super) struct Blocks {
    settings: PortBlocks,
    /// By number, from 1: the ports.
    spans: Vec<Span>,
    /// By port: the number of its block, 0 for none.
    numbers: Box<[u16]>,
    /// By address. Memory is taken when the first of its blocks is given.
    addresses: Vec<Option<Box<AtAddress>>>,
    /// The numbers at an address of which none is given: the numbers of blocks are kept like ports.
    all: FreePorts,
    /// The addresses that have a free block.
    with_room: AddressSet,
    /// By address: whether its blocks are given now.
    is_open: Vec<bool>,
    table: Slab<Block>,
    /// Those of each host.
    chains: Chains,
    /// Those without mappings: the one that is free first, the one that is free last, how many.
    oldest: BlockId,
    newest: BlockId,
    held: u32,
}

/// The blocks of an address.
struct AtAddress {
    /// The numbers of those that nobody has.
    free: FreePorts,
    /// By number, [`NONE`] for those that nobody has.
    given: Box<[BlockId]>,
}

impl Blocks {
    /// The blocks that the settings ask for, on this many addresses. `None` if they ask for none.
    pub(super) fn new(settings: &NatSettings, addresses: usize) -> Option<Self> {
        let blocks = settings.blocks?;
        let mut spans = blocks.spans(settings);
        if let Some(share) = settings.share {
            let mut numbers = 0..;
            spans.retain(|_| numbers.next().is_some_and(|number| share.has(number)));
        }
        let mut numbers = vec![0; 1 << 16].into_boxed_slice();
        for (number, &(first, last)) in (1..).zip(&spans) {
            numbers[usize::from(first)..=usize::from(last)].fill(number);
        }
        let most = (spans.len() * addresses).min(settings.mapping_capacity() + blocks.hold_count as usize);
        Some(Self {
            settings: blocks,
            all: FreePorts::new(&[1..=spans.len() as u16], &[]),
            spans,
            numbers,
            addresses: (0..addresses).map(|_| None).collect(),
            with_room: AddressSet::all(addresses),
            is_open: vec![true; addresses],
            table: Slab::with_capacity(most),
            chains: Chains::with_capacity(most),
            oldest: NONE,
            newest: NONE,
            held: 0,
        })
    }

    pub(super) fn settings(&self) -> &PortBlocks {
        &self.settings
    }

    /// How many there are.
    pub(super) fn count(&self) -> u64 {
        self.spans.len() as u64 * self.addresses.len() as u64
    }

    /// How many hosts have, and how many of those have no mappings.
    pub(super) fn given(&self) -> (usize, u32) {
        (self.table.len(), self.held)
    }

    /// How many an address has, and how many of them hosts have or nobody gets.
    pub(super) fn counts_at(&self, address: AddressId) -> BlockCounts {
        let all = self.spans.len() as u32;
        let free = self.addresses[address as usize]
            .as_ref()
            .map_or(all, |at| at.free.len());
        BlockCounts {
            all,
            given: all - free,
        }
    }

    /// Never gives the block of a port at an address: the port is always one host's, whoever has the others.
    pub(super) fn set_aside(&mut self, address: AddressId, port: u16) {
        let number = self.numbers[usize::from(port)];
        if number != 0 && (address as usize) < self.addresses.len() {
            let at = self.at(address);
            at.free.remove(number);
            if at.free.len() == 0 {
                self.with_room.remove(address);
            }
        }
    }

    /// Says whether blocks of an address are given from now on.
    pub(super) fn set_open(&mut self, address: AddressId, is_open: bool) {
        self.is_open[address as usize] = is_open;
        if is_open && self.free_at(address) > 0 {
            self.with_room.insert(address);
        } else {
            self.with_room.remove(address);
        }
    }

    fn at(&mut self, address: AddressId) -> &mut AtAddress {
        let (all, count) = (&self.all, self.spans.len());
        self.addresses[address as usize].get_or_insert_with(|| {
            Box::new(AtAddress {
                free: all.clone(),
                given: vec![NONE; count + 1].into(),
            })
        })
    }

    fn free_at(&self, address: AddressId) -> u32 {
        let at = self.addresses[address as usize].as_ref();
        at.map_or(self.all.len(), |at| at.free.len())
    }

    /// An address with a free block: of two, the one with more of them; if both have none, the next one that has. O(1).
    pub(super) fn roomier(&self, [first, second]: [AddressId; 2]) -> Option<AddressId> {
        let second_is_better = self.free_at(second) > self.free_at(first);
        self.with_room
            .next_from(if second_is_better { second } else { first })
    }

    /// The addresses and ports of a host's blocks.
    pub(super) fn of(&self, first: BlockId) -> impl Iterator<Item = (AddressId, Span)> + Clone + '_ {
        self.chains.iter(first).map(|block| {
            let block = self.table.get(block);
            (block.address, self.span(block))
        })
    }

    fn span(&self, block: &Block) -> Span {
        let span = self.spans.get(usize::from(block.number) - 1);
        span.copied().unwrap_or((0, 0))
    }

    /// Gives any free block of an address, with equal chance (RFC 6888 REQ-15), to a host that is told by the first mapping in it.
    pub(super) fn give(&mut self, address: AddressId, random: &mut StdRng) -> Option<(AddressId, Span)> {
        if !self.is_open[address as usize] {
            return None;
        }
        let at = self.at(address);
        let number = at.free.take(0, ANY_PORT, ANY, random)?;
        Some((address, self.enter(address, number)))
    }

    /// Enters a block that was taken from the free ones. Returns its ports.
    fn enter(&mut self, address: AddressId, number: u16) -> Span {
        if self.at(address).free.len() == 0 {
            self.with_room.remove(address);
        }
        let block = Block {
            address,
            number,
            host: NONE,
            mappings: 0,
            until: Time::ZERO,
            older: NONE,
            newer: NONE,
        };
        let span = self.span(&block);
        let index = self.table.insert(block);
        self.at(address).given[usize::from(number)] = index;
        span
    }

    /// The host whose block a port of an address is in.
    pub(super) fn owner(&self, address: AddressId, port: u16) -> Option<u32> {
        self.block_of(address, port)
            .map(|block| self.table.get(block).host)
    }

    /// Whether the block that a port of an address is in is there to be given.
    pub(super) fn may_give(&self, address: AddressId, port: u16) -> bool {
        let number = self.numbers[usize::from(port)];
        let at = self.addresses.get(address as usize).map(Option::as_ref);
        at.is_some_and(|at| at.map_or(&self.all, |at| &at.free).contains(number))
    }

    /// Gives the block that a port of an address is in, if it is nobody's, to a host that is told by the first mapping in it.
    pub(super) fn give_of(&mut self, address: AddressId, port: u16) {
        let number = self.numbers[usize::from(port)];
        if self.may_give(address, port) && self.at(address).free.remove(number) {
            self.enter(address, number);
        }
    }

    fn block_of(&self, address: AddressId, port: u16) -> Option<BlockId> {
        let at = self.addresses.get(address as usize)?.as_ref()?;
        let block = at.given[usize::from(self.numbers[usize::from(port)])];
        (block != NONE).then_some(block)
    }

    /// Counts a mapping of a host in one of its blocks. `first` is the host's first block. If the block is new, its ports are returned.
    pub(super) fn add_mapping(
        &mut self,
        (address, port): (AddressId, u16),
        host: u32,
        first: &mut BlockId,
    ) -> Option<Span> {
        let index = self.block_of(address, port)?;
        let block = self.table.get_mut(index);
        block.mappings += 1;
        let is_new = block.host == NONE;
        let was_held = !is_new && block.mappings == 1;
        block.host = host;
        if was_held {
            self.unhold(index);
        }
        if is_new {
            self.chains.push(first, index);
        }
        is_new.then(|| self.span(self.table.get(index)))
    }

    /// Takes a mapping from its block. A block without mappings is held; [`next_released`](Self::next_released) says when it is over.
    pub(super) fn remove_mapping(&mut self, address: AddressId, port: u16, now: Time) {
        let Some(index) = self.block_of(address, port) else {
            return;
        };
        let newest = self.newest;
        let block = self.table.get_mut(index);
        block.mappings -= 1;
        if block.mappings > 0 {
            return;
        }
        block.until = now + self.settings.hold;
        (block.older, block.newer) = (newest, NONE);
        match newest {
            NONE => self.oldest = index,
            newest => self.table.get_mut(newest).newer = index,
        }
        self.newest = index;
        self.held += 1;
    }

    /// Takes a block out of those that are held.
    fn unhold(&mut self, index: BlockId) {
        let &Block { older, newer, .. } = self.table.get(index);
        match older {
            NONE => self.oldest = newer,
            older => self.table.get_mut(older).newer = newer,
        }
        match newer {
            NONE => self.newest = older,
            newer => self.table.get_mut(newer).older = older,
        }
        self.held -= 1;
    }

    /// The next host whose block is held for long enough, or is one too many.
    pub(super) fn next_released(&self, now: Time) -> Option<u32> {
        if self.oldest == NONE {
            return None;
        }
        let oldest = self.table.get(self.oldest);
        (oldest.until <= now || self.held > self.settings.hold_count).then_some(oldest.host)
    }

    /// The host whose block is without mappings for longest.
    pub(super) fn oldest_held(&self) -> Option<u32> {
        (self.oldest != NONE).then(|| self.table.get(self.oldest).host)
    }

    /// Takes that block from its host, whose first block is `first`. Returns what it was.
    pub(super) fn release(&mut self, first: &mut BlockId) -> Option<(AddressId, Span)> {
        let index = self.oldest;
        if index == NONE {
            return None;
        }
        self.unhold(index);
        self.chains.remove(first, index);
        let block = self.table.remove(index)?;
        let at = self.at(block.address);
        at.given[usize::from(block.number)] = NONE;
        at.free.put(block.number);
        if self.is_open[block.address as usize] {
            self.with_room.insert(block.address);
        }
        Some((block.address, self.span(&block)))
    }
}
