//! What forwards in the box: the daemon, or a peer in its place.

use std::fmt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::bpf::{Redirect, Side};
use crate::daemon::{Daemon, Launch};
use crate::measure::hardware_address;
use crate::namespace::scratch_directory;
use crate::service::{Service, pinned};
use crate::topology::{BOX_OUTSIDE, INSIDE_NETWORK, Lab};
use crate::{Error, Result};

/// The table of the kernel's rules.
const TABLE: &str = "ip netchannel_lab";

/// Something that forwards between the box's interfaces.
#[derive(Debug, Clone)]
pub enum Subject {
    /// The `netchannel` daemon.
    Netchannel(Launch),
    /// A forwarder on the same AF_XDP ports that only replaces MAC addresses: what there is to reach. The
    /// server learns a route to the inside network.
    Bare {
        /// The `bare_forwarder` program.
        binary: PathBuf,
        /// A processor to pin it to.
        processor: Option<usize>,
    },
    /// An XDP program that only replaces MAC addresses and redirects: the bound for what runs in XDP. The server learns a
    /// route to the inside network.
    Redirect,
    /// The kernel's own translation: an nftables masquerade rule.
    Nftables,
    /// The same with a software flowtable, which known flows take instead of the kernel's forwarding.
    Flowtable,
    /// The kernel's forwarding without translation. The server learns a route to the inside network.
    Forwarding,
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Netchannel(_) => "netchannel",
            Self::Bare { .. } => "bare AF_XDP forwarder",
            Self::Redirect => "bare XDP redirect",
            Self::Nftables => "nftables masquerade",
            Self::Flowtable => "nftables with flowtable",
            Self::Forwarding => "kernel forwarding",
        })
    }
}

impl Subject {
    /// Whether the kernel does the work, not a process.
    pub fn is_kernel(&self) -> bool {
        matches!(self, Self::Nftables | Self::Flowtable | Self::Forwarding)
    }

    /// Whether it keeps sessions.
    pub fn translates(&self) -> bool {
        matches!(self, Self::Netchannel(_) | Self::Nftables | Self::Flowtable)
    }

    /// The same with room for millions of sessions.
    pub fn with_many_sessions(self) -> Self {
        match self {
            Self::Netchannel(launch) => Self::Netchannel(launch.with_many_sessions()),
            other => other,
        }
    }

    /// Starts it in the box of `lab`.
    ///
    /// # Errors
    /// What the daemon, `nft` or `ip` say; [`Error::Unsupported`] if this kernel can't do what the subject needs.
    pub fn start<'lab>(&self, lab: &'lab Lab) -> Result<Running<'lab>> {
        let mut running = Running {
            lab,
            daemon: None,
            bare: None,
            redirect: None,
            rules: false,
            route: false,
        };
        match self {
            Self::Netchannel(launch) => running.daemon = Some(Daemon::start(&lab.middle, launch)?),
            Self::Bare { binary, processor } => {
                running.learn_route()?;
                running.bare = Some(start_bare(lab, binary, *processor)?);
            }
            Self::Redirect => {
                running.learn_route()?;
                running.redirect = Some(attach_redirect(lab)?);
            }
            Self::Nftables => running.masquerade()?,
            Self::Flowtable => {
                running.masquerade()?;
                running.add_flowtable()?;
            }
            Self::Forwarding => {
                running.learn_route()?;
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
    bare: Option<Bare>,
    redirect: Option<Redirect>,
    rules: bool,
    route: bool,
}

/// A running bare forwarder and the directory of its log, in the order in which they go.
#[derive(Debug)]
struct Bare {
    _service: Service,
    _directory: TempDir,
}

fn start_bare(lab: &Lab, binary: &Path, processor: Option<usize>) -> Result<Bare> {
    let mut command = pinned(binary, processor);
    command.args([
        "--inside",
        &lab.inside.hardware_address("eth0")?,
        &lab.middle.hardware_address("lan")?,
    ]);
    command.args([
        "--outside",
        &lab.server.hardware_address("eth0")?,
        &lab.middle.hardware_address("wan")?,
    ]);
    command.args(["--mtu", &lab.middle.mtu("lan")?.to_string()]);
    let directory = scratch_directory()?;
    let mut service = Service::start(&lab.middle, command, directory.path())?;
    service.wait_until_ready(|| Ok(true))?;
    Ok(Bare {
        _service: service,
        _directory: directory,
    })
}

fn attach_redirect(lab: &Lab) -> Result<Redirect> {
    let address = hardware_address;
    Redirect::attach(
        &lab.middle,
        [
            Side {
                interface: "lan",
                addresses: [address(&lab.inside, "eth0")?, address(&lab.middle, "lan")?],
            },
            Side {
                interface: "wan",
                addresses: [address(&lab.server, "eth0")?, address(&lab.middle, "wan")?],
            },
        ],
    )
}

impl Running<'_> {
    fn masquerade(&mut self) -> Result<()> {
        let middle = &self.lab.middle;
        middle.command(&format!("nft add table {TABLE}"))?;
        self.rules = true;
        middle.command(&format!(
            "nft add chain {TABLE} out {{ type nat hook postrouting priority srcnat ; }}"
        ))?;
        middle.command(&format!(
            "nft add rule {TABLE} out oifname wan ip saddr {INSIDE_NETWORK} masquerade"
        ))?;
        middle.set_parameter("ipv4/ip_forward", "1")
    }

    fn add_flowtable(&self) -> Result<()> {
        let middle = &self.lab.middle;
        let added = middle.command(&format!(
            "nft add flowtable {TABLE} ft {{ hook ingress priority 0 ; devices = {{ lan, wan }} ; }}"
        ));
        added.map_err(|error| match error {
            // All that it names is there, but for flow tables themselves.
            Error::Command { stderr, .. } if stderr.contains("No such file or directory") => {
                Error::Unsupported("the kernel has no flow tables (CONFIG_NF_FLOW_TABLE)".to_owned())
            }
            other => other,
        })?;
        middle.command(&format!(
            "nft add chain {TABLE} forward {{ type filter hook forward priority filter ; }}"
        ))?;
        middle
            .command(&format!(
                "nft add rule {TABLE} forward meta l4proto {{ tcp, udp }} flow add @ft"
            ))
            .map(drop)
    }

    fn learn_route(&mut self) -> Result<()> {
        self.lab
            .server
            .ip(&format!("route add {INSIDE_NETWORK} via {BOX_OUTSIDE}"))?;
        self.route = true;
        Ok(())
    }

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
