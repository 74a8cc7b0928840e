//! The time between two processes: the program stays attached, by a link that is pinned in the BPF file system, and drops what the sockets
//! would have got, until the next process puts its own program in its place or the time is over. Then the kernel has its packets again.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::mount::{MsFlags, mount};
use nix::sys::statfs::{FsType, statfs};
use nix::time::{ClockId, clock_gettime};

use super::{XdpError, attach, sys};

/// Where the kernel's BPF file system is, by common consent.
const FILE_SYSTEM: &str = "/sys/fs/bpf";
const FILE_SYSTEM_TYPE: FsType = FsType(0xcafe_4a11_u32 as _);

/// The time of the kernel's clock that programs see, in nanoseconds, `after` a while.
pub(super) fn deadline(after: Duration) -> Result<u64, XdpError> {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map_err(|error| XdpError::System {
        call: "clock_gettime",
        source: error.into(),
    })?;
    let then = Duration::from(now).saturating_add(after);
    Ok(u64::try_from(then.as_nanos()).unwrap_or(u64::MAX))
}

/// Where links are pinned, one for each device: a directory in the BPF file system, `/sys/fs/bpf/netchannel` by default. Which processes
/// use the same directory does not matter, as long as each device is one's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pins(PathBuf);

impl Default for Pins {
    fn default() -> Self {
        Self::new(Path::new(FILE_SYSTEM).join("netchannel"))
    }
}

impl Pins {
    /// Pins in this directory. It is made when it is needed.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self(directory.into())
    }

    /// Makes the directory if it is missing (mode 0700), and the BPF file system.
    ///
    /// # Errors
    ///
    /// If the system refuses.
    pub fn make(&self) -> io::Result<()> {
        if self.0.is_dir() {
            return Ok(());
        }
        if self.0.starts_with(FILE_SYSTEM) {
            mount_file_system()?;
        }
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.0)
    }

    /// Whether the XDP program on an interface is one that an earlier process left to [hold](super::XdpProgram::hold) frames.
    ///
    /// # Errors
    ///
    /// As [`XdpProgram::attached_to`](super::XdpProgram::attached_to).
    pub fn hold(&self, interface: &str) -> Result<bool, XdpError> {
        let ifindex = super::index(interface)?;
        let attached = attach::attached_program(ifindex)?.and_then(|program| program.id);
        Ok(attached.is_some() && attached == self.program_id(ifindex))
    }

    /// Takes away what was left to [hold](super::XdpProgram::hold) frames more than `than` ago and that nobody came back for.
    pub fn remove_older(&self, than: Duration) {
        let Ok(entries) = fs::read_dir(&self.0) else {
            return;
        };
        for entry in entries.flatten() {
            let modified = entry.metadata().and_then(|data| data.modified());
            if modified.is_ok_and(|at| at.elapsed().is_ok_and(|age| age > than)) {
                match fs::remove_file(entry.path()) {
                    Ok(()) => log::info!("{}: an XDP program that was left is gone", entry.path().display()),
                    Err(error) => log::warn!("{} can't be removed: {error}", entry.path().display()),
                }
            }
        }
    }

    /// Has a link outlive the process.
    pub(super) fn pin(&self, link: BorrowedFd<'_>, ifindex: u32) -> Result<(), XdpError> {
        let make = || {
            self.make()?;
            let path = self.path(ifindex)?;
            remove(&path)?;
            sys::pin(link, &path)
        };
        make().map_err(|source| XdpError::Pin {
            directory: self.0.clone(),
            source,
        })
    }

    /// Takes the link of a device that an earlier process left, if there is one and it holds. It is not pinned any more then.
    pub(super) fn take(&self, ifindex: u32) -> Option<OwnedFd> {
        let path = self.path(ifindex).ok()?;
        let link = sys::pinned(&path).ok()?;
        if let Err(error) = remove(&path) {
            log::warn!("{} can't be removed: {error}", path.display());
        }
        let is_of_device = sys::link_info(link.as_fd()).is_ok_and(|link| link.ifindex == ifindex);
        is_of_device.then_some(link)
    }

    /// The program that an earlier process left on a device.
    fn program_id(&self, ifindex: u32) -> Option<u32> {
        let link = sys::pinned(&self.path(ifindex).ok()?).ok()?;
        let link = sys::link_info(link.as_fd()).ok()?;
        (link.ifindex == ifindex).then_some(link.program_id)
    }

    /// Devices have numbers of their own in each network namespace.
    fn path(&self, ifindex: u32) -> io::Result<PathBuf> {
        let namespace = fs::metadata("/proc/thread-self/ns/net")?.ino();
        Ok(self.0.join(format!("{namespace}-{ifindex}")))
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// systemd mounts it; where it does not run, somebody has to.
fn mount_file_system() -> io::Result<()> {
    if statfs(FILE_SYSTEM)?.filesystem_type() == FILE_SYSTEM_TYPE {
        return Ok(());
    }
    mount(
        Some("bpf"),
        FILE_SYSTEM,
        Some("bpf"),
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC,
        None::<&str>,
    )?;
    Ok(())
}
