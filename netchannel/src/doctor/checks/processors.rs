//! The processors that workers run on.

use std::collections::BTreeSet;

use crate::config::Wait;
use crate::doctor::cpu_set::CpuSet;
use crate::doctor::facts::Processors;
use crate::doctor::finding::{Finding, Level};
use crate::doctor::wanted::Wanted;

/// Clocks that a program reads without a system call.
const FAST_CLOCKS: [&str; 4] = [
    "tsc",
    "kvm-clock",
    "arch_sys_counter",
    "hyperv_clocksource_tsc_page",
];

/// Microseconds that a processor may take to wake: those of a shallow idle state.
const LONG_WAKE: u64 = 10;
/// Nanoseconds for which an idle processor of a virtual machine should wait before it halts.
const HALT_POLL: u64 = 200_000;

pub(super) fn check(processors: &Processors, wanted: Option<&Wanted>) -> Vec<Finding> {
    let mut found = vec![clock(processors)];
    let used: CpuSet = match wanted {
        Some(wanted) if !wanted.cores.is_empty() => wanted.cores.iter().copied().collect(),
        _ => processors.allowed.clone(),
    };
    found.extend(governor(processors, &used));
    found.extend(idle(processors, &used, wanted));
    if let Some(wanted) = wanted {
        found.extend(pinning(processors, wanted));
        if !wanted.cores.is_empty() {
            found.push(isolation(processors, wanted, &used));
            found.extend(threads(processors, &used));
        }
        found.extend(balance(processors, wanted));
    }
    found
}

fn clock(processors: &Processors) -> Finding {
    const CHECK: &str = "clock-source";
    let Some(source) = &processors.clock_source else {
        return Finding::ok(CHECK, "the kernel does not say what tells the time");
    };
    if FAST_CLOCKS.contains(&source.as_str()) {
        return Finding::ok(CHECK, format!("the time comes from {source}"));
    }
    let finding = Finding::new(
        Level::Warning,
        CHECK,
        format!("the time comes from {source}"),
        "a worker reads the clock once a burst; with this one each look is a system call or a slow read of a device",
    );
    let better = FAST_CLOCKS
        .into_iter()
        .find(|fast| processors.clock_sources.iter().any(|known| known == fast));
    match better {
        Some(better) => finding.command(format!(
            "echo {better} > /sys/devices/system/clocksource/clocksource0/current_clocksource"
        )),
        None => finding.advice("the machine offers none that is faster"),
    }
}

fn governor(processors: &Processors, used: &CpuSet) -> Option<Finding> {
    const CHECK: &str = "governor";
    const WANTED: &str = "performance";
    let governors = |cpu| processors.cores.get(&cpu)?.governor.as_deref();
    let slow: Vec<(u32, &str)> = used
        .iter()
        .filter_map(|cpu| Some((cpu, governors(cpu)?)))
        .filter(|(_, governor)| *governor != WANTED)
        .collect();
    if slow.is_empty() {
        let any = used.iter().any(|cpu| governors(cpu).is_some());
        return any.then(|| Finding::ok(CHECK, "processors keep their highest frequency"));
    }
    let names: BTreeSet<&str> = slow.iter().map(|(_, governor)| *governor).collect();
    let cpus: CpuSet = slow.iter().map(|(cpu, _)| *cpu).collect();
    let seen = format!(
        "the frequency of {} is chosen by {}",
        named(&cpus),
        names.into_iter().collect::<Vec<_>>().join(", ")
    );
    let why = "a worker that slept begins at a low frequency, and the first packets wait";
    let commands = cpus
        .iter()
        .map(|cpu| format!("echo {WANTED} > /sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_governor"));
    Some(Finding::new(Level::Warning, CHECK, seen, why).commands(commands))
}

