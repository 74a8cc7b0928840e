//! A UMEM: the memory that all sockets of one worker share, and who holds which of its chunks.
#![allow(unsafe_code)]

use std::cell::Cell;
use std::fmt;
use std::io;
use std::num::NonZeroU32;
use std::os::fd::RawFd;
use std::ptr::NonNull;
use std::rc::Rc;

use xsk_rs::FrameDesc;
use xsk_rs::config::{FrameSize, QueueSize, UmemConfig};

use super::error::AfXdpError;
use super::options::{UmemOptions, ZeroCopy};
use crate::port::{Frame, FramePool};

/// Bytes of a huge page; a mapping of huge pages is a multiple of it.
const HUGE_PAGE: u32 = 2 << 20;

/// Memory for frames that the kernel reads and writes too. One for each worker: all its sockets share it, so that a frame that came
/// in on one interface leaves on another without a copy. The handle is cheap to clone and stays in the thread that made it.
///
/// The kernel ties a UMEM to the first socket on it, so the ports of one are opened together and dropped together. Frames that a
/// port held when it was dropped are not in the pool again.
#[derive(Clone)]
pub struct Umem {
    pub(super) shared: Rc<Shared>,
}

/// What the sockets of a UMEM share.
pub(super) struct Shared {
    pub(super) umem: xsk_rs::Umem,
    pub(super) pool: FramePool,
    pub(super) options: UmemOptions,
    chunks: Vec<Chunk>,
    huge_pages: bool,
    /// Frames that the fill rings of all sockets are short of their low marks.
    pub(super) shortage: Cell<usize>,
    /// Sockets on it, and the descriptor of the first one.
    pub(super) sockets: Cell<usize>,
    pub(super) first_socket: Cell<Option<RawFd>>,
}

/// One chunk: its descriptor (address of its data, length 0), and to which of the kernel's rings it is lent.
struct Chunk {
    descriptor: FrameDesc,
    lent: Cell<Lent>,
}

/// To whom a chunk is lent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lent {
    /// To nobody: it is in the pool, or a frame owns it.
    No,
    /// To the kernel, to receive into.
    Receive,
    /// To the kernel, to send.
    Transmit,
}

/// What a descriptor from the kernel turned out to be.
pub(super) enum Returned {
    /// A frame that was lent.
    Frame(Frame),
    /// A frame that was lent, but with data elsewhere than frames have theirs; it went to the pool.
    Unusable,
    /// No frame that was lent so.
    NotLent,
}

impl Umem {
    /// Makes the memory and hands it to the kernel. O(frames).
    ///
    /// # Errors
    /// If an option is out of its range, there is no memory, or the process may not lock it or open AF_XDP sockets.
    pub fn new(options: &UmemOptions) -> Result<Self, AfXdpError> {
        options.check()?;
        if options.huge_pages {
            let chunks_per_page = HUGE_PAGE / options.chunk_size;
            let frames = options.frames.div_ceil(chunks_per_page) * chunks_per_page;
            let rounded = UmemOptions {
                frames,
                ..options.clone()
            };
            match Self::map(rounded, true) {
                Err(AfXdpError::Memory { source, .. }) => {
                    log::debug!("no huge pages for the UMEM ({source}): ordinary pages are used");
                }
                other => return other,
            }
        }
        Self::map(options.clone(), false)
    }

    fn map(options: UmemOptions, huge_pages: bool) -> Result<Self, AfXdpError> {
        let bytes = u64::from(options.frames) * u64::from(options.chunk_size);
        let failed = |source: io::Error| umem_error(source, bytes);
        let invalid =
            |error: &dyn fmt::Display| failed(io::Error::new(io::ErrorKind::InvalidInput, error.to_string()));
        let config = UmemConfig::builder()
            .frame_size(FrameSize::new(options.chunk_size).map_err(|error| invalid(&error))?)
            .fill_queue_size(QueueSize::new(options.fill_ring).map_err(|error| invalid(&error))?)
            .comp_queue_size(QueueSize::new(options.completion_ring).map_err(|error| invalid(&error))?)
            .build()
            .map_err(|error| invalid(&error))?;
        let count = NonZeroU32::new(options.frames).ok_or_else(|| invalid(&"no frames"))?;
        let (umem, descriptors) =
            xsk_rs::Umem::new(config, count, huge_pages).map_err(|error| failed(os_error(&error)))?;

        let mut first = descriptors[0];
        // SAFETY: the descriptor is of this UMEM, and nothing else refers to its memory yet.
        let data = unsafe { umem.data_mut(&mut first) }.contents_mut().as_mut_ptr();
        // The mapping comes from mmap, so its address may be used for all of it, not only for the first chunk.
        let base = NonNull::new(std::ptr::with_exposed_provenance_mut(data.expose_provenance()))
            .ok_or_else(|| invalid(&"no address"))?;
        let capacity = config.mtu() as usize;
        // SAFETY: frame n is the data part of chunk n: `capacity` bytes at `chunk_size` from each other, all inside of the mapping,
        // which lives as long as the handle given as region. Only the pool's frames access it, and the kernel those lent to it.
        let pool = unsafe {
            FramePool::over_region(
                Box::new(umem.clone()),
                base,
                options.chunk_size as usize,
                capacity,
                options.frames,
            )
        };
        let pool = match options.long_frames() {
            0 => pool,
            count => pool.with_long_frames(FramePool::in_memory(count, options.longest_packet as usize)),
        };
        let chunks = descriptors
            .into_iter()
            .map(|descriptor| Chunk {
                descriptor,
                lent: Cell::new(Lent::No),
            })
            .collect();
        Ok(Self {
            shared: Rc::new(Shared {
                umem,
                pool,
                options,
                chunks,
                huge_pages,
                shortage: Cell::new(0),
                sockets: Cell::new(0),
                first_socket: Cell::new(None),
            }),
        })
    }

