//! Network namespaces.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::{panic, thread};

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::kill;
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::Result;
use crate::error::During;
use crate::process::{Process, run, words};
use crate::sys::{self, Lifetime};

/// Where `ip netns` keeps its names.
const NAMES: &str = "/run/netns";

/// What the names of everything made by a run start with; its process identifier follows.
const PREFIX: &str = "nc-";

/// A named network namespace with its loopback interface up. Dropping it removes the name; the namespace
/// itself goes with the last process and socket in it.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    handle: File,
    keep: bool,
}

impl Namespace {
    /// Makes a namespace with a name of its own: `nc-<pid>-<counter>-<label>`.
    ///
    /// # Errors
    /// What `ip` says; it needs root.
    pub fn new(label: &str) -> Result<Self> {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let counter = COUNTER.fetch_add(1, Ordering::Relaxed);
        Self::named(&format!("{PREFIX}{}-{counter}-{label}", std::process::id()))
    }

    /// Makes a namespace with a given name, for one that is to stay after the run.
    ///
    /// # Errors
    /// What `ip` says; among others, that the name is taken.
    pub fn named(name: &str) -> Result<Self> {
        run(&mut words(&format!("ip netns add {name}")))?;
        let handle = match File::open(Path::new(NAMES).join(name)) {
            Ok(handle) => handle,
            Err(error) => {
                let _ = remove(name);
                return Err(error).during(format!("open network namespace {name}"));
            }
        };
        let namespace = Self {
            name: name.to_owned(),
            handle,
            keep: false,
        };
        namespace.ip("link set lo up")?;
        Ok(namespace)
    }

    /// The name, as `ip netns exec` takes it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Lets the namespace stay when this value is dropped.
    pub fn keep(&mut self) {
        self.keep = true;
    }

    /// Runs `ip` with the words of `arguments` for this namespace and gives its output.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn ip(&self, arguments: &str) -> Result<String> {
        run(&mut words(&format!("ip -n {} {arguments}", self.name)))
    }

    /// Runs a program in the namespace to its end and gives its output. Words are separated by blanks.
    ///
    /// # Errors
    /// What the program says.
    pub fn command(&self, line: &str) -> Result<String> {
        let mut command = words(line);
        sys::start_in(&mut command, self.handle.as_fd(), Lifetime::Free);
        run(&mut command)
    }

    /// Sets a network parameter, such as `ipv4/ip_forward`.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) if the kernel has no such parameter or refuses the value.
    pub fn set_parameter(&self, name: &str, value: &str) -> Result<()> {
        self.run(|| fs::write(Path::new("/proc/sys/net").join(name), value).during(format!("set {name}")))
    }

    /// Sets an attribute of an interface, such as `queues/rx-0/rps_cpus`.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn set_device_attribute(&self, interface: &str, attribute: &str, value: &str) -> Result<()> {
        let mut command = Command::new("sh");
        let path = format!("/sys/class/net/{interface}/{attribute}");
        command.args(["-c", r#"echo "$1" > "$2""#, "sh", value, &path]);
        sys::start_in(&mut command, self.handle.as_fd(), Lifetime::Free);
        run(&mut command).map(drop)
    }

    /// The MAC address of an interface, such as `02:00:00:00:00:01`.
    ///
    /// # Errors
    /// [`Error::Command`](crate::Error::Command) if there is no such interface.
    pub fn hardware_address(&self, interface: &str) -> Result<String> {
        let address = self.command(&format!("cat /sys/class/net/{interface}/address"))?;
        Ok(address.trim().to_owned())
    }

    /// The MTU of an interface, in bytes.
    ///
    /// # Errors
    /// [`Error::Command`](crate::Error::Command) if there is no such interface.
    pub fn mtu(&self, interface: &str) -> Result<u32> {
        let mtu = self.command(&format!("cat /sys/class/net/{interface}/mtu"))?;
        mtu.trim().parse().map_err(io::Error::other).during("read an MTU")
    }

    /// Runs `work` in a thread inside the namespace and gives what it returns. Sockets made there and
    /// threads started there stay in the namespace. A panic in `work` goes on in the caller.
    ///
    /// # Errors
    /// The error of `work`, or [`Error::Io`](crate::Error::Io) if the namespace can't be entered.
    pub fn run<R: Send>(&self, work: impl FnOnce() -> Result<R> + Send) -> Result<R> {
        let inside = || {
            setns(&self.handle, CloneFlags::CLONE_NEWNET)
                .during(format!("enter network namespace {}", self.name))?;
            work()
        };
        match thread::scope(|scope| scope.spawn(inside).join()) {
            Ok(result) => result,
            Err(panic) => panic::resume_unwind(panic),
        }
    }

    /// Starts a process in the namespace, with a `/sys` that shows it. The process is killed when the value
    /// is dropped or this process dies, and does not see its Ctrl-C.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) if it can't be started.
    pub fn spawn(&self, command: Command) -> Result<Process> {
        self.start(command, Lifetime::Bound)
    }

    /// As [`Namespace::spawn`], for a process that may be [detached](Process::detach).
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) if it can't be started.
    pub fn spawn_free(&self, command: Command) -> Result<Process> {
        self.start(command, Lifetime::Free)
    }

    fn start(&self, mut command: Command, lifetime: Lifetime) -> Result<Process> {
        command.process_group(0);
        sys::start_in(&mut command, self.handle.as_fd(), lifetime);
        Process::start(command)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if !self.keep
            && let Err(error) = remove(&self.name)
        {
            eprintln!("network namespace {} stays: {error}", self.name);
        }
    }
}