/// How long it takes to wake a processor that a worker sleeps on.
fn idle(processors: &Processors, used: &CpuSet, wanted: Option<&Wanted>) -> Option<Finding> {
    const CHECK: &str = "idle-states";
    if wanted.is_some_and(|wanted| matches!(wanted.wait, Wait::BusyPoll { .. })) {
        return Some(Finding::ok(CHECK, "workers never sleep"));
    }
    if processors.halt_poll == Some(0) {
        let seen = "idle processors of this virtual machine are given back to the host at once";
        let why = "to get one back takes the host tens of microseconds: the first packet after silence waits for that, and so does who waits \
                   for an answer";
        return Some(
            Finding::new(Level::Advice, CHECK, seen, why)
                .command(format!(
                    "echo {HALT_POLL} > /sys/module/haltpoll/parameters/guest_halt_poll_ns"
                ))
                .advice("it takes time of the host's processors; or pin a worker to the processor that its packets arrive on"),
        );
    }
    let latency = |cpu| processors.cores.get(&cpu)?.wake_latency;
    let longest = used.iter().filter_map(latency).max()?;
    if longest <= LONG_WAKE {
        return Some(Finding::ok(
            CHECK,
            format!("idle processors wake within {longest} us"),
        ));
    }
    let deep: CpuSet = used
        .iter()
        .filter(|&cpu| latency(cpu) > Some(LONG_WAKE))
        .collect();
    let commands = deep.iter().map(|cpu| {
        format!("echo {LONG_WAKE} > /sys/devices/system/cpu/cpu{cpu}/power/pm_qos_resume_latency_us")
    });
    let seen = format!("idle, it takes up to {longest} us to wake: {}", named(&deep));
    let why = "the first packet after silence waits for that";
    Some(Finding::new(Level::Advice, CHECK, seen, why).commands(commands))
}

fn pinning(processors: &Processors, wanted: &Wanted) -> Option<Finding> {
    const CHECK: &str = "workers";
    let threads = match wanted.workers {
        1 => "1 worker".to_owned(),
        workers => format!("{workers} workers"),
    };
    let missing: CpuSet = wanted
        .cores
        .iter()
        .copied()
        .filter(|&cpu| !processors.allowed.contains(cpu))
        .collect();
    if !missing.is_empty() {
        let seen = format!(
            "processors {missing} are off, not there, or not allowed to this process; it may use {}",
            processors.allowed
        );
        return Some(
            Finding::new(Level::Problem, CHECK, seen, "workers can't be pinned to them").advice(format!(
                "in the configuration: [workers] cpus = \"{}\"",
                processors.allowed
            )),
        );
    }
    let distinct: BTreeSet<u32> = wanted.cores.iter().copied().collect();
    let places = match wanted.cores.is_empty() {
        true => processors.allowed.len(),
        false => distinct.len(),
    };
    let spins = matches!(wanted.wait, Wait::BusyPoll { .. });
    if (wanted.workers as usize) > places {
        let level = if spins { Level::Problem } else { Level::Warning };
        let seen = format!("{threads}, {} to share", counted(places));
        return Some(
            Finding::new(
                level,
                CHECK,
                seen,
                "while one of them runs, packets of the others wait",
            )
            .advice(format!("in the configuration: [workers] count = {places}")),
        );
    }
    if spins && places >= processors.online.len() && wanted.workers as usize == places {
        let seen = format!(
            "{threads} that never sleep, on {} processors",
            processors.online.len()
        );
        return Some(
            Finding::new(
                Level::Warning,
                CHECK,
                seen,
                "nothing is left for everything else on this machine",
            )
            .advice("in the configuration: fewer workers, or [workers] wait = \"adaptive\""),
        );
    }
    if wanted.cores.is_empty() {
        let seen = format!("{threads}, wherever the scheduler puts them");
        let why = match spins {
            true => "a worker that never sleeps should have a processor that nobody else uses",
            false => "packets wait while the scheduler moves it, and its caches have to be filled again",
        };
        return Some(Finding::new(Level::Advice, CHECK, seen, why).advice(format!(
            "in the configuration: [workers] cpus = ..., of {}",
            processors.allowed
        )));
    }
    Some(Finding::ok(
        CHECK,
        format!(
            "{threads} on processors {}",
            distinct.into_iter().collect::<CpuSet>()
        ),
    ))
}

