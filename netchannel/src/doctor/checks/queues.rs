//! A device's queues: how many, how long, whose interrupts go where.

use crate::config::Wait;
use crate::doctor::cpu_set::CpuSet;
use crate::doctor::facts::{Device, Processors};
use crate::doctor::finding::{Finding, Level};
use crate::doctor::wanted::{Wanted, WantedDevice};
use crate::network::ethtool::spread_over;
use xdp_prog::QUEUES_PER_INTERFACE;

use super::device::is_generic;

/// Entries of a card's ring that take a burst of some milliseconds.
const GOOD_RING: u32 = 2048;
/// What to set for a device that is polled: looks in vain before interrupts come back, and nanoseconds without a look after which they do.
const DEFERRED: u64 = 2;
const FLUSH_TIMEOUT: u64 = 200_000;

pub(super) fn check(device: &Device, wanted: &Wanted, processors: &Processors) -> Vec<Finding> {
    let mut found = Vec::new();
    found.extend(number(device, wanted));
    found.extend(rings(device));
    found.extend(spread(device, wanted));
    found.extend(interrupts(device, wanted));
    found.extend(node(device, wanted, processors));
    if let Some(plan) = wanted.devices.iter().find(|plan| plan.name == device.name) {
        found.extend(steering(device, wanted, plan));
    }
    found.extend(polling(device, wanted));
    found
}

/// The queue's worker has this processor, if it is pinned to any.
fn core_of(queue: u32, wanted: &Wanted) -> Option<u32> {
    wanted.cores.get((queue % wanted.workers) as usize).copied()
}

fn number(device: &Device, wanted: &Wanted) -> Option<Finding> {
    const CHECK: &str = "queues";
    let queues = device.queues?.receive;
    let workers = wanted.workers;
    let limits = device.limits.unwrap_or_default();
    let set = |to: u32| match limits.combined {
        true => format!("ethtool -L {} combined {to}", device.name),
        false => format!("ethtool -L {} rx {to} tx {to}", device.name),
    };
    let counted = |number, what| format!("{number} {what}{}", if number == 1 { "" } else { "s" });
    let seen = format!("{}, {}", counted(queues, "queue"), counted(workers, "worker"));
    if queues < workers {
        let finding = Finding::new(
            Level::Problem,
            CHECK,
            seen,
            "each worker needs a queue of its own to send by: netchannel does not start",
        );
        return Some(match limits.receive.min(limits.transmit) >= workers {
            true => finding.command(set(workers)),
            false => finding.advice(format!("in the configuration: [workers] count = {queues}")),
        });
    }
    if queues > QUEUES_PER_INTERFACE {
        return Some(
            Finding::new(
                Level::Warning,
                CHECK,
                seen,
                format!("{QUEUES_PER_INTERFACE} queues are served; packets of the others go to the kernel, untranslated"),
            )
            .command(set(workers.max(1))),
        );
    }
    if !queues.is_multiple_of(workers) {
        return Some(
            Finding::new(
                Level::Advice,
                CHECK,
                seen,
                "some workers have more queues, and so more packets, than others",
            )
            .command(set(queues / workers * workers)),
        );
    }
    Some(Finding::ok(CHECK, seen))
}

fn rings(device: &Device) -> Option<Finding> {
    const CHECK: &str = "card-rings";
    let rings = device.rings?;
    let seen = format!(
        "the card's rings have {} entries to receive and {} to transmit, of at most {} and {}",
        rings.receive, rings.transmit, rings.most_receive, rings.most_transmit
    );
    let wish = rings.most_receive.min(GOOD_RING);
    if rings.receive >= wish {
        return Some(Finding::ok(CHECK, seen));
    }
    Some(
        Finding::new(
            Level::Advice,
            CHECK,
            seen,
            "while a worker is held up for a millisecond, this is where packets wait; behind it they are lost",
        )
        .command(format!("ethtool -G {} rx {wish}", device.name)),
    )
}

fn spread(device: &Device, wanted: &Wanted) -> Vec<Finding> {
    const CHECK: &str = "rss";
    let Some(queues) = device
        .queues
        .map(|queues| queues.receive.min(QUEUES_PER_INTERFACE))
    else {
        return Vec::new();
    };
    let mut found = Vec::new();
    match &device.indirection {
        None if queues > 1 => found.push(Finding::ok(
            CHECK,
            "the driver has no table that could be set: it chooses the queues itself",
        )),
        None => {}
        Some(table) if spread_over(table, queues).is_some() => found.push(
            Finding::new(
                Level::Advice,
                CHECK,
                format!("packets are not spread over all of the {queues} queues that are served"),
                "some workers stay idle; netchannel changes it when it starts, for as long as it runs",
            )
            .command(format!("ethtool -X {} equal {queues}", device.name)),
        ),
        Some(_) => found.push(Finding::ok(
            CHECK,
            format!("packets are spread over {queues} queues"),
        )),
    }
    if wanted.workers > 1 && device.hashes_udp_ports == Some(false) {
        found.push(
            Finding::new(
                Level::Advice,
                CHECK,
                "UDP is spread over queues by addresses alone",
                "all UDP between two hosts is one worker's",
            )
            .command(format!("ethtool -N {} rx-flow-hash udp4 sdfn", device.name)),
        );
    }
    found
}

