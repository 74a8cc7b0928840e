//! The standard laboratory: an inside host, a box, and an outside server that knows only the box's address.
//!
//! ```text
//!  inside                 box                       server               far (optional)
//!  eth0 10.77.0.2 ──── lan 10.77.0.1
//!                      wan 198.51.100.1 ──── eth0 198.51.100.2
//!                                            eth1 203.0.113.1 ──── eth0 203.0.113.2
//! ```
//!
//! The server has no route to the inside network: only what was translated comes back.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::Result;
use crate::namespace::Namespace;

/// The inside host.
pub const INSIDE: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
/// The box, seen from inside.
pub const BOX_INSIDE: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// The inside network.
pub const INSIDE_NETWORK: &str = "10.77.0.0/24";
/// The box, seen from outside: the address that everything from inside is translated to.
pub const BOX_OUTSIDE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
/// The outside server.
pub const SERVER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);
/// The far host, behind the server.
pub const FAR: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 2);

/// The inside host, IPv6.
pub const INSIDE_V6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 2);
/// The box seen from inside, IPv6.
pub const BOX_INSIDE_V6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 1);
/// The box seen from outside, IPv6.
pub const BOX_OUTSIDE_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x51, 0, 0, 0, 0, 1);
/// The outside server, IPv6.
pub const SERVER_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x51, 0, 0, 0, 0, 2);

/// What the end hosts' network interfaces do with what they send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offloads {
    /// Whole checksums and packets of at most the MTU, as from a wire.
    Off,
    /// As the kernel sets up a veth pair: partial checksums and segments of up to 64 KiB.
    Default,
}

/// How to build the laboratory.
#[derive(Debug, Clone)]
pub struct Options {
    /// Prefix of the namespaces' names if they have to be known, as `<prefix>-inside`; a name of this run's
    /// own if not.
    pub names: Option<String>,
    /// MTU of the inside and the outside link, in bytes.
    pub mtu: u32,
    /// Transmit and receive queues of each interface.
    pub queues: u32,
    /// The end hosts' offloads.
    pub offloads: Offloads,
    /// Whether the links have IPv6 addresses too.
    pub ipv6: bool,
    /// MTU of the link to a far host behind the server, if there is to be one.
    pub far_mtu: Option<u32>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            names: None,
            mtu: 1500,
            queues: 1,
            offloads: Offloads::Off,
            ipv6: false,
            far_mtu: None,
        }
    }
}

/// The laboratory. Dropping it removes everything in it.
#[derive(Debug)]
pub struct Lab {
    /// The host behind the translation.
    pub inside: Namespace,
    /// The box in the middle, with the interfaces `lan` and `wan`.
    pub middle: Namespace,
    /// The host outside.
    pub server: Namespace,
    /// The host behind the server, two hops from the box.
    pub far: Option<Namespace>,
}

impl Lab {
    /// Builds the laboratory.
    ///
    /// # Errors
    /// What `ip` or `ethtool` say; they need root.
    pub fn new(options: &Options) -> Result<Self> {
        let namespace = |label: &str| match &options.names {
            Some(prefix) => Namespace::named(&format!("{prefix}-{label}")),
            None => Namespace::new(label),
        };
        let lab = Self {
            inside: namespace("inside")?,
            middle: namespace("box")?,
            server: namespace("server")?,
            far: options.far_mtu.map(|_| namespace("far")).transpose()?,
        };
        for namespace in lab.namespaces() {
            namespace.set_parameter("ipv4/ip_forward", "0")?;
            // Tests provoke many ICMP errors at once, and none may be held back: neither by the limit for each
            // peer nor by the one for the whole host, a bucket of about 50, which `icmp_ratelimit` leaves on.
            namespace.set_parameter("ipv4/icmp_ratemask", "0")?;
            if !options.ipv6 {
                namespace.set_parameter("ipv6/conf/all/disable_ipv6", "1")?;
                namespace.set_parameter("ipv6/conf/default/disable_ipv6", "1")?;
            }
        }
        connect(
            (&lab.inside, "eth0"),
            (&lab.middle, "lan"),
            options.mtu,
            options.queues,
        )?;
        connect(
            (&lab.middle, "wan"),
            (&lab.server, "eth0"),
            options.mtu,
            options.queues,
        )?;
        if options.offloads == Offloads::Off {
            offloads_off(&lab.inside, "eth0")?;
            offloads_off(&lab.server, "eth0")?;
        }
        lab.address(options.ipv6)?;
        if let (Some(far), Some(mtu)) = (&lab.far, options.far_mtu) {
            lab.address_far(far, mtu, options.offloads)?;
        }
        Ok(lab)
    }

    /// All namespaces, from inside to outside.
    pub fn namespaces(&self) -> impl Iterator<Item = &Namespace> {
        [&self.inside, &self.middle, &self.server]
            .into_iter()
            .chain(&self.far)
    }

