//! The bpf system call.
#![allow(unsafe_code)]

use std::ffi::{c_int, c_long};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

const MAP_CREATE: c_int = 0;
const MAP_LOOKUP: c_int = 1;
const MAP_UPDATE: c_int = 2;
const PROGRAM_LOAD: c_int = 5;
const PROGRAM_TEST_RUN: c_int = 10;
const LINK_CREATE: c_int = 28;

const MAP_TYPE_ARRAY: u32 = 2;
const MAP_TYPE_DEVMAP: u32 = 14;
/// Frames are not thrown away after the run, but go where the program's answer says.
const TEST_XDP_LIVE_FRAMES: u32 = 1 << 1;
const LOG_SIZE: usize = 64 * 1024;

/// Where a program is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hook {
    /// XDP, in native mode, not the generic one.
    Xdp,
    /// Traffic control, for what comes in (`BPF_TCX_INGRESS`; Linux 6.6).
    Ingress,
}

impl Hook {
    fn program_type(self) -> u32 {
        match self {
            Self::Xdp => 6,
            Self::Ingress => 3,
        }
    }

    /// Where the context of such a program has the beginning and the end of the frame: `struct xdp_md`, `struct __sk_buff`.
    pub(super) fn data(self) -> (i16, i16) {
        match self {
            Self::Xdp => (0, 4),
            Self::Ingress => (76, 80),
        }
    }

    /// Flags to load it with: an XDP program is attached at any MTU only if it takes frames of several buffers.
    fn program_flags(self) -> u32 {
        const XDP_HAS_FRAGS: u32 = 1 << 5;
        match self {
            Self::Xdp => XDP_HAS_FRAGS,
            Self::Ingress => 0,
        }
    }

    /// Attachment type and flags.
    fn attachment(self) -> (u32, u32) {
        const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;
        match self {
            Self::Xdp => (37, XDP_FLAGS_DRV_MODE),
            Self::Ingress => (46, 0),
        }
    }
}

fn bpf<T>(command: c_int, attributes: &mut T) -> io::Result<c_long> {
    // SAFETY: `attributes` is a prefix of `union bpf_attr` for `command` (the callers below), its size is
    // given, and the pointers in it are valid for as long as the call takes.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            ptr::from_mut(attributes),
            size_of::<T>() as libc::c_uint,
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

fn owned(descriptor: c_long) -> OwnedFd {
    // SAFETY: the call that gave the descriptor made it, and nobody else has it.
    unsafe { OwnedFd::from_raw_fd(descriptor as RawFd) }
}

/// An array map with one value of `N` 64-bit words.
#[derive(Debug)]
pub(super) struct Words<const N: usize>(OwnedFd);

#[repr(C)]
struct MapElement {
    map: u32,
    _padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

impl<const N: usize> Words<N> {
    pub(super) fn new() -> io::Result<Self> {
        make_map(MAP_TYPE_ARRAY, size_of::<[u64; N]>(), 1).map(Self)
    }

    /// The descriptor, as a program names the map.
    pub(super) fn descriptor(&self) -> i32 {
        self.0.as_raw_fd()
    }

    pub(super) fn read(&self) -> io::Result<[u64; N]> {
        let mut value = [0; N];
        self.element(MAP_LOOKUP, ptr::from_mut(&mut value) as u64)?;
        Ok(value)
    }

    pub(super) fn write(&self, value: &[u64; N]) -> io::Result<()> {
        self.element(MAP_UPDATE, ptr::from_ref(value) as u64)
    }

    fn element(&self, command: c_int, value: u64) -> io::Result<()> {
        element(&self.0, command, 0, value)
    }
}

/// Interfaces that frames can be redirected to, by number.
#[derive(Debug)]
pub(super) struct Devices(OwnedFd);

impl Devices {
    /// Makes a map of interfaces of the calling thread's network namespace.
    pub(super) fn new(interfaces: &[u32]) -> io::Result<Self> {
        let map = make_map(MAP_TYPE_DEVMAP, size_of::<u32>(), interfaces.len() as u32)?;
        for (number, interface) in (0..).zip(interfaces) {
            element(&map, MAP_UPDATE, number, ptr::from_ref(interface) as u64)?;
        }
        Ok(Self(map))
    }

    /// The descriptor, as a program names the map.
    pub(super) fn descriptor(&self) -> i32 {
        self.0.as_raw_fd()
    }
}

/// Makes a map with keys of 32 bits.
fn make_map(kind: u32, value_size: usize, entries: u32) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Attributes {
        kind: u32,
        key_size: u32,
        value_size: u32,
        entries: u32,
        flags: u32,
    }
    let mut attributes = Attributes {
        kind,
        key_size: size_of::<u32>() as u32,
        value_size: value_size as u32,
        entries,
        flags: 0,
    };
    bpf(MAP_CREATE, &mut attributes).map(owned)
}

fn element(map: &OwnedFd, command: c_int, key: u32, value: u64) -> io::Result<()> {
    let mut attributes = MapElement {
        map: map.as_raw_fd().cast_unsigned(),
        _padding: 0,
        key: ptr::from_ref(&key) as u64,
        value,
        flags: 0,
    };
    bpf(command, &mut attributes).map(drop)
}

/// Loads a program for a hook. The error has the verifier's last words.
pub(super) fn load(hook: Hook, code: &[[u8; 8]]) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Attributes {
        kind: u32,
        instructions: u32,
        code: u64,
        license: u64,
        log_level: u32,
        log_size: u32,
        log: u64,
        kernel_version: u32,
        flags: u32,
    }
    let mut log = vec![0_u8; LOG_SIZE];
    let mut attributes = Attributes {
        kind: hook.program_type(),
        instructions: code.len() as u32,
        code: code.as_ptr() as u64,
        license: c"MIT".as_ptr() as u64,
        log_level: 1,
        log_size: LOG_SIZE as u32,
        log: log.as_mut_ptr() as u64,
        kernel_version: 0,
        flags: hook.program_flags(),
    };
    // The verifier gives up when a signal comes in; the next time it is gone.
    let loaded = loop {
        match bpf(PROGRAM_LOAD, &mut attributes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            result => break result,
        }
    };
    loaded.map(owned).map_err(|error| {
        let log = String::from_utf8_lossy(&log);
        let said: Vec<&str> = log.trim_end_matches('\0').lines().rev().take(4).collect();
        io::Error::new(
            error.kind(),
            format!("{error}; the verifier says: {}", said.join(" / ")),
        )
    })
}

