//! The kernel, its memory and its settings.

use crate::config::HugePages;
use crate::doctor::facts::{Facts, Kernel};
use crate::doctor::finding::{Finding, Level};
use crate::doctor::wanted::Wanted;

/// The first kernel that has all that is used: live frames of test runs.
const OLDEST: (u32, u32) = (5, 18);
/// Bytes of a huge page.
const HUGE_PAGE: u64 = 2 << 20;

pub(super) fn check(facts: &Facts, wanted: Option<&Wanted>) -> Vec<Finding> {
    let kernel = &facts.kernel;
    let queues = facts
        .devices
        .iter()
        .filter_map(|device| device.queues)
        .map(|it| it.receive);
    let memory = wanted.map(|wanted| (wanted, wanted.memory(queues.sum())));
    let mut found = vec![version(kernel)];
    found.extend(sockets(kernel));
    found.extend(jit(kernel));
    if let Some((wanted, bytes)) = memory {
        found.push(locked(kernel, bytes));
        found.extend(huge_pages(kernel, wanted, bytes));
        found.extend(forwarding(kernel, wanted));
    }
    found
}

fn version(kernel: &Kernel) -> Finding {
    const CHECK: &str = "kernel";
    let release = kernel.release.as_deref().unwrap_or("of unknown version");
    match kernel.version() {
        Some(version) if version < OLDEST => Finding::new(
            Level::Problem,
            CHECK,
            format!("Linux {release}"),
            "packets are given back to the kernel by a call that is there since Linux 5.18",
        )
        .advice("install a kernel of 5.18 or later"),
        _ => Finding::ok(CHECK, format!("Linux {release}")),
    }
}

fn sockets(kernel: &Kernel) -> Option<Finding> {
    const CHECK: &str = "af-xdp";
    Some(match kernel.af_xdp? {
        true => Finding::ok(CHECK, "the kernel has AF_XDP sockets"),
        false => Finding::new(
            Level::Problem,
            CHECK,
            "the kernel has no AF_XDP sockets",
            "packets come to user space by these and by nothing else",
        )
        .advice("use a kernel built with CONFIG_XDP_SOCKETS"),
    })
}

fn jit(kernel: &Kernel) -> Option<Finding> {
    const CHECK: &str = "bpf-jit";
    Some(match kernel.bpf_jit? {
        0 => Finding::new(
            Level::Warning,
            CHECK,
            "net.core.bpf_jit_enable is 0",
            "the XDP program is interpreted: each packet takes several times as long there",
        )
        .command("sysctl -w net.core.bpf_jit_enable=1"),
        _ => Finding::ok(CHECK, "the XDP program is compiled"),
    })
}

fn locked(kernel: &Kernel, needed: u64) -> Finding {
    const CHECK: &str = "memlock";
    match kernel.locked_limit {
        Some(limit) if limit < needed => Finding::new(
            Level::Problem,
            CHECK,
            format!(
                "{} of memory may be locked, {} are needed",
                mebibytes(limit),
                mebibytes(needed)
            ),
            "packet memory is locked: the sockets can't be opened",
        )
        .command("ulimit -l unlimited")
        .advice("for a service: LimitMEMLOCK=infinity, or the capability CAP_IPC_LOCK"),
        Some(limit) => Finding::ok(CHECK, format!("{} of memory may be locked", mebibytes(limit))),
        None => Finding::ok(CHECK, "memory may be locked without limit"),
    }
}

