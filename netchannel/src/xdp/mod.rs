//! The XDP program: loading it, attaching it, telling it what user space wants.
//!
//! The program looks at every frame that arrives on the interfaces it is attached to. It redirects to AF_XDP
//! sockets what the [`Interest`] asks for, and leaves everything else to the kernel: ARP and neighbour discovery,
//! multicast, what is sent to the box itself, other VLANs. A frame that no socket can take, for
//! there is none on its queue, or it is longer than the sockets' buffers, goes to the kernel too and counts under a
//! name of its own. It never drops, but for the time that [`XdpProgram::hold`] gives it between two processes.
//!
//! **Long frames.** The program takes frames of several buffers (`xdp.frags`), so that it attaches whatever the MTU
//! is, and does not limit the MTU of a veth peer to some 3,500 bytes, which it would do otherwise. Frames that are longer
//! than what the sockets were opened for would be lost there, so the program leaves them to the kernel as
//! `passed_too_long`. The kernel forwards them by its own lights, untranslated, or answers that they are too long.
//!
//! **The end of the process**, however it comes, closes the links by which the program is attached, and with it the
//! program is gone: the kernel sees all traffic again at once. Only what was [held](XdpProgram::hold) stays, and takes nothing from the
//! kernel after its time.
//!
//! **VLAN tags** must be in the frame for the program to see them: turn the receive offload off where a driver takes
//! them out (`ethtool -K <interface> rxvlan off`), and the transmit offload at the other end of a veth pair.

mod attach;
mod error;
mod handover;
mod hold;
mod interest;
mod maps;
mod offload;
mod signals;
mod sys;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use aya::programs::Xdp;
use aya::{Ebpf, EbpfLoader};
use nix::net::if_::{if_indextoname, if_nametoindex};
use xdp_prog::offload as shared;
use xdp_prog::{MAX_INTERFACES, QUEUES_PER_INTERFACE};

pub use attach::{AttachedMode, Mode, ModeChoice};
pub use error::{ForeignProgram, XdpError};
pub use handover::{Handover, PassedFlow};
pub use hold::Pins;
pub use interest::{ExternalPrefix, Interest, LogicalInterface};
pub use offload::{
    Evicted, OffloadFlow, OffloadId, OffloadKey, OffloadSide, OffloadSizes, OffloadTable, OffloadTranslation,
    OffloadWay, Refused, Usage, WayId,
};
pub use sys::TestRun;
pub use xdp_prog::Verdict;

use handover::{GenericDevices, duplicating};
use interest::Tables;
use maps::Maps;
use signals::SignalsBlocked;

/// The longest frame in bytes that [`Handover::inject`] takes: what the kernel has room for in a page of 4096 bytes
/// beside its own data.
pub const MAX_INJECTED_LENGTH: usize = 3072;

static OBJECT: &[u8] = aya::include_bytes_aligned!("../../../xdp-prog/netchannel.bpf.o");

/// Entries of a bucket of offloaded flows.
const BUCKET: u32 = shared::BUCKET as u32;

/// The XDP program, loaded once for all interfaces of the process. Dropping it detaches it everywhere.
pub struct XdpProgram {
    program: OwnedFd,
    maps: Maps,
    devices: Vec<Option<Device>>,
    handover: Handover,
    generic: GenericDevices,
    pins: Pins,
    offload: Arc<OffloadTable>,
}

/// An interface that the program is attached to, or that has sockets. Its place among the devices is its slot.
struct Device {
    name: String,
    ifindex: u32,
    link: Option<OwnedFd>,
    /// The link stays when it is closed.
    is_pinned: bool,
}

