//! Room in the kernel's table of connections, which all namespaces share.

use std::fs;

use crate::Result;
use crate::error::During;

const MOST: &str = "/proc/sys/net/netfilter/nf_conntrack_max";

/// As long as it lives the kernel keeps millions of connections.
#[derive(Debug)]
pub struct ConntrackRoom {
    before: String,
}

impl ConntrackRoom {
    /// Makes room for `connections`, if there is less.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) if the kernel does not track connections, or this process is not root.
    pub fn new(connections: u32) -> Result<Self> {
        let before = fs::read_to_string(MOST).during(format!("read {MOST}"))?;
        if before.trim().parse::<u32>().is_ok_and(|most| most < connections) {
            fs::write(MOST, connections.to_string()).during(format!("write {MOST}"))?;
        }
        Ok(Self { before })
    }
}

impl Drop for ConntrackRoom {
    fn drop(&mut self) {
        // There is nothing to be done if it stays as it is.
        let _ = fs::write(MOST, &self.before);
    }
}
