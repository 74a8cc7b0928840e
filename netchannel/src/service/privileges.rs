//! Becoming another user than root, with no more rights than the work takes.

use std::ffi::CString;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, chown};
use std::path::{Path, PathBuf};

use caps::{CapSet, Capability, CapsHashSet};
use nix::sys::prctl::set_no_new_privs;
use nix::unistd::{Gid, Uid, User, geteuid, getgrouplist, setgroups, setresgid, setresuid};

use crate::config::{ChannelKind, Config, LogFile};
use crate::control::{Access, NoSuchGroup};
use crate::xdp::Pins;

/// The capabilities that a daemon needs: for routes, neighbours, offloads and attaching (`NET_ADMIN`), AF_XDP sockets (`NET_RAW`), programs and
/// maps (`BPF`, `PERFMON`), and packet memory beyond the memlock limit (`IPC_LOCK`).
pub const NEEDED: [Capability; 5] = [
    Capability::CAP_NET_ADMIN,
    Capability::CAP_NET_RAW,
    Capability::CAP_BPF,
    Capability::CAP_PERFMON,
    Capability::CAP_IPC_LOCK,
];

/// Why the process did not become another user. It is of no use then: some of its rights may be gone.
#[derive(Debug, thiserror::Error)]
pub enum PrivilegeError {
    /// There is no such user.
    #[error(
        "there is no user `{0}`; make it (`useradd --system --user-group --no-create-home {0}`), or set another `user` in [service]"
    )]
    NoSuchUser(String),
    /// There is no such group.
    #[error(transparent)]
    NoSuchGroup(#[from] NoSuchGroup),
    /// Only root can become somebody else.
    #[error(
        "it was started as user {started}, who can't become `{user}`; start it as root or as `{user}`, or take `user` out of [service]"
    )]
    NotRoot {
        /// Who started it.
        started: Uid,
        /// Who is wanted.
        user: String,
    },
    /// A directory or file can't be made for the user.
    #[error("{} can't be made ready for user `{user}`: {source}", path.display())]
    Path {
        /// Which one.
        path: PathBuf,
        /// For whom.
        user: String,
        /// Why not.
        source: io::Error,
    },
    /// The system refused.
    #[error("it can't become user `{user}`: {what}: {reason}")]
    Refused {
        /// Who is wanted.
        user: String,
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        reason: String,
    },
}

/// Who it becomes.
struct Account {
    name: String,
    user: Uid,
    group: Gid,
    groups: Vec<Gid>,
}

impl Account {
    fn find(name: &str) -> Result<Self, PrivilegeError> {
        let number: Option<u32> = name.parse().ok();
        let known = match number {
            Some(number) => User::from_uid(Uid::from_raw(number)),
            None => User::from_name(name),
        };
        match (known.ok().flatten(), number) {
            (Some(user), _) => Ok(Self {
                groups: CString::new(user.name)
                    .ok()
                    .and_then(|known| getgrouplist(&known, user.gid).ok())
                    .unwrap_or_default(),
                name: name.to_owned(),
                user: user.uid,
                group: user.gid,
            }),
            // A number needs no name.
            (None, Some(number)) => Ok(Self {
                name: name.to_owned(),
                user: Uid::from_raw(number),
                group: Gid::from_raw(number),
                groups: Vec::new(),
            }),
            (None, None) => Err(PrivilegeError::NoSuchUser(name.to_owned())),
        }
    }