/// Attaches a program to an interface of the calling thread's network namespace. It is detached when the
/// descriptor is closed.
pub(super) fn attach(hook: Hook, program: BorrowedFd<'_>, interface: u32) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Attributes {
        program: u32,
        interface: u32,
        kind: u32,
        flags: u32,
    }
    let (kind, flags) = hook.attachment();
    let mut attributes = Attributes {
        program: program.as_raw_fd().cast_unsigned(),
        interface,
        kind,
        flags,
    };
    bpf(LINK_CREATE, &mut attributes).map(owned)
}

/// Runs an XDP program `repeat` times on copies of `frame` as if they had come in on `interface`, and lets
/// the frames go where the program sends them. A run that a signal interrupts counts as done.
pub(super) fn run_live(
    program: BorrowedFd<'_>,
    frame: &[u8],
    interface: u32,
    repeat: u32,
    batch: u32,
) -> io::Result<()> {
    /// `struct xdp_md`
    #[repr(C)]
    struct Context {
        data: u32,
        data_end: u32,
        data_meta: u32,
        ingress_ifindex: u32,
        rx_queue_index: u32,
        egress_ifindex: u32,
    }
    #[repr(C)]
    struct Attributes {
        program: u32,
        result: u32,
        data_size_in: u32,
        data_size_out: u32,
        data_in: u64,
        data_out: u64,
        repeat: u32,
        duration: u32,
        context_size_in: u32,
        context_size_out: u32,
        context_in: u64,
        context_out: u64,
        flags: u32,
        processor: u32,
        batch_size: u32,
        _padding: u32,
    }
    let length = frame.len() as u32;
    let context = Context {
        data: 0,
        data_end: length,
        data_meta: 0,
        ingress_ifindex: interface,
        rx_queue_index: 0,
        egress_ifindex: 0,
    };
    let mut attributes = Attributes {
        program: program.as_raw_fd().cast_unsigned(),
        result: 0,
        data_size_in: length,
        data_size_out: 0,
        data_in: frame.as_ptr() as u64,
        data_out: 0,
        repeat,
        duration: 0,
        context_size_in: size_of::<Context>() as u32,
        context_size_out: 0,
        context_in: ptr::from_ref(&context) as u64,
        context_out: 0,
        flags: TEST_XDP_LIVE_FRAMES,
        processor: 0,
        batch_size: batch,
        _padding: 0,
    };
    match bpf(PROGRAM_TEST_RUN, &mut attributes) {
        Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
        _ => Ok(()),
    }
}
