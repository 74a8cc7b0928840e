//! What a driver can do with XDP, against what is asked of it.

use crate::config::{XdpMode, ZeroCopy};
use crate::doctor::facts::{Device, LinkState};
use crate::doctor::finding::{Finding, Level};
use crate::doctor::wanted::{Wanted, WantedDevice};
use crate::network::xdp_features::NDO_XMIT;

/// Bits of the kernel's `enum netdev_xdp_act`: programs run in the driver; sockets share frames with it.
const BASIC: u64 = 1;
const ZERO_COPY: u64 = 1 << 3;

pub(super) fn check(device: &Device, link: &LinkState, wanted: &Wanted, plan: &WantedDevice) -> Vec<Finding> {
    let Some(features) = device.xdp_features else {
        return Vec::new();
    };
    let mut found = vec![
        mode(features & BASIC != 0, plan),
        zero_copy(features & ZERO_COPY != 0, plan),
    ];
    found.extend(target(features & NDO_XMIT != 0, device, link, wanted));
    found
}

fn mode(is_native: bool, plan: &WantedDevice) -> Finding {
    const CHECK: &str = "xdp-mode";
    match (is_native, plan.mode) {
        (true, XdpMode::Auto | XdpMode::Native) => Finding::ok(CHECK, "the program runs in the driver"),
        (true, XdpMode::Generic) => Finding::new(
            Level::Advice,
            CHECK,
            "the driver could run the program, but the configuration asks for generic mode",
            "generic mode runs behind the driver and copies each packet once more",
        )
        .advice("in the configuration: mode = \"auto\""),
        (false, XdpMode::Native) => Finding::new(
            Level::Problem,
            CHECK,
            "the driver has no XDP, and the configuration asks for native mode",
            "netchannel does not start",
        )
        .advice("in the configuration: mode = \"auto\", or another card"),
        (false, _) => Finding::new(
            Level::Warning,
            CHECK,
            "the driver has no XDP: the program runs behind it, in generic mode",
            "generic mode takes several times as long for each packet",
        )
        .advice("serve the device below it, if there is one, or use another card"),
    }
}

fn zero_copy(can: bool, plan: &WantedDevice) -> Finding {
    const CHECK: &str = "zero-copy";
    match (can, plan.zero_copy) {
        (true, ZeroCopy::Off) => Finding::new(
            Level::Advice,
            CHECK,
            "the driver could share packet memory, but the configuration has the kernel copy",
            "each packet is copied once a direction",
        )
        .advice("in the configuration: zero_copy = \"auto\""),
        (true, _) => Finding::ok(CHECK, "the driver reads and writes packet memory itself"),
        (false, ZeroCopy::On) => Finding::new(
            Level::Problem,
            CHECK,
            "the driver can't share packet memory, and the configuration asks for it",
            "netchannel does not start",
        )
        .advice("in the configuration: zero_copy = \"auto\""),
        (false, _) => Finding::ok(
            CHECK,
            "the kernel copies each packet: the driver has no zero-copy",
        ),
    }
}

/// Drivers of cards take redirected frames once they have a program, which netchannel gives them. A veth looks at its peer.
fn target(can: bool, device: &Device, link: &LinkState, wanted: &Wanted) -> Option<Finding> {
    const CHECK: &str = "redirect-target";
    let is_running = device.program.as_ref().is_some_and(|program| program.own);
    if !wanted.offload || !(link.veth || is_running) {
        return None;
    }
    if can {
        return Some(Finding::ok(CHECK, "the XDP program can send frames by it"));
    }
    let finding = Finding::new(
        Level::Warning,
        CHECK,
        "the XDP program can't send frames by it",
        "no flow that leaves by it is offloaded: each of its packets goes through user space",
    );
    Some(match (&link.peer, link.veth) {
        (Some(peer), _) => finding.command(format!("ethtool -K {peer} gro on")),
        (None, true) => {
            finding.advice("where the other end is, in its network namespace: `ethtool -K ... gro on`")
        }
        (None, false) => finding
            .advice("the driver does not know how: use another card, or [flow_table] offload = \"off\""),
    })
}