fn isolation(processors: &Processors, wanted: &Wanted, used: &CpuSet) -> Finding {
    const CHECK: &str = "isolation";
    let exposed: CpuSet = used
        .iter()
        .filter(|&cpu| !processors.isolated.contains(cpu))
        .collect();
    let ticking: CpuSet = used
        .iter()
        .filter(|&cpu| !processors.tickless.contains(cpu))
        .collect();
    if exposed.is_empty() && ticking.is_empty() {
        return Finding::ok(CHECK, format!("isolated and tickless: {}", named(used)));
    }
    let others = processors
        .online
        .iter()
        .filter(|&cpu| !used.contains(cpu))
        .count();
    let seen = match (exposed.is_empty(), ticking.is_empty()) {
        (false, _) => format!("not isolated: {}", named(&exposed)),
        (true, _) => format!("with a timer tick: {}", named(&ticking)),
    };
    // Only who never sleeps loses what others take.
    let level = match wanted.wait {
        Wait::BusyPoll { .. } if !exposed.is_empty() => Level::Warning,
        _ => Level::Advice,
    };
    let finding = Finding::new(
        level,
        CHECK,
        seen,
        "other tasks and the timer take the processor away from a worker while packets wait",
    );
    match others {
        0 => finding.advice("workers have all processors of this machine: leave it one or two, or live with it"),
        _ => finding.advice(format!(
            "on the kernel's command line: isolcpus=managed_irq,domain,{used} nohz_full={used} rcu_nocbs={used}"
        )),
    }
}

fn threads(processors: &Processors, used: &CpuSet) -> Option<Finding> {
    const CHECK: &str = "hardware-threads";
    let siblings = |cpu: u32| processors.cores.get(&cpu).map(|core| &core.siblings);
    let shared: CpuSet = used
        .iter()
        .filter(|&cpu| {
            siblings(cpu)
                .is_some_and(|siblings| siblings.iter().any(|other| other != cpu && used.contains(other)))
        })
        .collect();
    if !shared.is_empty() {
        return Some(
            Finding::new(
                Level::Advice,
                CHECK,
                format!("workers share cores: {}", named(&shared)),
                "two hardware threads of a core carry some 1.3 times what one does, not twice",
            )
            .advice("pin workers to one thread of each core (lscpu -e)"),
        );
    }
    let has_threads = used
        .iter()
        .any(|cpu| siblings(cpu).is_some_and(|siblings| siblings.len() > 1));
    has_threads.then(|| {
        Finding::ok(
            CHECK,
            "each worker has a core of its own; leave the other threads of these idle",
        )
    })
}

fn balance(processors: &Processors, wanted: &Wanted) -> Option<Finding> {
    const CHECK: &str = "irqbalance";
    if !processors.irqbalance {
        return Some(Finding::ok(CHECK, "irqbalance does not run"));
    }
    if wanted.cores.is_empty() {
        return Some(Finding::ok(CHECK, "irqbalance runs, and workers are not pinned"));
    }
    Some(
        Finding::new(
            Level::Warning,
            CHECK,
            "irqbalance runs",
            "it moves the queues' interrupts away from the processors that they were given to",
        )
        .command("systemctl stop irqbalance"),
    )
}

/// `processor 3`, `processors 2-3`.
fn named(cpus: &CpuSet) -> String {
    let plural = if cpus.len() == 1 { "" } else { "s" };
    format!("processor{plural} {cpus}")
}

fn counted(processors: usize) -> String {
    let plural = if processors == 1 { "" } else { "s" };
    format!("{processors} processor{plural}")
}