impl XdpProgram {
    /// Loads the program into the kernel. It is not attached to anything yet, and asks for no frames.
    ///
    /// `max_frame_length` is the longest frame in bytes, with its Ethernet header, that the sockets can take: the
    /// size of a UMEM frame without headroom. Longer ones stay with the kernel.
    ///
    /// `sizes` is how many flows it can carry by itself, see [`offload`](Self::offload).
    ///
    /// The thread takes no signals meanwhile.
    ///
    /// # Errors
    ///
    /// [`XdpError::Load`] and [`XdpError::LoadProgram`] if the kernel is too old or the process has not the right.
    pub fn load(max_frame_length: u32, sizes: OffloadSizes) -> Result<Self, XdpError> {
        let cookie = getrandom::u64().map_err(|error| XdpError::System {
            call: "getrandom",
            source: io::Error::from(error),
        })?;
        let seeds = offload::random_seeds().map_err(|source| XdpError::System {
            call: "getrandom",
            source,
        })?;
        let (buckets_ipv4, buckets_ipv6) = (sizes.buckets_ipv4(), sizes.buckets_ipv6());
        let _blocked = SignalsBlocked::new().map_err(|error| XdpError::System {
            call: "pthread_sigmask",
            source: io::Error::from(error),
        })?;
        let mut object = EbpfLoader::new()
            .btf(None)
            .override_global(xdp_prog::MAX_FRAME_LENGTH, &max_frame_length, true)
            .override_global(xdp_prog::MARKER_COOKIE, &cookie, true)
            .override_global(shared::SEEDS, &seeds, true)
            .override_global(shared::BUCKETS_V4, &buckets_ipv4, true)
            .override_global(shared::BUCKETS_V6, &buckets_ipv6, true)
            .map_max_entries(shared::TAGS_V4, buckets_ipv4.max(1))
            .map_max_entries(shared::ENTRIES_V4, (buckets_ipv4 * BUCKET).max(1))
            .map_max_entries(shared::TAGS_V6, buckets_ipv6.max(1))
            .map_max_entries(shared::ENTRIES_V6, (buckets_ipv6 * BUCKET).max(1))
            .load(OBJECT)
            .map_err(|error| XdpError::Load(Box::new(error)))?;
        let passed = map_fd(&object, xdp_prog::PASSED)?;
        let offload = OffloadTable::of_maps(sizes, seeds, |name| array_fd(&object, name))?;
        let maps = Maps::take(&mut object)?;
        let program = load_program(&mut object, xdp_prog::PROGRAM)?;
        let pass = load_program(&mut object, xdp_prog::PASS_PROGRAM)?;
        let generic = GenericDevices::default();
        let handover = Handover::new(pass, passed, cookie, Arc::clone(&generic))?;
        let devices = (0..MAX_INTERFACES).map(|_| None).collect();
        Ok(Self {
            program,
            maps,
            devices,
            handover,
            generic,
            pins: Pins::default(),
            offload: Arc::new(offload),
        })
    }

    /// Says where the program is pinned if it is to [hold](Self::hold) frames, and where one is taken over from.
    pub fn pin_in(&mut self, pins: Pins) {
        self.pins = pins;
    }

    /// Attaches the program to an interface of the calling thread's network namespace. It sees every frame from
    /// then on, and leaves all of them to the kernel until an [`Interest`] asks for some.
    ///
    /// A program that an earlier process left to [hold](Self::hold) frames is replaced, and no frame passes between the two.
    ///
    /// Generic mode is a fallback for drivers that can't do native mode only; other failures are errors.
    ///
    /// # Errors
    ///
    /// [`XdpError::NoSuchInterface`]; [`XdpError::AlreadyAttached`] if another program is there, by which also a
    /// second instance of this one is refused; [`XdpError::TooMany`] beyond
    /// [`MAX_INTERFACES`]; [`XdpError::Attach`] for whatever else the kernel says.
    pub fn attach(&mut self, interface: &str, mode: ModeChoice) -> Result<AttachedMode, XdpError> {
        let had_device = self.device(interface).is_ok();
        let (slot, ifindex) = self.device_or_new(interface)?;
        let left = self.pins.take(ifindex);
        let taken_over = left.and_then(|link| attach::take_over(link, self.program.as_fd(), ifindex, mode));
        let attached = match taken_over {
            Some(attached) => Ok(attached),
            None => attach::attach(self.program.as_fd(), interface, ifindex, mode),
        };
        match attached {
            Ok((link, mode)) => {
                let generic = matches!(mode, AttachedMode::Generic { .. });
                self.set_generic(ifindex, generic);
                if let Some(device) = &mut self.devices[slot as usize] {
                    device.link = Some(link);
                }
                Ok(mode)
            }
            Err(error) => {
                if !had_device {
                    self.devices[slot as usize] = None;
                    self.maps.unset_device(slot)?;
                }
                Err(error)
            }
        }
    }

    /// Takes the program off an interface, with its sockets, and everything that the last [`Interest`] asked for on
    /// it. It does not matter if the interface is gone meanwhile.
    ///
    /// # Errors
    ///
    /// [`XdpError::NotAttached`] if it has neither program nor sockets.
    pub fn detach(&mut self, interface: &str) -> Result<(), XdpError> {
        let (slot, ifindex) = self.device(interface)?;
        let device = self.devices[slot as usize].take();
        if device.is_some_and(|device| device.is_pinned) {
            drop(self.pins.take(ifindex));
        }
        self.set_generic(ifindex, false);
        self.maps.remove_device(ifindex)?;
        self.maps.unset_device(slot)?;
        (0..QUEUES_PER_INTERFACE)
            .try_for_each(|queue| self.maps.unset_socket(slot * QUEUES_PER_INTERFACE + queue))
    }

