//! The bpf(2) calls that aya has not, or not in the form needed here.
//!
//! aya falls back to attaching without a link, and such a program would outlive a killed process; and its test
//! runs need its own program type, of which there is only one for each program, while every worker wants a
//! handle of its own.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use libc::{c_int, c_uint};
use xdp_prog::MapData;

/// Flag of a link: native mode, in the driver.
pub(super) const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;
/// Flag of a link: generic mode, in the network stack.
pub(super) const XDP_FLAGS_SKB_MODE: u32 = 1 << 1;

const BPF_PROG_TEST_RUN: c_uint = 10;
const BPF_LINK_CREATE: c_uint = 28;
const BPF_XDP: u32 = 37;
const BPF_F_TEST_XDP_LIVE_FRAMES: u32 = 1 << 1;

/// The beginning of `union bpf_attr` for BPF_LINK_CREATE; the kernel takes the rest as zero.
#[repr(C)]
struct LinkCreate {
    program: u32,
    ifindex: u32,
    attach_type: u32,
    flags: u32,
}

/// The beginning of `union bpf_attr` for BPF_PROG_TEST_RUN.
#[derive(Default)]
#[repr(C)]
struct TestRun {
    program: u32,
    return_value: u32,
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
    cpu: u32,
    batch_size: u32,
    padding: u32,
}

/// `struct xdp_md`.
#[derive(Default)]
#[repr(C)]
struct Context {
    data: u32,
    data_end: u32,
    data_meta: u32,
    ingress_ifindex: u32,
    rx_queue_index: u32,
    egress_ifindex: u32,
}

/// How a program is run on a frame.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Run {
    /// Only its answer matters.
    Test,
    /// The kernel does with the frame what the program answers, as if it had arrived.
    Live,
}

/// A value that aya may hand to the kernel as bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub(super) struct Shared<T>(pub(super) T);

// SAFETY: T has no padding and any bytes are a valid T, as MapData says; the wrapper is transparent.
unsafe impl<T: MapData> aya::Pod for Shared<T> {}

/// Attaches an XDP program to a device by a link. The program is attached for as long as the link is open.
pub(super) fn create_link(program: BorrowedFd<'_>, ifindex: u32, flags: u32) -> io::Result<OwnedFd> {
    let mut attributes = LinkCreate {
        program: program.as_raw_fd() as u32,
        ifindex,
        attach_type: BPF_XDP,
        flags,
    };
    // SAFETY: the attributes are those of this command and hold no pointers.
    let link = unsafe { bpf(BPF_LINK_CREATE, &mut attributes) }?;
    // SAFETY: the command returned a new descriptor (close-on-exec, as all of bpf's), which nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(link) })
}

/// Runs an XDP program once on a frame that arrives on a queue of a device, and returns what it answers (in a
/// live run: nothing, 0).
pub(super) fn run(
    program: BorrowedFd<'_>,
    frame: &[u8],
    ifindex: u32,
    queue: u32,
    run: Run,
) -> io::Result<u32> {
    let length = u32::try_from(frame.len()).map_err(|_| io::Error::from_raw_os_error(libc::EMSGSIZE))?;
    let context = Context {
        data_end: length,
        ingress_ifindex: ifindex,
        rx_queue_index: queue,
        ..Default::default()
    };
    let mut attributes = TestRun {
        program: program.as_raw_fd() as u32,
        data_size_in: length,
        data_in: frame.as_ptr() as u64,
        repeat: 1,
        context_size_in: size_of::<Context>() as u32,
        context_in: (&raw const context) as u64,
        ..Default::default()
    };
    if run == Run::Live {
        attributes.flags = BPF_F_TEST_XDP_LIVE_FRAMES;
        attributes.batch_size = 1;
    }
    // SAFETY: the attributes are those of this command; the frame and the context, which they point to with
    // their lengths, live until it returns, and the kernel only reads them.
    unsafe { bpf(BPF_PROG_TEST_RUN, &mut attributes) }?;
    Ok(attributes.return_value)
}

/// # Safety
///
/// `attributes` must be of the layout that the command takes, and pointers in it valid for what it does.
unsafe fn bpf<T>(command: c_uint, attributes: &mut T) -> io::Result<c_int> {
    loop {
        // SAFETY: as this function's own conditions say; the size is that of the attributes.
        let result = unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut *attributes, size_of::<T>()) };
        if result >= 0 {
            return Ok(result as c_int);
        }
        let error = io::Error::last_os_error();
        // A test run gives up when a signal comes in before it has done anything.
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}
