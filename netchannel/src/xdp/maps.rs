//! The program's maps, and bringing them to what they must hold.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::io;
use std::os::fd::BorrowedFd;

use aya::Ebpf;
use aya::maps::xdp::DevMap;
use aya::maps::{self, Array, LpmTrie, Map, MapData, MapError, PerCpuArray, XskMap, lpm_trie};
use xdp_prog::{
    Address, Interface, InterfaceKey, Ipv4Prefix, Ipv6Prefix, MAX_PORT_SETS, Verdict, WORDS_PER_PORT_SET,
    port_word,
};

use xdp_prog::offload::DEVICES;

use super::XdpError;
use super::interest::{PortSet, PrefixKey, Tables};
use super::sys::Shared;

/// A map together with what is in it.
struct Mirror<M, K, V> {
    name: &'static str,
    map: M,
    content: HashMap<K, V>,
}

/// What a [`Mirror`] needs of a kernel map.
trait Store<K, V> {
    fn put(&mut self, key: &K, value: &V) -> Result<(), MapError>;
    fn delete(&mut self, key: &K) -> Result<(), MapError>;
}

impl<K, V> Store<K, V> for maps::HashMap<MapData, Shared<K>, Shared<V>>
where
    K: xdp_prog::MapData,
    V: xdp_prog::MapData,
{
    fn put(&mut self, key: &K, value: &V) -> Result<(), MapError> {
        self.insert(Shared(*key), Shared(*value), 0)
    }

    fn delete(&mut self, key: &K) -> Result<(), MapError> {
        self.remove(&Shared(*key))
    }
}

impl Store<Address, u32> for maps::HashMap<MapData, Shared<Address>, u32> {
    fn put(&mut self, key: &Address, value: &u32) -> Result<(), MapError> {
        self.insert(Shared(*key), value, 0)
    }

    fn delete(&mut self, key: &Address) -> Result<(), MapError> {
        self.remove(&Shared(*key))
    }
}

impl<K: xdp_prog::MapData> Store<PrefixKey<K>, u32> for LpmTrie<MapData, Shared<K>, u32> {
    fn put(&mut self, key: &PrefixKey<K>, value: &u32) -> Result<(), MapError> {
        self.insert(&lpm_trie::Key::new(key.0, Shared(key.1)), value, 0)
    }

    fn delete(&mut self, key: &PrefixKey<K>) -> Result<(), MapError> {
        self.remove(&lpm_trie::Key::new(key.0, Shared(key.1)))
    }
}

impl<M, K, V> Mirror<M, K, V>
where
    M: TryFrom<Map, Error = MapError> + Store<K, V>,
    K: Copy + Eq + Hash,
    V: Copy + PartialEq,
{
    fn take(object: &mut Ebpf, name: &'static str) -> Result<Self, XdpError> {
        Ok(Self {
            name,
            map: take(object, name)?,
            content: HashMap::new(),
        })
    }

    /// Adds and changes what differs, and removes nothing.
    fn add(&mut self, wanted: impl IntoIterator<Item = (K, V)>) -> Result<(), XdpError> {
        for (key, value) in wanted {
            if self.content.get(&key) != Some(&value) {
                self.map.put(&key, &value).map_err(in_map(self.name))?;
                self.content.insert(key, value);
            }
        }
        Ok(())
    }

    /// Removes what is not wanted.
    fn prune(&mut self, wanted: impl Fn(&K) -> bool) -> Result<(), XdpError> {
        let unwanted: Vec<K> = self.content.keys().filter(|key| !wanted(key)).copied().collect();
        for key in unwanted {
            match self.map.delete(&key) {
                Ok(()) | Err(MapError::KeyNotFound) => self.content.remove(&key),
                Err(error) => return Err(in_map(self.name)(error)),
            };
        }
        Ok(())
    }
}

type Prefixes<K> = Mirror<LpmTrie<MapData, Shared<K>, u32>, PrefixKey<K>, u32>;