    /// The pool of its frames.
    pub fn pool(&self) -> FramePool {
        self.shared.pool.clone()
    }

    /// Whether it lies in huge pages.
    pub fn uses_huge_pages(&self) -> bool {
        self.shared.huge_pages
    }

    /// The options that it was made with; the number of frames is the real one.
    pub fn options(&self) -> &UmemOptions {
        &self.shared.options
    }
}

impl Shared {
    pub(super) fn zero_copy(&self) -> ZeroCopy {
        self.options.zero_copy
    }

    /// Lends a frame to the kernel; gives the descriptor to put into a ring.
    ///
    /// A frame of another pool stays with the caller.
    pub(super) fn lend(&self, frame: Frame, to: Lent) -> Result<FrameDesc, Frame> {
        if !frame.belongs_to(&self.pool) {
            return Err(frame);
        }
        let len = frame.len();
        let index = frame.lend();
        let chunk = &self.chunks[index as usize];
        chunk.lent.set(to);
        let mut descriptor = chunk.descriptor;
        // SAFETY: the descriptor is of this UMEM; the frame is lent, and the kernel has not got it yet, so nothing else refers to it.
        unsafe { self.umem.data_mut(&mut descriptor) }
            .cursor()
            .set_pos(len);
        Ok(descriptor)
    }

    /// Chunks that a packet of a length takes.
    #[inline]
    pub(super) fn chunks_for(&self, len: usize) -> usize {
        let capacity = self.pool.frame_capacity();
        if len <= capacity {
            1
        } else {
            len.div_ceil(capacity)
        }
    }

    /// Copies a frame of another pool into chunks, which are lent to be sent, and writes their descriptors: one that was longer than a chunk when it came,
    /// or came before the UMEM was made anew. Returns how many, or `None` if there are not as many free, there is no room
    /// for the descriptors, or the sockets take no packets of several chunks.
    #[cold]
    pub(super) fn lend_copy(&self, foreign: &Frame, descriptors: &mut [FrameDesc]) -> Option<usize> {
        let parts = foreign.bytes().chunks(self.pool.frame_capacity());
        let count = parts.len();
        let is_possible = count <= 1 || self.options.has_long_packets();
        if !is_possible || count > self.pool.free() || count > descriptors.len() {
            return None;
        }
        for (at, (part, descriptor)) in parts.zip(descriptors).enumerate() {
            let part = self.pool.take_filled(part)?;
            *descriptor = self.lend(part, Lent::Transmit).ok()?;
            if at + 1 < count {
                descriptor.set_options(libc::XDP_PKT_CONTD);
            }
        }
        Some(count)
    }

    /// Takes back what the kernel gave in a descriptor of one of its rings.
    #[inline(always)]
    pub(super) fn take_back(&self, descriptor: &FrameDesc, from: Lent) -> Returned {
        let index = descriptor.addr() / self.options.chunk_size as usize;
        let Some(chunk) = self.chunks.get(index).filter(|chunk| chunk.lent.get() == from) else {
            return Returned::NotLent;
        };
        chunk.lent.set(Lent::No);
        let len = descriptor.lengths().data();
        let intact = descriptor.addr() == chunk.descriptor.addr() && len <= self.pool.frame_capacity();
        // SAFETY: the mark says that the frame was lent and not taken back since; it was cleared just now. Length 0 always fits.
        let frame = unsafe { self.pool.take_back(index as u32, if intact { len } else { 0 }) };
        if intact {
            Returned::Frame(frame)
        } else {
            Returned::Unusable
        }
    }
}

/// The kernel's error behind one of xsk-rs.
pub(super) fn os_error(error: &dyn std::error::Error) -> io::Error {
    error
        .source()
        .and_then(|source| source.downcast_ref::<io::Error>())
        .and_then(io::Error::raw_os_error)
        .map_or_else(
            || io::Error::other(error.to_string()),
            io::Error::from_raw_os_error,
        )
}

fn umem_error(source: io::Error, bytes: u64) -> AfXdpError {
    match source.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => AfXdpError::NotPermitted {
            doing: "making a UMEM".to_owned(),
        },
        Some(libc::ENOBUFS) => AfXdpError::LockedMemory { bytes },
        _ => AfXdpError::Memory { bytes, source },
    }
}

impl fmt::Debug for Umem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Umem")
            .field("pool", &self.shared.pool)
            .field("huge_pages", &self.shared.huge_pages)
            .finish_non_exhaustive()
    }
}