    /// Has the program stay when this process ends, wherever it is attached, and drop what its sockets would have got, so that the kernel does not
    /// answer or forward it. When `time` has passed the kernel gets those frames, and the program does nothing any more; it goes with the
    /// next [`attach`](Self::attach) to the interface, with the interface, by [`Pins::remove_older`], or by hand, when its file in the
    /// [directory](Self::pin_in) is removed. Another call sets another time.
    ///
    /// # Errors
    ///
    /// [`XdpError::Pin`] if there is no BPF file system to pin it in: it ends with the process then.
    pub fn hold(&mut self, time: Duration) -> Result<(), XdpError> {
        self.maps.set_hold(hold::deadline(time)?)?;
        for device in self.devices.iter_mut().flatten() {
            if let (Some(link), false) = (&device.link, device.is_pinned) {
                self.pins.pin(link.as_fd(), device.ifindex)?;
                device.is_pinned = true;
            }
        }
        Ok(())
    }

    /// Drops what sockets would get and none takes, for `time` from now, so that the kernel does not answer or forward it: while sockets are
    /// closed and opened anew. Zero ends it.
    ///
    /// # Errors
    ///
    /// [`XdpError::Map`] if the kernel refuses it.
    pub fn pause(&mut self, time: Duration) -> Result<(), XdpError> {
        self.maps
            .set_hold(if time.is_zero() { 0 } else { hold::deadline(time)? })
    }

    /// Gives the frames of a receive queue to an AF_XDP socket that is bound to it. This can be done before or after
    /// attaching. A socket that is closed leaves its place by itself.
    ///
    /// # Errors
    ///
    /// [`XdpError::NoSuchInterface`], [`XdpError::QueueOutOfRange`], [`XdpError::TooMany`] interfaces, or
    /// [`XdpError::Map`] if it is not an AF_XDP socket.
    pub fn register_socket(
        &mut self,
        interface: &str,
        queue: u32,
        socket: BorrowedFd<'_>,
    ) -> Result<(), XdpError> {
        if queue >= QUEUES_PER_INTERFACE {
            return Err(XdpError::QueueOutOfRange {
                interface: interface.to_owned(),
                queue,
            });
        }
        let (slot, _) = self.device_or_new(interface)?;
        self.maps.set_socket(slot * QUEUES_PER_INTERFACE + queue, socket)
    }

    /// Takes the socket of a queue away; the queue's frames go to the kernel.
    ///
    /// # Errors
    ///
    /// [`XdpError::NotAttached`], [`XdpError::QueueOutOfRange`].
    pub fn remove_socket(&mut self, interface: &str, queue: u32) -> Result<(), XdpError> {
        if queue >= QUEUES_PER_INTERFACE {
            return Err(XdpError::QueueOutOfRange {
                interface: interface.to_owned(),
                queue,
            });
        }
        let (slot, _) = self.device(interface)?;
        self.maps.unset_socket(slot * QUEUES_PER_INTERFACE + queue)
    }

    /// Tells the program which frames user space wants, instead of what it was told before. Only what differs is
    /// written, and traffic that both the old and the new interest ask for is not interrupted.
    ///
    /// # Errors
    ///
    /// [`XdpError::NotAttached`] for an interface with neither program nor sockets, [`XdpError::InvalidVlan`],
    /// [`XdpError::DuplicateInterface`], [`XdpError::TooMany`]: nothing has changed then. [`XdpError::Map`] if the
    /// kernel has no memory left: then some of it has changed, and another call carries on.
    pub fn set_interest(&mut self, interest: &Interest) -> Result<(), XdpError> {
        let tables = Tables::new(interest, |name| {
            let (slot, ifindex) = self.device(name)?;
            Ok((ifindex, slot))
        })?;
        self.maps.set(&tables)
    }

    /// Frames seen so far by what became of them, summed over all CPUs and interfaces.
    ///
    /// # Errors
    ///
    /// [`XdpError::Map`] if the kernel does not let the counters be read.
    pub fn verdicts(&self) -> Result<Vec<(Verdict, u64)>, XdpError> {
        self.maps.counters()
    }

    /// [`verdicts`](Self::verdicts) by name.
    ///
    /// # Errors
    ///
    /// Those of [`verdicts`](Self::verdicts).
    pub fn counters(&self) -> Result<Vec<(&'static str, u64)>, XdpError> {
        Ok(self
            .verdicts()?
            .into_iter()
            .map(|(verdict, count)| (verdict.name(), count))
            .collect())
    }

    /// Whether the program would redirect this frame if it arrived on that queue of that device now. The frame goes
    /// nowhere, but it counts.
    ///
    /// # Errors
    ///
    /// [`XdpError::Run`] if the device has no such queue, or the frame is shorter than an Ethernet header.
    pub fn redirects(&self, frame: &[u8], ifindex: u32, queue: u32) -> Result<bool, XdpError> {
        const XDP_REDIRECT: u32 = 4;
        self.test_run(frame, ifindex, queue, 1)
            .map(|outcome| outcome.action == XDP_REDIRECT)
    }

