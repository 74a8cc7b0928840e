//! Processors: which there are, which are kept for somebody, and how they run.

use std::collections::BTreeMap;

use crate::doctor::cpu_set::CpuSet;
use crate::doctor::root::Root;

/// The machine's processors.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Processors {
    /// Those that are on.
    pub online: CpuSet,
    /// Those that this process may use.
    pub allowed: CpuSet,
    /// Those that the scheduler leaves alone (`isolcpus=`, or a cpuset's isolated partition).
    pub isolated: CpuSet,
    /// Those without a timer tick while one task runs (`nohz_full=`).
    pub tickless: CpuSet,
    /// Each one that is on.
    pub cores: BTreeMap<u32, Core>,
    /// What tells the time.
    pub clock_source: Option<String>,
    /// What else could.
    pub clock_sources: Vec<String>,
    /// Whether irqbalance runs.
    pub irqbalance: bool,
    /// How long an idle processor of a virtual machine waits before it gives itself back to the host, in nanoseconds
    /// (`guest_halt_poll_ns`); `None` on other machines.
    pub halt_poll: Option<u64>,
}

/// One processor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Core {
    /// What chooses its frequency; `None` if nothing can (in most virtual machines).
    pub governor: Option<String>,
    /// The hardware threads of its core, itself among them.
    pub siblings: CpuSet,
    /// Its memory node.
    pub node: Option<u32>,
    /// The longest that it takes to wake from an idle state that it may use, in microseconds; `None` if the kernel does not tell.
    pub wake_latency: Option<u64>,
}

impl Processors {
    pub(in crate::doctor) fn read(root: &Root) -> Self {
        const CPUS: &str = "sys/devices/system/cpu";
        const CLOCK: &str = "sys/devices/system/clocksource/clocksource0";
        let set = |path: &str| root.text(path).and_then(|list| CpuSet::parse(&list));
        let online = set(&format!("{CPUS}/online")).unwrap_or_default();
        let cores = online
            .iter()
            .map(|cpu| (cpu, Core::read(root, &format!("{CPUS}/cpu{cpu}"))));
        let status = root.text("proc/self/status").unwrap_or_default();
        let allowed = status
            .lines()
            .find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
        let sources = root
            .text(&format!("{CLOCK}/available_clocksource"))
            .unwrap_or_default();
        Self {
            allowed: allowed.and_then(CpuSet::parse).unwrap_or_else(|| online.clone()),
            isolated: set(&format!("{CPUS}/isolated")).unwrap_or_default(),
            // "(null)" where none was asked for.
            tickless: set(&format!("{CPUS}/nohz_full")).unwrap_or_default(),
            cores: cores.collect(),
            clock_source: root.text(&format!("{CLOCK}/current_clocksource")),
            clock_sources: sources.split_whitespace().map(str::to_owned).collect(),
            irqbalance: runs(root, "irqbalance"),
            halt_poll: halt_poll(root),
            online,
        }
    }
}

impl Core {
    fn read(root: &Root, directory: &str) -> Self {
        let siblings = root.text(&format!("{directory}/topology/thread_siblings_list"));
        let node = root
            .names(directory)
            .iter()
            .find_map(|name| name.strip_prefix("node")?.parse().ok());
        Self {
            governor: root.text(&format!("{directory}/cpufreq/scaling_governor")),
            siblings: siblings.and_then(|list| CpuSet::parse(&list)).unwrap_or_default(),
            node,
            wake_latency: wake_latency(root, directory),
        }
    }
}

/// Of the idle states that are not disabled, and within what is bearable (`pm_qos_resume_latency_us`).
fn wake_latency(root: &Root, directory: &str) -> Option<u64> {
    let bearable = match root
        .text(&format!("{directory}/power/pm_qos_resume_latency_us"))
        .as_deref()
    {
        // The kernel's words for "no limit" and for "none at all".
        None | Some("0") => u64::MAX,
        Some("n/a") => 0,
        Some(limit) => limit.parse().ok()?,
    };
    let states = root.names(&format!("{directory}/cpuidle"));
    let latencies = states.iter().filter_map(|state| {
        let state = format!("{directory}/cpuidle/{state}");
        let is_disabled = root.value::<u32>(&format!("{state}/disable")).unwrap_or(0) != 0;
        let latency = root.value::<u64>(&format!("{state}/latency"))?;
        (!is_disabled && latency <= bearable).then_some(latency)
    });
    latencies.max()
}

/// Only where the driver of idle states is the one for virtual machines that wait before they halt.
fn halt_poll(root: &Root) -> Option<u64> {
    let driver = root.text("sys/devices/system/cpu/cpuidle/current_driver")?;
    (driver == "haltpoll").then(|| root.value("sys/module/haltpoll/parameters/guest_halt_poll_ns"))?
}

/// Whether a process of this name runs.
fn runs(root: &Root, name: &str) -> bool {
    let processes = root.names("proc");
    let mut processes = processes.iter().filter(|entry| entry.parse::<u32>().is_ok());
    processes.any(|process| root.text(&format!("proc/{process}/comm")).as_deref() == Some(name))
}
