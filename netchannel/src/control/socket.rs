//! Taking the control socket's path: exactly one live process has it, a dead one's is replaced.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt, chown};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::access::NoSuchGroup;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::socket::{self, AddressFamily, Backlog, SockFlag, SockType, UnixAddr};

/// Why the control socket can not be served.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// A live process serves it.
    #[error(
        "another instance is serving {}; stop it first, or give this one a `socket` of its own in [control]",
        path.display()
    )]
    AlreadyServing {
        /// The socket.
        path: PathBuf,
    },
    /// Something else has the path, and is left alone.
    #[error("{} exists and is not a socket; remove it, or set another `socket` in [control]", path.display())]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// There is no such group.
    #[error(transparent)]
    Group(#[from] NoSuchGroup),
    /// The operating system refused.
    #[error("the control socket {} can not be served: {action}: {source}", path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// The reason.
        source: io::Error,
    },
}

/// How long to wait for another process that is starting or stopping at the same path.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);

/// A listening socket; its file is removed with it.
#[derive(Debug)]
pub(super) struct ControlSocket {
    pub(super) listener: UnixListener,
    path: PathBuf,
    /// Device and inode of the file, so that a file that took its place is left alone.
    identity: (u64, u64),
}

impl ControlSocket {
    /// Binds `path`: its directory is made (mode 0755), the file of a dead process is replaced, the mode is 0660, and the file is the group's if
    /// there is one.
    pub(super) fn bind(path: &Path, group: Option<u32>) -> Result<Self, ServerError> {
        let failed = |action, source: io::Error| ServerError::Io {
            path: path.to_owned(),
            action,
            source,
        };
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(directory)
            .map_err(|error| failed("making its directory", error))?;
        // Held until the socket listens: of two processes that start at once, the second sees the first.
        let _lock = lock(directory).map_err(|error| failed("locking its directory", error))?;
        clear(path)?;

        let listener = listen(path).map_err(|errno| failed("binding it", errno.into()))?;
        let prepare = || {
            if let Some(group) = group {
                chown(path, None, Some(group))?;
            }
            fs::set_permissions(path, Permissions::from_mode(0o660))?;
            listener.set_nonblocking(true)?;
            fs::symlink_metadata(path)
        };
        let metadata = prepare().map_err(|error| failed("preparing it", error))?;
        Ok(ControlSocket {
            listener,
            path: path.to_owned(),
            identity: (metadata.dev(), metadata.ino()),
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl std::ops::Drop for ControlSocket {
    /// Removes the file while the socket still listens: who starts now sees either it or no file.
    fn drop(&mut self) {
        let same = |metadata: &fs::Metadata| (metadata.dev(), metadata.ino()) == self.identity;
        if fs::symlink_metadata(&self.path).is_ok_and(|metadata| same(&metadata))
            && let Err(error) = fs::remove_file(&self.path)
        {
            log::warn!("the control socket {} stays behind: {error}", self.path.display());
        }
    }
}

fn lock(directory: &Path) -> io::Result<Flock<File>> {
    let start = Instant::now();
    let mut file = File::open(directory)?;
    loop {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err((back, Errno::EWOULDBLOCK | Errno::EINTR)) if start.elapsed() < LOCK_PATIENCE => {
                file = back;
                std::thread::sleep(Duration::from_millis(10));
            }
            Err((_, errno)) => return Err(errno.into()),
        }
    }
}

/// Removes the socket file of a dead process; anything else at the path is an error.
fn clear(path: &Path) -> Result<(), ServerError> {
    let failed = |action, source: io::Error| ServerError::Io {
        path: path.to_owned(),
        action,
        source,
    };
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("looking at it", error)),
    };
    if !metadata.file_type().is_socket() {
        return Err(ServerError::NotASocket {
            path: path.to_owned(),
        });
    }
    match try_connect(path) {
        // EAGAIN: it listens, and more clients wait than it takes at once.
        Ok(()) | Err(Errno::EAGAIN) => Err(ServerError::AlreadyServing {
            path: path.to_owned(),
        }),
        Err(Errno::ECONNREFUSED) => {
            log::info!(
                "replacing the control socket {} of a process that is gone",
                path.display()
            );
            fs::remove_file(path).map_err(|error| failed("removing a dead process's socket", error))
        }
        Err(Errno::ENOENT) => Ok(()),
        Err(errno) => Err(failed("asking who serves it", errno.into())),
    }
}

fn try_connect(path: &Path) -> nix::Result<()> {
    let socket = new_socket()?;
    socket::connect(socket.as_raw_fd(), &UnixAddr::new(path)?)
}

fn listen(path: &Path) -> nix::Result<UnixListener> {
    let socket = new_socket()?;
    socket::bind(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    socket::listen(&socket, Backlog::new(64)?)?;
    Ok(UnixListener::from(socket))
}

fn new_socket() -> nix::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    socket::socket(AddressFamily::Unix, SockType::Stream, flags, None)
}