    /// Runs the program `repeat` times on one copy of a frame, each time on what the last one has left of it, as if it arrived on that queue of that device.
    /// It goes nowhere, but it counts.
    ///
    /// # Errors
    ///
    /// Those of [`redirects`](Self::redirects).
    pub fn test_run(&self, frame: &[u8], ifindex: u32, queue: u32, repeat: u32) -> Result<TestRun, XdpError> {
        sys::test_run(self.program.as_fd(), frame, ifindex, queue, repeat).map_err(|source| XdpError::Run {
            length: frame.len(),
            ifindex,
            queue,
            source,
        })
    }

    /// The flows that the program carries by itself.
    pub fn offload(&self) -> Arc<OffloadTable> {
        Arc::clone(&self.offload)
    }

    /// The slot of a device that is attached or has sockets, by which flows [leave](OffloadWay::slot).
    pub fn slot_of(&self, device: &str) -> Option<u32> {
        self.device(device).ok().map(|(slot, _)| slot)
    }

    /// The way to the kernel for frames that user space does not want after all.
    pub fn handover(&mut self) -> &mut Handover {
        &mut self.handover
    }

    /// Who has an XDP program on an interface, this process or another.
    ///
    /// # Errors
    ///
    /// [`XdpError::NoSuchInterface`], or [`XdpError::System`] if the kernel can't be asked.
    pub fn attached_to(interface: &str) -> Result<Option<ForeignProgram>, XdpError> {
        attach::attached_program(index(interface)?)
    }

    /// Slot and index of a known interface.
    fn device(&self, interface: &str) -> Result<(u32, u32), XdpError> {
        (0..)
            .zip(&self.devices)
            .find_map(|(slot, device)| {
                device
                    .as_ref()
                    .filter(|device| device.name == interface)
                    .map(|device| (slot, device.ifindex))
            })
            .ok_or_else(|| XdpError::NotAttached {
                interface: interface.to_owned(),
            })
    }

    /// Slot and index of an interface, which gets a slot if it has none. One that is known stays the same under whatever name
    /// it has now. An interface that went away and came back under its old name is a new one.
    fn device_or_new(&mut self, interface: &str) -> Result<(u32, u32), XdpError> {
        if let Ok((slot, known)) = self.device(interface) {
            // nix 0.31 gives an empty name for an index that is nobody's.
            if if_indextoname(known).is_ok_and(|name| !name.is_empty()) {
                return Ok((slot, known));
            }
            self.detach(interface)?;
        }
        let ifindex = index(interface)?;
        let slot = self
            .devices
            .iter()
            .position(Option::is_none)
            .ok_or(XdpError::TooMany {
                what: "interfaces",
                given: self.devices.len() + 1,
                limit: self.devices.len(),
            })?;
        self.maps.set_device(slot as u32, ifindex)?;
        self.devices[slot] = Some(Device {
            name: interface.to_owned(),
            ifindex,
            link: None,
            is_pinned: false,
        });
        Ok((slot as u32, ifindex))
    }

    fn set_generic(&self, ifindex: u32, generic: bool) {
        let mut devices = self.generic.write().unwrap_or_else(PoisonError::into_inner);
        if generic {
            devices.insert(ifindex);
        } else {
            devices.remove(&ifindex);
        }
    }
}

fn index(interface: &str) -> Result<u32, XdpError> {
    if_nametoindex(interface).map_err(|_| XdpError::NoSuchInterface {
        interface: interface.to_owned(),
    })
}

fn load_program(object: &mut Ebpf, name: &'static str) -> Result<OwnedFd, XdpError> {
    let program: &mut Xdp = object
        .program_mut(name)
        .and_then(|program| program.try_into().ok())
        .ok_or(XdpError::Object {
            what: "XDP program",
            name,
        })?;
    program
        .load()
        .and_then(|()| Ok(program.fd()?.as_fd().try_clone_to_owned()?))
        .map_err(|source| XdpError::LoadProgram {
            name,
            source: Box::new(source),
        })
}

fn array_fd<'a>(object: &'a Ebpf, name: &'static str) -> Result<BorrowedFd<'a>, XdpError> {
    let Some(aya::maps::Map::Array(map)) = object.map(name) else {
        return Err(XdpError::Object { what: "map", name });
    };
    Ok(map.fd().as_fd())
}

fn map_fd(object: &Ebpf, name: &'static str) -> Result<OwnedFd, XdpError> {
    let Some(aya::maps::Map::LruHashMap(map)) = object.map(name) else {
        return Err(XdpError::Object { what: "map", name });
    };
    map.fd().as_fd().try_clone_to_owned().map_err(duplicating)
}