/// All maps but the one of passed flows, which is the handover's.
pub(super) struct Maps {
    interfaces:
        Mirror<maps::HashMap<MapData, Shared<InterfaceKey>, Shared<Interface>>, InterfaceKey, Interface>,
    local: Mirror<maps::HashMap<MapData, Shared<Address>, u32>, Address, u32>,
    external: Prefixes<Ipv4Prefix>,
    sources_v4: Prefixes<Ipv4Prefix>,
    sources_v6: Prefixes<Ipv6Prefix>,
    destinations_v4: Prefixes<Ipv4Prefix>,
    destinations_v6: Prefixes<Ipv6Prefix>,
    port_sets: PortSets,
    sockets: XskMap<MapData>,
    devices: DevMap<MapData>,
    hold: Array<MapData, u64>,
    counters: PerCpuArray<MapData, u64>,
}

impl Maps {
    pub(super) fn take(object: &mut Ebpf) -> Result<Self, XdpError> {
        Ok(Self {
            interfaces: Mirror::take(object, xdp_prog::INTERFACES)?,
            local: Mirror::take(object, xdp_prog::LOCAL)?,
            external: Mirror::take(object, xdp_prog::EXTERNAL)?,
            sources_v4: Mirror::take(object, xdp_prog::SOURCES_V4)?,
            sources_v6: Mirror::take(object, xdp_prog::SOURCES_V6)?,
            destinations_v4: Mirror::take(object, xdp_prog::DESTINATIONS_V4)?,
            destinations_v6: Mirror::take(object, xdp_prog::DESTINATIONS_V6)?,
            port_sets: PortSets {
                map: take(object, xdp_prog::PORT_SETS)?,
                sets: vec![None; MAX_PORT_SETS as usize],
            },
            sockets: take(object, xdp_prog::SOCKETS)?,
            devices: take(object, DEVICES)?,
            hold: take(object, xdp_prog::HOLD)?,
            counters: take(object, xdp_prog::COUNTERS)?,
        })
    }

    /// Brings the maps to `tables`: first what is new, then the interfaces, then away with what is old, so that
    /// at no point a frame is decided by less than the old or the new tables say. If it fails half-way, another
    /// call carries on from there.
    pub(super) fn set(&mut self, tables: &Tables) -> Result<(), XdpError> {
        let numbers = self.port_sets.add(tables.external.values())?;
        self.local.add(tables.local.iter().map(|address| (*address, 1)))?;
        self.external
            .add(tables.external.iter().map(|(key, ports)| (*key, numbers[ports])))?;
        self.sources_v4.add(all(&tables.sources_v4))?;
        self.sources_v6.add(all(&tables.sources_v6))?;
        self.destinations_v4.add(all(&tables.destinations_v4))?;
        self.destinations_v6.add(all(&tables.destinations_v6))?;

        self.interfaces.add(
            tables
                .interfaces
                .iter()
                .map(|(key, interface)| (*key, *interface)),
        )?;
        self.interfaces.prune(|key| tables.interfaces.contains_key(key))?;

        self.sources_v4.prune(|key| tables.sources_v4.contains(key))?;
        self.sources_v6.prune(|key| tables.sources_v6.contains(key))?;
        self.destinations_v4
            .prune(|key| tables.destinations_v4.contains(key))?;
        self.destinations_v6
            .prune(|key| tables.destinations_v6.contains(key))?;
        self.external.prune(|key| tables.external.contains_key(key))?;
        self.local.prune(|key| tables.local.contains(key))?;
        self.port_sets.prune(&numbers);
        Ok(())
    }

    /// Takes all logical interfaces of a device away.
    pub(super) fn remove_device(&mut self, ifindex: u32) -> Result<(), XdpError> {
        self.interfaces.prune(|key| key.ifindex != ifindex)
    }

    pub(super) fn set_socket(&mut self, index: u32, socket: BorrowedFd<'_>) -> Result<(), XdpError> {
        self.sockets
            .set(index, socket, 0)
            .map_err(in_map(xdp_prog::SOCKETS))
    }

