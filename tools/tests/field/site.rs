//! Two inside hosts on links of their own, the box, a router outside, and a far host behind it that has two addresses.
//!
//! ```text
//!  inside 10.77.0.2 ──── lan  ┐
//!                             ├ box 198.51.100.1 ──── 198.51.100.2 router 203.0.113.1 ──── far 203.0.113.2, .3
//!  other  10.78.0.2 ──── lan2 ┘
//! ```

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::thread;

use netchannel::control::report::Drops;
use netchannel_benches::daemon::{Daemon, Launch};
use netchannel_benches::namespace::{Namespace, scratch_directory, sweep};
use netchannel_benches::service::PATIENCE;
use netchannel_benches::stop::wait_until;
use netchannel_benches::topology::{Lab, Options};
use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::program::Program;

/// The addresses of the hosts, as words of a command line.
pub(crate) const INSIDE: &str = "10.77.0.2";
pub(crate) const OTHER: &str = "10.78.0.2";
pub(crate) const BOX_INSIDE: &str = "10.77.0.1";
pub(crate) const EXTERNAL: &str = "198.51.100.1";
pub(crate) const ROUTER: &str = "198.51.100.2";
pub(crate) const FAR: &str = "203.0.113.2";
pub(crate) const FAR_SECOND: &str = "203.0.113.3";
/// An address that the router sends to the box, for one inside host alone.
pub(crate) const OWN: &str = "198.51.100.32";

/// The configuration; what a test adds to the translator takes the place of `{more}`.
const CONFIGURATION: &str = r#"
[control]
socket = "{socket}"

[[interface]]
name = "lan"
role = "inside"

[[interface]]
name = "lan2"
role = "inside"

[[interface]]
name = "wan"
role = "outside"

[[channel]]
name = "internet"
type = "nat"
external = "wan"
{more}

[[rule]]
from = ["10.77.0.0/24", "10.78.0.0/24"]
channel = "internet"
"#;

/// Packets with an inside host's address, and ICMP errors about such packets.
const PRIVATE: &str = "net 10.77.0.0/16 or net 10.78.0.0/16 or ((icmp[0] = 3 or icmp[0] = 11) and \
                       (icmp[20:2] = 0x0a4d or icmp[20:2] = 0x0a4e or icmp[24:2] = 0x0a4d or icmp[24:2] = 0x0a4e))";

/// Marks the packet after which nothing more is to be seen on the wire: an otherwise unused traffic class.
const LAST: &str = "0x44";

pub(crate) struct Site {
    // Dropped in this order.
    wire: Program,
    daemon: Daemon,
    pub(crate) lab: Lab,
    pub(crate) other: Namespace,
    directory: TempDir,
}

impl Site {
    /// The site with the daemon at work. `more` is more for the translator: keys, then tables.
    pub(crate) fn new(more: &str) -> Self {
        Self::with_far_mtu(1500, more)
    }

    /// As [`Site::new`], with another MTU on the link to the far host.
    pub(crate) fn with_far_mtu(mtu: u32, more: &str) -> Self {
        static SWEPT: Once = Once::new();
        // What killed runs left is no reason to fail.
        SWEPT.call_once(|| drop(sweep()));
        let options = Options {
            far_mtu: Some(mtu),
            ..Options::default()
        };
        let lab = Lab::new(&options).expect("root, ip and ethtool");
        let other = Namespace::new("other").expect("a namespace");
        complete(&lab, &other);
        let directory = scratch_directory().expect("a directory");
        let outside = format!("tcpdump -i eth0 -nlt --immediate-mode {PRIVATE} or ip[1] = {LAST}");
        let mut wire = Program::start(&lab.server, &outside, &directory.path().join("wire.log"));
        wire.wait_for("listening on eth0");
        let configuration = CONFIGURATION.replace("{more}", more);
        let launch = Launch::with_configuration(env!("CARGO_BIN_EXE_netchannel"), configuration);
        Self {
            daemon: Daemon::start(&lab.middle, &launch).expect("it gets ready"),
            wire,
            lab,
            other,
            directory,
        }
    }

    pub(crate) fn far(&self) -> &Namespace {
        self.lab.far.as_ref().expect("a laboratory with a far host")
    }

