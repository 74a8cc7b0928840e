//! One network device: what its driver says, what sysfs says, who else is on it.

use crate::doctor::cpu_set::CpuSet;
use crate::doctor::root::Root;
use crate::network::ethtool::{CardRings, Ethtool, Offload, QueueLimits, Queues};
use crate::network::xdp_features::xdp_features;
use crate::network::{Link, Links};
use crate::xdp::XdpProgram;

/// A network device. What its driver does not tell is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Device {
    /// Its name.
    pub name: String,
    /// What the kernel says of the link; `None` if there is no such device.
    pub link: Option<LinkState>,
    /// Its driver.
    pub driver: Option<String>,
    /// Its queues.
    pub queues: Option<Queues>,
    /// How many it could have.
    pub limits: Option<QueueLimits>,
    /// The card's rings.
    pub rings: Option<CardRings>,
    /// Offloads that are on.
    pub offloads: Vec<Offload>,
    /// Where its hash spreads packets (RSS).
    pub indirection: Option<Vec<u32>>,
    /// Whether the ports of UDP have a say in it.
    pub hashes_udp_ports: Option<bool>,
    /// What its driver can do with XDP: bits of the kernel's `enum netdev_xdp_act`.
    pub xdp_features: Option<u64>,
    /// The XDP program on it.
    pub program: Option<Program>,
    /// The memory node that it is attached to.
    pub node: Option<u32>,
    /// Its interrupts, those of its queues among them, in the order of their numbers.
    pub interrupts: Vec<Interrupt>,
    /// Queues whose packets the kernel hands to other processors (RPS), and which.
    pub receive_steering: Vec<(u32, CpuSet)>,
    /// `napi_defer_hard_irqs`.
    pub defer_hard_irqs: Option<u64>,
    /// `gro_flush_timeout`, nanoseconds.
    pub flush_timeout: Option<u64>,
    /// `net.ipv4.conf.DEVICE.rp_filter`.
    pub rp_filter: Option<u32>,
}

/// A link.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkState {
    /// Longest IP packet, bytes.
    pub mtu: u32,
    /// Whether an administrator has it up.
    pub up: bool,
    /// Whether it is one end of a veth pair.
    pub veth: bool,
    /// The other end, if it is in the same network namespace.
    pub peer: Option<String>,
    /// Whether that one leaves checksums to this end.
    pub peer_leaves_checksums: bool,
}

/// An XDP program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Program {
    /// What the kernel calls it.
    pub description: String,
    /// Whether it is netchannel's own.
    pub own: bool,
}

/// An interrupt of a device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interrupt {
    /// Its number.
    pub number: u32,
    /// The name that the driver gave it: `eth0-TxRx-3`.
    pub name: String,
    /// The processors that it goes to.
    pub processors: CpuSet,
}

impl Interrupt {
    /// The queue that it is for, by its name: the number at its end. Not for those of a card's management.
    pub fn queue(&self) -> Option<u32> {
        // mlx5 puts the card's place behind it: mlx5_comp3@pci:0000:01:00.0
        let label = self.name.split('@').next()?.to_ascii_lowercase();
        let name = label.trim_end_matches(|c: char| c.is_ascii_digit());
        let number = &label[name.len()..];
        let is_queue = ["rx", "txrx", "comp", "queue", "input"]
            .iter()
            .any(|word| name.contains(word));
        is_queue.then(|| number.parse().ok()).flatten()
    }
}

const OFFLOADS: [Offload; 4] = [
    Offload::TransmitChecksum,
    Offload::ReceiveVlan,
    Offload::TransmitVlan,
    Offload::ReceiveMerging,
];