fn interrupts(device: &Device, wanted: &Wanted) -> Option<Finding> {
    const CHECK: &str = "irq-affinity";
    if device.interrupts.is_empty() || wanted.cores.is_empty() {
        return None;
    }
    let mut wrong = Vec::new();
    let mut commands = Vec::new();
    for interrupt in &device.interrupts {
        let Some(queue) = interrupt.queue() else { continue };
        let Some(core) = core_of(queue, wanted) else {
            continue;
        };
        if interrupt.processors.iter().ne([core]) {
            wrong.push(format!("{} to {}", interrupt.name, interrupt.processors));
            commands.push(format!(
                "echo {core} > /proc/irq/{}/smp_affinity_list",
                interrupt.number
            ));
        }
    }
    if wrong.is_empty() {
        return Some(Finding::ok(
            CHECK,
            "each queue interrupts the processor of its worker",
        ));
    }
    Some(
        Finding::new(
            Level::Warning,
            CHECK,
            format!(
                "interrupts go elsewhere than to the queue's worker: {}",
                wrong.join(", ")
            ),
            "another processor writes the packets, and has to wake the worker's: microseconds for each burst",
        )
        .commands(commands),
    )
}

fn node(device: &Device, wanted: &Wanted, processors: &Processors) -> Option<Finding> {
    const CHECK: &str = "numa";
    let node = device.node?;
    let is_far = |cpu: &u32| {
        processors
            .cores
            .get(cpu)
            .and_then(|core| core.node)
            .is_some_and(|own| own != node)
    };
    let far: CpuSet = wanted.cores.iter().copied().filter(is_far).collect();
    let near = processors
        .cores
        .iter()
        .filter(|(_, core)| core.node == Some(node));
    let near: CpuSet = near.map(|(cpu, _)| *cpu).collect();
    if far.is_empty() {
        return Some(Finding::ok(
            CHECK,
            format!("attached to memory node {node}, processors {near}"),
        ));
    }
    Some(
        Finding::new(
            Level::Warning,
            CHECK,
            format!("attached to memory node {node}, but workers run on processors {far} of another one"),
            "each packet crosses from one node's memory to the other's",
        )
        .advice(format!("in the configuration: [workers] cpus = \"{near}\"")),
    )
}

fn steering(device: &Device, wanted: &Wanted, plan: &WantedDevice) -> Option<Finding> {
    const CHECK: &str = "rps";
    if device.receive_steering.is_empty() {
        return Some(Finding::ok(
            CHECK,
            "no queue's packets are handed to other processors (RPS)",
        ));
    }
    let queues: Vec<String> = device
        .receive_steering
        .iter()
        .map(|(queue, processors)| format!("of queue {queue} to {processors}"))
        .collect();
    let seen = format!("the kernel hands packets {} (RPS)", queues.join(", "));
    let takes = |(_, processors): &(u32, CpuSet)| wanted.cores.iter().any(|&core| processors.contains(core));
    if !is_generic(plan) && !device.receive_steering.iter().any(takes) {
        return Some(Finding::ok(CHECK, seen));
    }
    let commands = device.receive_steering.iter().map(|(queue, _)| {
        format!(
            "echo 0 > /sys/class/net/{}/queues/rx-{queue}/rps_cpus",
            device.name
        )
    });
    Some(
        Finding::new(
            Level::Advice,
            CHECK,
            seen,
            "what is left to the kernel takes time from workers; in generic mode all packets do",
        )
        .commands(commands),
    )
}

fn polling(device: &Device, wanted: &Wanted) -> Option<Finding> {
    const CHECK: &str = "interrupt-deferral";
    let (deferred, timeout) = device.defer_hard_irqs.zip(device.flush_timeout)?;
    let seen = format!("napi_defer_hard_irqs is {deferred}, gro_flush_timeout {timeout} ns");
    let set = |file: &str, value: u64| format!("echo {value} > /sys/class/net/{}/{file}", device.name);
    let both = |deferred, timeout| {
        [
            set("napi_defer_hard_irqs", deferred),
            set("gro_flush_timeout", timeout),
        ]
    };
    Some(match wanted.wait {
        Wait::BusyPoll { .. } if deferred == 0 || timeout == 0 => Finding::new(
            Level::Warning,
            CHECK,
            seen,
            "interrupts come although the worker polls, and take its time; with both set they are held back as long as it does",
        )
        .commands(both(DEFERRED, FLUSH_TIMEOUT)),
        Wait::Interrupt | Wait::Adaptive { .. } if deferred > 0 && timeout > 0 => Finding::new(
            Level::Advice,
            CHECK,
            seen,
            "without busy polling, packets wait for the timeout when interrupts are held back",
        )
        .commands(both(0, 0)),
        _ => Finding::ok(CHECK, seen),
    })
}