    /// A path in a directory that is gone after the test.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A new directory that every user may read, with a file `content` of some million bytes that no two tests share, which are
    /// returned.
    pub(crate) fn directory_with_content(&self, name: &str) -> (PathBuf, Vec<u8>) {
        let directory = self.path(name);
        fs::create_dir(&directory).expect("a new directory");
        let mut state = u64::from(std::process::id()) << 8 | name.len() as u64;
        let words = (0..400_000).flat_map(|_| {
            // The generator of Knuth's MMIX.
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            state.to_be_bytes()
        });
        let content: Vec<u8> = words.collect();
        fs::write(directory.join("content"), &content).expect("room for a file");
        (directory, content)
    }

    /// Starts a program; its log has `name`.
    pub(crate) fn start(&self, namespace: &Namespace, name: &str, line: &str) -> Program {
        Program::start(namespace, line, &self.path(&format!("{name}.log")))
    }

    /// Packets that the box dropped for a reason.
    pub(crate) fn dropped(&self, reason: &str) -> u64 {
        let drops: Drops = serde_json::from_value(self.daemon.show("drops").expect("the daemon answers"))
            .expect("the report's own fields");
        let found = drops.reasons.iter().find(|drop| drop.reason == reason);
        found.map_or(0, |drop| drop.packets)
    }

    /// Waits until the box dropped a packet for a reason.
    pub(crate) fn wait_for_drop(&self, reason: &str) {
        let dropped = || Ok((self.dropped(reason) > 0).then_some(()));
        wait_until(reason, PATIENCE, dropped).expect("a drop");
    }

    /// Checks that no private address was seen on the wire outside, and that the daemon ends well.
    pub(crate) fn finish(mut self) {
        run(&self.lab.server, &format!("ping -c 1 -Q {LAST} {EXTERNAL}"));
        self.wire
            .wait_until("the last packet", |said| said.contains("ICMP echo request"));
        let packets = self.wire.said();
        let mut packets = packets.lines().filter(|line| line.starts_with("IP "));
        let last = format!("IP {ROUTER} > {EXTERNAL}: ICMP echo request");
        let answer = format!("IP {EXTERNAL} > {ROUTER}: ICMP echo reply");
        let private = packets.find(|packet| !packet.starts_with(&last) && !packet.starts_with(&answer));
        assert_eq!(private, None, "a private address was seen outside");
        let process = self.daemon.process();
        process.signal(Signal::SIGTERM).expect("it runs");
        let status = process.wait(PATIENCE).expect("it ends");
        assert_eq!(status.code(), Some(0), "{}", self.daemon.log());
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("The daemon wrote:\n{}", self.daemon.log());
            eprintln!("{}", self.daemon.show_text("drops").unwrap_or_default());
            eprintln!("On the wire outside:\n{}", self.wire.said());
        }
    }
}

/// The second inside host, and the routes and addresses that the standard laboratory does not have.
fn complete(lab: &Lab, other: &Namespace) {
    let far = lab.far.as_ref().expect("a laboratory with a far host");
    let setup = [
        (
            other,
            format!(
                "link add eth0 type veth peer name lan2 netns {}",
                lab.middle.name()
            ),
        ),
        (&lab.middle, "link set lan2 up".to_owned()),
        (&lab.middle, "addr add 10.78.0.1/24 dev lan2".to_owned()),
        (other, "link set eth0 up".to_owned()),
        (other, format!("addr add {OTHER}/24 dev eth0")),
        (other, "route add default via 10.78.0.1".to_owned()),
        (&lab.server, format!("route add {OWN} via {EXTERNAL}")),
        (far, format!("addr add {FAR_SECOND}/24 dev eth0")),
    ];
    for (namespace, arguments) in setup {
        namespace.ip(&arguments).expect("root and ip");
    }
    run(
        other,
        "ethtool -K eth0 tx off tso off gso off tx-vlan-hw-insert off",
    );
}

/// Runs a program to its end and gives what it says; it has a minute.
pub(crate) fn run(namespace: &Namespace, line: &str) -> String {
    let said = namespace.command(&format!("timeout 60 {line}"));
    said.unwrap_or_else(|error| panic!("{error}"))
}

/// Whether a program says that it failed; it has a minute.
pub(crate) fn fails(namespace: &Namespace, line: &str) -> bool {
    namespace.command(&format!("timeout 60 {line}")).is_err()
}

/// A path as a word of a command line.
pub(crate) fn word(path: &Path) -> &str {
    path.to_str().expect("a path without strange characters")
}