impl Device {
    pub(super) fn read(root: &Root, ethtool: &Ethtool, links: &Links, name: &str) -> Self {
        let Some(link) = links.by_name(name) else {
            return Self {
                name: name.to_owned(),
                ..Self::default()
            };
        };
        let is_on = |device: &str, offload| ethtool.is_on(device, offload).unwrap_or(false);
        let peer = links.veth_peer(link.index);
        let program = XdpProgram::attached_to(name).ok().flatten();
        Self {
            link: Some(LinkState {
                mtu: link.mtu,
                up: link.up,
                veth: link.kind.as_deref() == Some("veth"),
                peer: peer.map(|peer| peer.name.clone()),
                peer_leaves_checksums: peer.is_some_and(|peer| is_on(&peer.name, Offload::TransmitChecksum)),
            }),
            driver: ethtool.driver(name).ok(),
            queues: ethtool.queues(name).ok(),
            limits: ethtool.queue_limits(name),
            rings: ethtool.rings(name),
            offloads: OFFLOADS
                .into_iter()
                .filter(|&offload| is_on(name, offload))
                .collect(),
            indirection: ethtool.indirection(name),
            hashes_udp_ports: ethtool.hashes_udp_ports(name),
            xdp_features: xdp_features(link.index.0).ok().flatten(),
            program: program.map(|program| Program {
                own: program.name.as_deref() == Some(xdp_prog::PROGRAM),
                description: program.to_string(),
            }),
            rp_filter: root.value(&format!("proc/sys/net/ipv4/conf/{name}/rp_filter")),
            ..Self::in_sysfs(root, link)
        }
    }

    /// What sysfs tells, if it shows this network namespace.
    fn in_sysfs(root: &Root, link: &Link) -> Self {
        let directory = format!("sys/class/net/{}", link.name);
        let mac = link.mac.map(|byte| format!("{byte:02x}")).join(":");
        let is_it = root.value(&format!("{directory}/ifindex")) == Some(link.index.0)
            && root.text(&format!("{directory}/address")) == Some(mac);
        match is_it {
            true => Self::in_directory(root, &link.name),
            false => Self {
                name: link.name.clone(),
                ..Self::default()
            },
        }
    }

    /// The settings in its directory of sysfs, and its interrupts.
    pub(in crate::doctor) fn in_directory(root: &Root, name: &str) -> Self {
        let directory = format!("sys/class/net/{name}");
        let node = root.value::<i64>(&format!("{directory}/device/numa_node"));
        let queues = root.names(&format!("{directory}/queues"));
        let mut steering: Vec<(u32, CpuSet)> = queues
            .iter()
            .filter_map(|queue| {
                let number = queue.strip_prefix("rx-")?.parse().ok()?;
                let mask = root.text(&format!("{directory}/queues/{queue}/rps_cpus"))?;
                Some((number, CpuSet::parse_mask(&mask)?))
            })
            .filter(|(_, processors)| !processors.is_empty())
            .collect();
        steering.sort_unstable_by_key(|(queue, _)| *queue);
        Self {
            name: name.to_owned(),
            // -1 where there is only one.
            node: node.and_then(|node| u32::try_from(node).ok()),
            interrupts: interrupts(root, &directory, name),
            receive_steering: steering,
            defer_hard_irqs: root.value(&format!("{directory}/napi_defer_hard_irqs")),
            flush_timeout: root.value(&format!("{directory}/gro_flush_timeout")),
            ..Self::default()
        }
    }
}

/// The interrupts that a driver asked for a device: those that its bus lists, and those that are called after it, or after the virtio device
/// that it is.
fn interrupts(root: &Root, directory: &str, name: &str) -> Vec<Interrupt> {
    let listed = root.names(&format!("{directory}/device/msi_irqs"));
    let bus = root.link(&format!("{directory}/device"));
    let table = root.text("proc/interrupts").unwrap_or_default();
    let mut found: Vec<Interrupt> = table
        .lines()
        .filter_map(|line| {
            let (number, rest) = line.trim_start().split_once(':')?;
            let label = rest.split_whitespace().last()?;
            let of_bus = |bus: &String| label.strip_prefix(bus).is_some_and(|rest| rest.starts_with('-'));
            let is_own = listed.iter().any(|irq| irq == number)
                || label.split('-').any(|part| part == name)
                || bus.as_ref().is_some_and(of_bus);
            if !is_own {
                return None;
            }
            let list = root.text(&format!("proc/irq/{number}/smp_affinity_list"))?;
            Some(Interrupt {
                number: number.parse().ok()?,
                name: label.to_owned(),
                processors: CpuSet::parse(&list)?,
            })
        })
        .collect();
    found.sort_unstable_by_key(|interrupt| interrupt.number);
    found
}
