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
        }
    }
}

/// Whether a process of this name runs.
fn runs(root: &Root, name: &str) -> bool {
    let processes = root.names("proc");
    let mut processes = processes.iter().filter(|entry| entry.parse::<u32>().is_ok());
    processes.any(|process| root.text(&format!("proc/{process}/comm")).as_deref() == Some(name))
}
