//! What forwards in the box: the daemon, or the kernel in its place.

use std::fmt;

use crate::Result;
use crate::daemon::{Daemon, Launch};
use crate::topology::{BOX_OUTSIDE, INSIDE_NETWORK, Lab};

/// The table of the kernel's rules.
const TABLE: &str = "ip netchannel_lab";

/// Something that forwards between the box's interfaces.
#[derive(Debug, Clone)]
pub enum Subject {
    /// The `netchannel` daemon.
    Netchannel(Launch),
    /// The kernel's own translation: an nftables masquerade rule.
    Nftables,
    /// The kernel's forwarding without translation. The server learns a route to the inside network.
    Forwarding,
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Netchannel(_) => "netchannel",
            Self::Nftables => "nftables masquerade",
            Self::Forwarding => "kernel forwarding",
        })
    }
}

impl Subject {
    /// Whether the kernel does the work, not a process.
    pub fn is_kernel(&self) -> bool {
        matches!(self, Self::Nftables | Self::Forwarding)
    }

    /// Starts it in the box of `lab`.
    ///
    /// # Errors
    /// What the daemon, `nft` or `ip` say.
    pub fn start<'lab>(&self, lab: &'lab Lab) -> Result<Running<'lab>> {
        let mut running = Running {
            lab,
            daemon: None,
            rules: false,
            route: false,
        };
        match self {
            Self::Netchannel(launch) => running.daemon = Some(Daemon::start(&lab.middle, launch)?),
            Self::Nftables => {
                lab.middle.command(&format!("nft add table {TABLE}"))?;
                running.rules = true;
                lab.middle.command(&format!(
                    "nft add chain {TABLE} out {{ type nat hook postrouting priority srcnat ; }}"
                ))?;
                lab.middle.command(&format!(
                    "nft add rule {TABLE} out oifname wan ip saddr {INSIDE_NETWORK} masquerade"
                ))?;
                lab.middle.set_parameter("ipv4/ip_forward", "1")?;
            }
            Self::Forwarding => {
                lab.server
                    .ip(&format!("route add {INSIDE_NETWORK} via {BOX_OUTSIDE}"))?;
                running.route = true;
                lab.middle.set_parameter("ipv4/ip_forward", "1")?;
            }
        }
        Ok(running)
    }
}

/// A subject at work. Dropping it leaves the laboratory as it was before.
#[derive(Debug)]
pub struct Running<'lab> {
    lab: &'lab Lab,
    daemon: Option<Daemon>,
    rules: bool,
    route: bool,
}

impl Running<'_> {
    /// The daemon, if it is one.
    pub fn daemon(&self) -> Option<&Daemon> {
        self.daemon.as_ref()
    }

    /// Lets it run on after this process, and gives the process identifier of the daemon, if it is one.
    pub fn keep(mut self) -> Option<u32> {
        (self.rules, self.route) = (false, false);
        self.daemon.take().map(Daemon::keep)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        // What can't be undone goes with the namespaces.
        if self.rules {
            let _ = self.lab.middle.command(&format!("nft delete table {TABLE}"));
        }
        if self.route {
            let _ = self.lab.server.ip(&format!("route del {INSIDE_NETWORK}"));
        }
        if self.rules || self.route {
            let _ = self.lab.middle.set_parameter("ipv4/ip_forward", "0");
        }
    }
}