    fn refused(&self, what: &'static str) -> impl Fn(String) -> PrivilegeError + '_ {
        move |reason| PrivilegeError::Refused {
            user: self.name.clone(),
            what,
            reason,
        }
    }

    /// Makes what the daemon writes to the user's own.
    fn prepare(&self, config: &Config) -> Result<(), PrivilegeError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| PrivilegeError::Path {
                path,
                user: self.name.clone(),
                source,
            }
        };
        if let Some(directory) = config.control.socket.parent().filter(|it| !it.exists()) {
            self.own_directory(directory, 0o755).map_err(failed(directory))?;
        }
        if let Some(directory) = &config.state.directory {
            // Of this daemon alone, with what it left there as another user.
            self.own_directory(directory, 0o700).map_err(failed(directory))?;
            let files = fs::read_dir(directory).map_err(failed(directory))?;
            for file in files.flatten() {
                self.own(&file.path()).map_err(failed(&file.path()))?;
            }
            let pins = Pins::new(&config.state.pins);
            if let Err(error) = pins.make().and_then(|()| self.own(&config.state.pins)) {
                log::warn!(
                    "{} can't be made ready for user `{}`, so the kernel gets the translators' packets after the end: {error}",
                    config.state.pins.display(),
                    self.name
                );
            }
        }
        for file in log_files(config) {
            let mut options = OpenOptions::new();
            let made = options.append(true).create(true).mode(0o640).open(file);
            made.and_then(|_| self.own(file)).map_err(failed(file))?;
        }
        Ok(())
    }

    fn own(&self, path: &Path) -> io::Result<()> {
        chown(path, Some(self.user.as_raw()), Some(self.group.as_raw()))
    }

    fn own_directory(&self, path: &Path, mode: u32) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(mode).create(path)?;
        self.own(path)
    }

    /// Becomes the user. The threads of the process that there are already keep their capabilities.
    fn become_it(&self, access: &Access) -> Result<(), PrivilegeError> {
        let needed: CapsHashSet = NEEDED.into_iter().collect();
        let caps = |what| {
            let refused = self.refused(what);
            move |error: caps::errors::CapsError| refused(error.to_string())
        };
        let system = |what| {
            let refused = self.refused(what);
            move |error: nix::errno::Errno| refused(error.to_string())
        };
        // No program that it might run, and nothing that it does later, can have more.
        for capability in caps::runtime::thread_all_supported().difference(&needed) {
            caps::drop(None, CapSet::Bounding, *capability).map_err(caps("the bounding set"))?;
        }
        caps::securebits::set_keepcaps(true).map_err(caps("keeping capabilities"))?;
        let mut groups = self.groups.clone();
        groups.extend(access.group().map(Gid::from_raw));
        setgroups(&groups).map_err(system("setgroups"))?;
        setresgid(self.group, self.group, self.group).map_err(system("setresgid"))?;
        setresuid(self.user, self.user, self.user).map_err(system("setresuid"))?;
        caps::set(None, CapSet::Effective, &needed).map_err(caps("the effective set"))?;
        caps::set(None, CapSet::Permitted, &needed).map_err(caps("the permitted set"))?;
        caps::clear(None, CapSet::Inheritable).map_err(caps("the inheritable set"))?;
        set_no_new_privs().map_err(system("no_new_privs"))
    }
}

fn log_files(config: &Config) -> impl Iterator<Item = &Path> {
    let logs = config.channels.iter().filter_map(|channel| match &channel.kind {
        ChannelKind::Nat(nat) => nat.log.as_ref(),
        _ => None,
    });
    logs.filter_map(|log| match &log.file {
        Some(LogFile::Path(path)) => Some(path.as_path()),
        _ => None,
    })
}

/// Becomes the user of `[service]`, if the configuration has one, with the [capabilities](NEEDED) that the daemon needs and no way to get more. What the
/// daemon writes to is made and given to the user before. To be called before the process has other threads.
///
/// # Errors
/// If there is no such user, the process is not root's, or the system refuses.
pub fn drop_privileges(config: &Config) -> Result<(), PrivilegeError> {
    let Some(name) = &config.service.user else {
        return Ok(());
    };
    let account = Account::find(name)?;
    if geteuid() == account.user {
        return Ok(());
    }
    if !geteuid().is_root() {
        return Err(PrivilegeError::NotRoot {
            started: geteuid(),
            user: name.clone(),
        });
    }
    let access = Access::of(config.control.group.as_deref())?;
    account.prepare(config)?;
    account.become_it(&access)?;
    log::info!("running as user {name}, with the capabilities NET_ADMIN, NET_RAW, BPF, PERFMON and IPC_LOCK");
    Ok(())
}
