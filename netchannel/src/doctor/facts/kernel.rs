//! The kernel: its version, its settings, its memory.

use crate::doctor::root::Root;

/// The running kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kernel {
    /// As it calls itself: `6.1.0-18-amd64`.
    pub release: Option<String>,
    /// Whether it has AF_XDP sockets; `None` if it does not tell.
    pub af_xdp: Option<bool>,
    /// `net.core.bpf_jit_enable`; `None` in a network namespace that does not have it.
    pub bpf_jit: Option<u32>,
    /// `net.ipv4.ip_forward`.
    pub ip_forward: Option<bool>,
    /// `net.ipv4.conf.all.rp_filter`.
    pub rp_filter: Option<u32>,
    /// Connections that the kernel tracks; `None` if it tracks none at all.
    pub tracked: Option<u64>,
    /// Bytes that a process like this one may lock; `None` without a limit, or with a capability that lifts it.
    pub locked_limit: Option<u64>,
    /// Pages of 2 MiB that are set aside, and how many of them are free; `None` for a kernel that has none.
    pub huge_pages: Option<(u64, u64)>,
}

/// The number of `CAP_IPC_LOCK`, which lifts the limit of locked memory.
const CAP_IPC_LOCK: u32 = 14;

impl Kernel {
    pub(in crate::doctor) fn read(root: &Root) -> Self {
        const HUGE: &str = "sys/kernel/mm/hugepages/hugepages-2048kB";
        let protocols = root.text("proc/net/protocols");
        let huge = |file: &str| root.value::<u64>(&format!("{HUGE}/{file}"));
        Self {
            release: root.text("proc/sys/kernel/osrelease"),
            af_xdp: protocols.map(|list| {
                list.lines()
                    .any(|line| line.split_whitespace().next() == Some("XDP"))
            }),
            bpf_jit: root.value("proc/sys/net/core/bpf_jit_enable"),
            ip_forward: root
                .value::<u32>("proc/sys/net/ipv4/ip_forward")
                .map(|value| value != 0),
            rp_filter: root.value("proc/sys/net/ipv4/conf/all/rp_filter"),
            tracked: root.value("proc/sys/net/netfilter/nf_conntrack_count"),
            locked_limit: locked_limit(root),
            huge_pages: huge("nr_hugepages").zip(huge("free_hugepages")),
        }
    }

    /// Major and minor number.
    pub fn version(&self) -> Option<(u32, u32)> {
        let mut numbers = self.release.as_deref()?.split(['.', '-', '+']);
        let mut number = || numbers.next()?.parse().ok();
        Some((number()?, number()?))
    }
}

fn locked_limit(root: &Root) -> Option<u64> {
    let status = root.text("proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = effective.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    if effective.is_some_and(|mask| mask >> CAP_IPC_LOCK & 1 == 1) {
        return None;
    }
    let limits = root.text("proc/self/limits")?;
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max locked memory"))?;
    line.split_whitespace().next()?.parse().ok()
}
