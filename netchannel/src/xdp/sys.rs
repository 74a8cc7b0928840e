//! The bpf(2) calls that aya has not, or not in the form needed here.
//!
//! aya falls back to attaching without a link, and such a program would outlive a killed process; and its test
//! runs need its own program type, of which there is only one for each program, while every worker wants a
//! handle of its own.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use libc::{c_int, c_uint};
use xdp_prog::MapData;

/// Flag of a link: native mode, in the driver.
pub(super) const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;
/// Flag of a link: generic mode, in the network stack.
pub(super) const XDP_FLAGS_SKB_MODE: u32 = 1 << 1;

const BPF_OBJ_PIN: c_uint = 6;
const BPF_OBJ_GET: c_uint = 7;
const BPF_PROG_TEST_RUN: c_uint = 10;
const BPF_OBJ_GET_INFO_BY_FD: c_uint = 15;
const BPF_LINK_CREATE: c_uint = 28;
const BPF_LINK_UPDATE: c_uint = 29;
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

/// The beginning of `union bpf_attr` for BPF_LINK_UPDATE.
#[repr(C)]
struct LinkUpdate {
    link: u32,
    program: u32,
    flags: u32,
    former_program: u32,
}

/// The beginning of `union bpf_attr` for BPF_OBJ_PIN and BPF_OBJ_GET.
#[repr(C)]
struct Pin {
    path: u64,
    object: u32,
    flags: u32,
}

/// The beginning of `union bpf_attr` for BPF_OBJ_GET_INFO_BY_FD.
#[repr(C)]
struct GetInfo {
    object: u32,
    length: u32,
    info: u64,
}

/// The beginning of `struct bpf_link_info`, of an XDP link.
#[derive(Default)]
#[repr(C)]
pub(super) struct LinkInfo {
    kind: u32,
    id: u32,
    pub(super) program_id: u32,
    padding: u32,
    /// 0 if the device is gone.
    pub(super) ifindex: u32,
    more: u32,
}

/// The beginning of `union bpf_attr` for BPF_PROG_TEST_RUN.
#[derive(Default)]
#[repr(C)]
struct TestRunAttributes {
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

/// What running the program on a frame came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestRun {
    /// What the program answers: an action of XDP (`XDP_PASS` is 2, `XDP_REDIRECT` 4).
    pub action: u32,
    /// The frame as the program has left it.
    pub frame: Vec<u8>,
    /// What a run took on average.
    pub duration: Duration,
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

/// Puts another program in the place of a link's own. No frame passes between the two.
pub(super) fn update_link(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let mut attributes = LinkUpdate {
        link: link.as_raw_fd() as u32,
        program: program.as_raw_fd() as u32,
        flags: 0,
        former_program: 0,
    };
    // SAFETY: the attributes are those of this command and hold no pointers.
    unsafe { bpf(BPF_LINK_UPDATE, &mut attributes) }.map(drop)
}

/// Gives a link a name in the BPF file system, by which it stays when it is closed.
pub(super) fn pin(link: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attributes = Pin {
        path: path.as_ptr() as u64,
        object: link.as_raw_fd() as u32,
        flags: 0,
    };
    // SAFETY: the attributes are those of this command; the path ends with a zero and lives until it returns.
    unsafe { bpf(BPF_OBJ_PIN, &mut attributes) }.map(drop)
}

/// Opens what has a name in the BPF file system.
pub(super) fn pinned(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attributes = Pin {
        path: path.as_ptr() as u64,
        object: 0,
        flags: 0,
    };
    // SAFETY: as above.
    let object = unsafe { bpf(BPF_OBJ_GET, &mut attributes) }?;
    // SAFETY: the command returned a new descriptor, which nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(object) })
}

/// What the kernel tells of a link. Of other objects it is of no use, but no harm.
pub(super) fn link_info(link: BorrowedFd<'_>) -> io::Result<LinkInfo> {
    let mut info = LinkInfo::default();
    let mut attributes = GetInfo {
        object: link.as_raw_fd() as u32,
        length: size_of::<LinkInfo>() as u32,
        info: (&raw mut info) as u64,
    };
    // SAFETY: the attributes are those of this command; the kernel writes at most `length` bytes to `info`, which are all integers.
    unsafe { bpf(BPF_OBJ_GET_INFO_BY_FD, &mut attributes) }?;
    Ok(info)
}

/// Runs an XDP program on a frame that arrives on a queue of a device, `repeat` times on the same copy.
pub(super) fn test_run(
    program: BorrowedFd<'_>,
    frame: &[u8],
    ifindex: u32,
    queue: u32,
    repeat: u32,
) -> io::Result<TestRun> {
    let mut out = vec![0; frame.len()];
    let mut attributes = TestRunAttributes {
        repeat,
        data_size_out: out.len() as u32,
        data_out: out.as_mut_ptr() as u64,
        ..Default::default()
    };
    run(program, frame, ifindex, queue, &mut attributes)?;
    out.truncate(attributes.data_size_out as usize);
    Ok(TestRun {
        action: attributes.return_value,
        frame: out,
        duration: Duration::from_nanos(attributes.duration.into()),
    })
}

/// Runs an XDP program on a frame as if it had arrived on a queue of a device, and the kernel does with it what the program answers.
pub(super) fn live_run(program: BorrowedFd<'_>, frame: &[u8], ifindex: u32, queue: u32) -> io::Result<()> {
    let mut attributes = TestRunAttributes {
        repeat: 1,
        flags: BPF_F_TEST_XDP_LIVE_FRAMES,
        batch_size: 1,
        ..Default::default()
    };
    run(program, frame, ifindex, queue, &mut attributes)
}

/// The attributes' buffer for what comes out must be as long as they say and live until it returns, and there is none if there is no length.
fn run(
    program: BorrowedFd<'_>,
    frame: &[u8],
    ifindex: u32,
    queue: u32,
    attributes: &mut TestRunAttributes,
) -> io::Result<()> {
    let length = u32::try_from(frame.len()).map_err(|_| io::Error::from_raw_os_error(libc::EMSGSIZE))?;
    let context = Context {
        data_end: length,
        ingress_ifindex: ifindex,
        rx_queue_index: queue,
        ..Default::default()
    };
    attributes.program = program.as_raw_fd() as u32;
    attributes.data_size_in = length;
    attributes.data_in = frame.as_ptr() as u64;
    attributes.context_size_in = size_of::<Context>() as u32;
    attributes.context_in = (&raw const context) as u64;
    // SAFETY: the attributes are those of this command; the frame and the context, which they point to with
    // their lengths, live until it returns, and the kernel only reads them. What it writes goes to the caller's buffer.
    unsafe { bpf(BPF_PROG_TEST_RUN, attributes) }.map(drop)
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