fn huge_pages(kernel: &Kernel, wanted: &Wanted, bytes: u64) -> Option<Finding> {
    const CHECK: &str = "huge-pages";
    let (all, free) = kernel.huge_pages?;
    let needed = bytes.div_ceil(HUGE_PAGE);
    let seen = format!("{free} huge pages of 2 MiB are free, packet memory takes {needed}");
    let enough = free >= needed;
    let (level, why) = match wanted.huge_pages {
        _ if enough && wanted.huge_pages != HugePages::Off => return Some(Finding::ok(CHECK, seen)),
        HugePages::Wanted => (
            Level::Warning,
            "the configuration asks for them; without enough of them packet memory is in pages of 4 KiB",
        ),
        HugePages::Auto | HugePages::Off => (
            Level::Advice,
            "in pages of 4 KiB packet memory takes hundreds of times as many entries of the processor's address cache",
        ),
    };
    let mut finding = Finding::new(level, CHECK, seen, why);
    if !enough {
        finding = finding.command(format!("sysctl -w vm.nr_hugepages={}", all + needed - free));
    }
    if wanted.huge_pages == HugePages::Off {
        finding = finding.advice("in the configuration: [memory] huge_pages = \"auto\"");
    }
    Some(finding)
}

fn forwarding(kernel: &Kernel, wanted: &Wanted) -> Option<Finding> {
    const CHECK: &str = "ip-forward";
    Some(match (kernel.ip_forward?, wanted.translates, wanted.passes) {
        (true, true, false) => Finding::new(
            Level::Advice,
            CHECK,
            "net.ipv4.ip_forward is 1",
            "whenever netchannel does not run, the kernel forwards inside hosts' packets untranslated; netchannel needs no help from it",
        )
        .command("sysctl -w net.ipv4.ip_forward=0"),
        (false, _, true) => Finding::new(
            Level::Advice,
            CHECK,
            "net.ipv4.ip_forward is 0",
            "packets that rules send to \"pass\" are dropped by the kernel unless they are for the box itself",
        )
        .command("sysctl -w net.ipv4.ip_forward=1"),
        (is_on, ..) => Finding::ok(CHECK, format!("net.ipv4.ip_forward is {}", u8::from(is_on))),
    })
}

/// Whether the kernel translates too.
pub(super) fn translation(facts: &Facts, wanted: &Wanted) -> Vec<Finding> {
    const CHECK: &str = "kernel-nat";
    const WHY: &str = "packets that netchannel leaves to the kernel, and all of them while it does not run, leave from ports that both give out";
    let mut found = Vec::new();
    let is_ours = |interface: &String| wanted.devices.iter().any(|device| device.name == *interface);
    if facts.translations.legacy {
        found.push(
            Finding::new(Level::Warning, CHECK, "iptables-legacy has a table \"nat\"", WHY)
                .command("iptables-legacy -t nat -F"),
        );
    }
    let Some(rules) = &facts.translations.rules else {
        found.push(Finding::ok(
            CHECK,
            "not checked: there is no `nft` that tells of the kernel's rules",
        ));
        return found;
    };
    let on_ours = rules.iter().filter(|rule| {
        wanted.translates && (rule.interfaces.is_empty() || rule.interfaces.iter().any(is_ours))
    });
    found.extend(on_ours.map(|rule| {
        let whose = match rule.interfaces.is_empty() {
            true => "on all interfaces".to_owned(),
            false => format!("on {}", rule.interfaces.join(", ")),
        };
        let (family, table, chain) = (&rule.family, &rule.table, &rule.chain);
        let seen = format!(
            "the kernel translates {whose}: {} in {family} {table} {chain}",
            rule.kind
        );
        Finding::new(Level::Warning, CHECK, seen, WHY).command(format!(
            "nft delete rule {family} {table} {chain} handle {}",
            rule.handle
        ))
    }));
    if found.is_empty() {
        let tracked = facts.kernel.tracked.unwrap_or(0);
        found.push(Finding::ok(
            CHECK,
            format!("the kernel does not translate on these interfaces; it tracks {tracked} connections"),
        ));
    }
    found
}

fn mebibytes(bytes: u64) -> String {
    match bytes {
        bytes if bytes < 1 << 20 => format!("{} KiB", bytes >> 10),
        bytes => format!("{} MiB", bytes >> 20),
    }
}