fn remove(name: &str) -> Result<()> {
    run(&mut words(&format!("ip netns del {name}"))).map(drop)
}

/// Makes a directory for files of this run, removed when the value is dropped.
///
/// # Errors
/// [`Error::Io`](crate::Error::Io) if it can't be made.
pub fn scratch_directory() -> Result<TempDir> {
    tempfile::Builder::new()
        .prefix(&format!("{PREFIX}{}-", std::process::id()))
        .tempdir()
        .during("make a scratch directory")
}

/// Removes namespaces and scratch directories of runs that were killed, and gives their names. Those of runs
/// that still live stay.
///
/// # Errors
/// What `ip` says; a leftover that can't be removed does not keep the others.
pub fn sweep() -> Result<Vec<String>> {
    let mut removed = Vec::new();
    let mut result = Ok(());
    for name in leftovers(Path::new(NAMES)) {
        let name = name
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        match remove(&name) {
            Ok(()) => removed.push(name),
            // Another run may sweep at the same time.
            Err(_) if !Path::new(NAMES).join(&name).exists() => {}
            Err(error) => result = Err(error),
        }
    }
    for path in leftovers(&std::env::temp_dir()) {
        match fs::remove_dir_all(&path).during(format!("remove {}", path.display())) {
            Ok(()) => removed.push(path.display().to_string()),
            Err(_) if !path.exists() => {}
            Err(error) => result = Err(error),
        }
    }
    result.map(|()| removed)
}

/// The entries of a directory that belong to runs that have ended.
fn leftovers(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .filter(|entry| has_ended(&entry.file_name().to_string_lossy()))
        .map(|entry| entry.path())
        .collect()
}

/// Whether a name is one of ours and the process in it has ended.
fn has_ended(name: &str) -> bool {
    let pid = name
        .strip_prefix(PREFIX)
        .and_then(|rest| rest.split('-').next()?.parse().ok());
    pid.is_some_and(|pid| pid > 0 && kill(Pid::from_raw(pid), None) == Err(Errno::ESRCH))
}

#[cfg(test)]
mod tests {
    use super::has_ended;

    #[test]
    fn leftovers_are_told_by_their_name() {
        assert!(
            has_ended("nc-4194305-0-inside"),
            "beyond the highest process identifier there is"
        );
        assert!(!has_ended(&format!("nc-{}-0-inside", std::process::id())));
        for name in [
            "nc-",
            "nc--1-x",
            "nc-0-0-x",
            "nc-x-0-inside",
            "netchannel-inside",
            "other",
        ] {
            assert!(!has_ended(name), "{name}");
        }
    }
}
