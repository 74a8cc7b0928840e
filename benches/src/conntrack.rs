//! Room in the kernel's table of connections, which all namespaces share.

use std::fs;
use std::path::Path;

use crate::Result;
use crate::error::During;
use crate::process::{run, words};

/// How many connections there may be, and how many buckets they are in.
const SETTINGS: [(&str, u32); 2] = [
    ("/proc/sys/net/netfilter/nf_conntrack_max", 1),
    ("/proc/sys/net/netfilter/nf_conntrack_buckets", 4),
];

/// As long as it lives the kernel keeps millions of connections, and finds them as fast as few.
#[derive(Debug)]
pub struct ConntrackRoom {
    before: Vec<(&'static str, String)>,
}

impl ConntrackRoom {
    /// Makes room for `connections`, if there is less.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) if the kernel does not track connections, or this process is not root.
    pub fn new(connections: u32) -> Result<Self> {
        if !Path::new(SETTINGS[0].0).exists() {
            // If there is no such module either, reading the settings tells.
            let _ = run(&mut words("modprobe nf_conntrack"));
        }
        let mut room = Self { before: Vec::new() };
        for (setting, share) in SETTINGS {
            let before = fs::read_to_string(setting).during(format!("read {setting}"))?;
            let wanted = connections / share;
            if before.trim().parse::<u32>().is_ok_and(|there| there < wanted) {
                fs::write(setting, wanted.to_string()).during(format!("write {setting}"))?;
                room.before.push((setting, before));
            }
        }
        Ok(room)
    }
}

impl Drop for ConntrackRoom {
    fn drop(&mut self) {
        for (setting, before) in &self.before {
            // There is nothing to be done if it stays as it is.
            let _ = fs::write(setting, before);
        }
    }
}
