//! Who may change things over the control socket.

use std::fmt;
use std::os::unix::net::UnixStream;

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use nix::unistd::{Gid, Group, Uid, User, geteuid, getgrouplist};

/// Who may change things: root, the user that this process runs as, and the members of a group. Whoever can connect may look; that is
/// up to the socket's mode.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    group: Option<Known>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Known {
    name: String,
    id: u32,
}

/// There is no such group.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no group `{0}`; make it (`groupadd --system {0}`), or set another `group` in [control]")]
pub struct NoSuchGroup(pub String);

impl Access {
    /// For root, this process's user, and a group by its name or number, if one is given.
    ///
    /// # Errors
    /// If there is no group of that name.
    pub fn of(group: Option<&str>) -> Result<Self, NoSuchGroup> {
        let group = group.map(|name| {
            let id = match name.parse() {
                Ok(id) => Some(id),
                Err(_) => Group::from_name(name)
                    .ok()
                    .flatten()
                    .map(|group| group.gid.as_raw()),
            };
            let name = name.to_owned();
            id.map(|id| Known {
                name: name.clone(),
                id,
            })
            .ok_or(NoSuchGroup(name))
        });
        Ok(Self {
            group: group.transpose()?,
        })
    }

    /// The group, by its number.
    pub fn group(&self) -> Option<u32> {
        self.group.as_ref().map(|group| group.id)
    }

    /// Whether the process at the other end may change things. It is what it was when it connected.
    pub(super) fn allows(&self, stream: &UnixStream) -> bool {
        let Ok(peer) = getsockopt(stream, PeerCredentials) else {
            return false;
        };
        let (user, group) = (Uid::from_raw(peer.uid()), Gid::from_raw(peer.gid()));
        if user.is_root() || user == geteuid() {
            return true;
        }
        let Some(wanted) = self.group().map(Gid::from_raw) else {
            return false;
        };
        group == wanted || groups_of(user).contains(&wanted)
    }
}

/// The groups that a user is in.
fn groups_of(user: Uid) -> Vec<Gid> {
    let Ok(Some(user)) = User::from_uid(user) else {
        return Vec::new();
    };
    let name = std::ffi::CString::new(user.name);
    let groups = name.ok().and_then(|name| getgrouplist(&name, user.gid).ok());
    groups.unwrap_or_default()
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("root")?;
        let own = geteuid();
        if !own.is_root() {
            write!(f, ", user {own}")?;
        }
        match &self.group {
            Some(group) => write!(f, " and members of the group {}", group.name),
            None => f.write_str(" (`group` in [control] lets a group)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_found_by_name_and_by_number() {
        assert_eq!(Access::of(None), Ok(Access::default()));
        assert_eq!(Access::of(Some("root")).unwrap().group(), Some(0));
        assert_eq!(Access::of(Some("12345")).unwrap().group(), Some(12_345));
        let none = Access::of(Some("no-such-group-here")).unwrap_err();
        assert!(
            none.to_string().contains("groupadd --system no-such-group-here"),
            "{none}"
        );
    }

    #[test]
    fn this_process_may() {
        let (stream, _other) = UnixStream::pair().unwrap();
        assert!(Access::default().allows(&stream));
    }
}
