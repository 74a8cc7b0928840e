//! One device: whether packets of it come to sockets whole, and in which mode.

use crate::config::{Role, XdpMode};
use crate::daemon;
use crate::doctor::facts::{Device, Facts, LinkState};
use crate::doctor::finding::{Finding, Level};
use crate::doctor::wanted::WantedDevice;
use crate::network::ethtool::Offload;

/// The first version of Linux whose AF_XDP sockets take packets that don't fit in one frame.
const TAKES_LONG_PACKETS: (u32, u32) = (6, 6);

pub(super) fn absent() -> Finding {
    Finding::new(
        Level::Problem,
        "link",
        "there is no such interface",
        "netchannel does not start without it",
    )
    .advice("`ip link` lists those that there are; correct the configuration")
}

pub(super) fn check(device: &Device, link: &LinkState, wanted: &WantedDevice, facts: &Facts) -> Vec<Finding> {
    let mut found = vec![
        up(device, link),
        program(device),
        mtu(device, link, facts),
        offloads(device),
    ];
    if link.veth {
        found.push(checksums(link));
    }
    found.extend(reverse_path(device, wanted, facts));
    found
}

fn up(device: &Device, link: &LinkState) -> Finding {
    let driver = device.driver.as_deref().unwrap_or("unknown");
    match link.up {
        true => Finding::ok("link", format!("up, driver {driver}")),
        false => Finding::new(
            Level::Warning,
            "link",
            format!("down, driver {driver}"),
            "no packet comes or goes",
        )
        .command(format!("ip link set dev {} up", device.name)),
    }
}

fn program(device: &Device) -> Finding {
    const CHECK: &str = "xdp-program";
    match &device.program {
        None => Finding::ok(CHECK, "no XDP program is on it"),
        Some(program) if program.own => Finding::ok(CHECK, "netchannel's own XDP program is on it"),
        Some(program) => Finding::new(
            Level::Problem,
            CHECK,
            format!("another XDP program is on it: {}", program.description),
            "an interface has one XDP program: netchannel does not start",
        )
        .command(format!("ip link set dev {} xdp off", device.name))
        .advice("if that is refused, a process holds it by a link: `bpftool link` tells which; end that"),
    }
}

fn mtu(device: &Device, link: &LinkState, facts: &Facts) -> Finding {
    const CHECK: &str = "mtu";
    let mtu = link.mtu;
    let of_one_frame = daemon::mtu_of_one_frame();
    let takes_long = facts
        .kernel
        .version()
        .is_none_or(|version| version >= TAKES_LONG_PACKETS);
    let longest = if takes_long {
        daemon::largest_mtu()
    } else {
        of_one_frame
    };
    if mtu > longest {
        let finding = Finding::new(
            Level::Problem,
            CHECK,
            format!("the MTU is {mtu} bytes, more than the {longest} that are served"),
            "longer packets would be lost: netchannel does not start",
        );
        let newer = match takes_long {
            true => String::new(),
            false => format!("; Linux 6.6 or later serves up to {}", daemon::largest_mtu()),
        };
        return finding
            .command(format!("ip link set dev {} mtu {longest}", device.name))
            .advice(format!("set it so on all hosts of the link{newer}"));
    }
    if mtu > of_one_frame {
        let text =
            format!("the MTU is {mtu} bytes: packets over {of_one_frame} take several frames, and copies");
        return Finding::ok(CHECK, text);
    }
    Finding::ok(
        CHECK,
        format!("the MTU is {mtu} bytes, frames carry {of_one_frame}"),
    )
}

fn offloads(device: &Device) -> Finding {
    const CHECK: &str = "offloads";
    // Each with the words by which ethtool turns off all that it is made of.
    const IN_THE_WAY: [(Offload, &str, &str); 2] = [
        (
            Offload::ReceiveVlan,
            "receive VLAN offload",
            "rxvlan off rx-vlan-stag-hw-parse off",
        ),
        (
            Offload::ReceiveMerging,
            "receive merging (LRO, hardware GRO)",
            "lro off rx-gro-hw off",
        ),
    ];
    let on = IN_THE_WAY
        .iter()
        .filter(|(offload, ..)| device.offloads.contains(offload));
    let (names, words): (Vec<&str>, Vec<&str>) = on.map(|(_, name, words)| (*name, *words)).unzip();
    if names.is_empty() {
        return Finding::ok(CHECK, "nothing hides tags or merges packets");
    }
    Finding::new(
        Level::Advice,
        CHECK,
        format!("{} is on", names.join(" and ")),
        "it takes tags out of packets or makes one of several; netchannel turns it off when it starts, which resets some cards' links",
    )
    .command(format!("ethtool -K {} {}", device.name, words.join(" ")))
}

fn checksums(link: &LinkState) -> Finding {
    const CHECK: &str = "peer-checksums";
    match &link.peer {
        None => Finding::ok(
            CHECK,
            "the other end is in another network namespace, where it can't be seen; `ethtool -K ... tx off` there",
        ),
        Some(peer) if link.peer_leaves_checksums => Finding::new(
            Level::Advice,
            CHECK,
            format!("{peer}, the other end, leaves checksums to this one"),
            "netchannel has to look at all of a packet to complete them",
        )
        .command(format!("ethtool -K {peer} tx off")),
        Some(peer) => Finding::ok(CHECK, format!("{peer}, the other end, completes its checksums")),
    }
}

fn reverse_path(device: &Device, wanted: &WantedDevice, facts: &Facts) -> Option<Finding> {
    const CHECK: &str = "rp-filter";
    let mode = device.rp_filter?.max(facts.kernel.rp_filter.unwrap_or(0));
    Some(match (mode, wanted.role) {
        (1, Role::Outside) => Finding::new(
            Level::Advice,
            CHECK,
            "strict reverse path filtering",
            "of the packets that are left to the kernel, it drops those whose answers would leave by another interface",
        )
        .command(format!("sysctl -w net.ipv4.conf.{}.rp_filter=2", device.name.replace('.', "/"))),
        (1, Role::Inside) => Finding::ok(CHECK, "strict reverse path filtering, for what is left to the kernel"),
        (2, _) => Finding::ok(CHECK, "loose reverse path filtering"),
        _ => Finding::ok(CHECK, "no reverse path filtering"),
    })
}

/// Whether the program is to run behind the driver.
pub(super) fn is_generic(wanted: &WantedDevice) -> bool {
    wanted.mode == XdpMode::Generic
}