    /// Removes a socket; that there is none (the kernel removes closed ones by itself) is no error.
    pub(super) fn unset_socket(&mut self, index: u32) -> Result<(), XdpError> {
        match self.sockets.unset(index) {
            Ok(()) | Err(MapError::KeyNotFound) => Ok(()),
            Err(error) => Err(in_map(xdp_prog::SOCKETS)(error)),
        }
    }

    /// Lets offloaded flows leave by a device of the calling thread's network namespace.
    pub(super) fn set_device(&mut self, slot: u32, ifindex: u32) -> Result<(), XdpError> {
        self.devices
            .set(slot, ifindex, None, 0)
            .map_err(|error| XdpError::System {
                call: "telling the XDP program a device that frames leave by",
                source: io::Error::other(error),
            })
    }

    /// Removes a device. The kernel removes one that goes away by itself.
    pub(super) fn unset_device(&mut self, slot: u32) -> Result<(), XdpError> {
        self.set_device(slot, 0)
    }

    /// Until when frames that no socket takes are dropped, in nanoseconds of the monotonic clock.
    pub(super) fn set_hold(&mut self, until: u64) -> Result<(), XdpError> {
        self.hold.set(0, until, 0).map_err(in_map(xdp_prog::HOLD))
    }

    pub(super) fn counters(&self) -> Result<Vec<(Verdict, u64)>, XdpError> {
        let count = |verdict: Verdict| {
            let per_cpu = self
                .counters
                .get(&(verdict as u32), 0)
                .map_err(in_map(xdp_prog::COUNTERS))?;
            Ok((verdict, per_cpu.iter().sum()))
        };
        Verdict::ALL.into_iter().map(count).collect()
    }
}

/// The sets of ports. A set is never changed while external addresses point to it: a changed set gets a number
/// of its own, so that it comes into force as a whole.
struct PortSets {
    map: Array<MapData, u64>,
    sets: Vec<Option<PortSet>>,
}

impl PortSets {
    /// Writes the sets that are new, and tells the numbers of all.
    fn add<'a>(
        &mut self,
        wanted: impl Iterator<Item = &'a PortSet>,
    ) -> Result<HashMap<PortSet, u32>, XdpError> {
        let mut numbers: HashMap<PortSet, u32> = HashMap::new();
        let mut new = HashSet::new();
        for ports in wanted {
            match self.sets.iter().position(|set| set.as_ref() == Some(ports)) {
                Some(number) => drop(numbers.insert(ports.clone(), number as u32)),
                None => drop(new.insert(ports.clone())),
            }
        }
        for ports in new {
            let number = self
                .sets
                .iter()
                .position(Option::is_none)
                .ok_or(XdpError::TooMany {
                    what: "sets of external ports, old and new together,",
                    given: self.sets.len() + 1,
                    limit: self.sets.len(),
                })?;
            for (index, word) in (0..WORDS_PER_PORT_SET).zip(ports.iter()) {
                self.map
                    .set(port_word(number as u32, 0) + index, word, 0)
                    .map_err(in_map(xdp_prog::PORT_SETS))?;
            }
            self.sets[number] = Some(ports.clone());
            numbers.insert(ports, number as u32);
        }
        Ok(numbers)
    }

    fn prune(&mut self, wanted: &HashMap<PortSet, u32>) {
        for set in &mut self.sets {
            if set.as_ref().is_some_and(|ports| !wanted.contains_key(ports)) {
                *set = None;
            }
        }
    }
}

fn all<K: Copy>(keys: &HashSet<K>) -> impl Iterator<Item = (K, u32)> {
    keys.iter().map(|key| (*key, 1))
}

fn take<M: TryFrom<Map, Error = MapError>>(object: &mut Ebpf, name: &'static str) -> Result<M, XdpError> {
    object
        .take_map(name)
        .ok_or(XdpError::Object { what: "map", name })
        .and_then(|map| M::try_from(map).map_err(in_map(name)))
}

pub(super) fn in_map(map: &'static str) -> impl FnOnce(MapError) -> XdpError {
    move |source| XdpError::Map { map, source }
}