    /// Lets the namespaces stay when this value is dropped.
    pub fn keep(&mut self) {
        for namespace in [&mut self.inside, &mut self.middle, &mut self.server]
            .into_iter()
            .chain(&mut self.far)
        {
            namespace.keep();
        }
    }

    /// Gives the inside host a further address of the inside network, so that one namespace can stand for
    /// several hosts: bind a socket to it.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn add_inside_address(&self, address: Ipv4Addr) -> Result<()> {
        self.inside
            .ip(&format!("addr add {address}/24 dev eth0"))
            .map(drop)
    }

    /// Makes the inside link again after it was removed, with an MTU of 1500 bytes, so many queues and its IPv4 addresses.
    ///
    /// # Errors
    /// What `ip` or `ethtool` say.
    pub fn restore_inside(&self, queues: u32) -> Result<()> {
        connect((&self.inside, "eth0"), (&self.middle, "lan"), 1500, queues)?;
        offloads_off(&self.inside, "eth0")?;
        self.inside.ip(&format!("addr add {INSIDE}/24 dev eth0"))?;
        self.middle.ip(&format!("addr add {BOX_INSIDE}/24 dev lan"))?;
        self.inside
            .ip(&format!("route add default via {BOX_INSIDE}"))
            .map(drop)
    }

    /// The same for the outside link, where the box has another address this time.
    ///
    /// # Errors
    /// What `ip` or `ethtool` say.
    pub fn restore_outside(&self, address: Ipv4Addr) -> Result<()> {
        connect((&self.middle, "wan"), (&self.server, "eth0"), 1500, 1)?;
        offloads_off(&self.server, "eth0")?;
        self.server.ip(&format!("addr add {SERVER}/24 dev eth0"))?;
        self.middle.ip(&format!("addr add {address}/24 dev wan"))?;
        self.middle
            .ip(&format!("route add default via {SERVER}"))
            .map(drop)
    }

    fn address(&self, ipv6: bool) -> Result<()> {
        self.inside.ip(&format!("addr add {INSIDE}/24 dev eth0"))?;
        self.middle.ip(&format!("addr add {BOX_INSIDE}/24 dev lan"))?;
        self.middle.ip(&format!("addr add {BOX_OUTSIDE}/24 dev wan"))?;
        self.server.ip(&format!("addr add {SERVER}/24 dev eth0"))?;
        self.inside.ip(&format!("route add default via {BOX_INSIDE}"))?;
        self.middle.ip(&format!("route add default via {SERVER}"))?;
        if ipv6 {
            // Without duplicate address detection, so that the addresses can be used at once.
            self.inside
                .ip(&format!("addr add {INSIDE_V6}/64 dev eth0 nodad"))?;
            self.middle
                .ip(&format!("addr add {BOX_INSIDE_V6}/64 dev lan nodad"))?;
            self.middle
                .ip(&format!("addr add {BOX_OUTSIDE_V6}/64 dev wan nodad"))?;
            self.server
                .ip(&format!("addr add {SERVER_V6}/64 dev eth0 nodad"))?;
            self.inside
                .ip(&format!("-6 route add default via {BOX_INSIDE_V6}"))?;
            self.middle.ip(&format!("-6 route add default via {SERVER_V6}"))?;
        }
        Ok(())
    }

    fn address_far(&self, far: &Namespace, mtu: u32, offloads: Offloads) -> Result<()> {
        connect((&self.server, "eth1"), (far, "eth0"), mtu, 1)?;
        if offloads == Offloads::Off {
            offloads_off(far, "eth0")?;
        }
        self.server.set_parameter("ipv4/ip_forward", "1")?;
        self.server.ip("addr add 203.0.113.1/24 dev eth1")?;
        far.ip(&format!("addr add {FAR}/24 dev eth0"))?;
        far.ip("route add 198.51.100.0/24 via 203.0.113.1").map(drop)
    }
}

/// Joins two namespaces by a veth pair and brings both ends up.
fn connect(a: (&Namespace, &str), b: (&Namespace, &str), mtu: u32, queues: u32) -> Result<()> {
    let ((a, a_name), (b, b_name)) = (a, b);
    a.ip(&format!(
        "link add {a_name} mtu {mtu} numtxqueues {queues} numrxqueues {queues} type veth \
         peer name {b_name} netns {} mtu {mtu} numtxqueues {queues} numrxqueues {queues}",
        b.name()
    ))?;
    a.ip(&format!("link set {a_name} up"))?;
    b.ip(&format!("link set {b_name} up"))?;
    Ok(())
}

/// Makes an interface send as a wire would carry it.
fn offloads_off(namespace: &Namespace, interface: &str) -> Result<()> {
    namespace
        .command(&format!(
            "ethtool -K {interface} tx off tso off gso off tx-vlan-hw-insert off"
        ))
        .map(drop)
}
