//! A laboratory with the daemon at work in its box, and what all tests do with it.

use std::collections::HashSet;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process::{Command, Stdio};
use std::sync::Once;
use std::thread;
use std::time::Duration;

use netchannel::control::report::{Channel, Channels, Drops, Mapping, Mappings, Port, Ports};
use netchannel_benches::daemon::{Daemon, Launch};
use netchannel_benches::namespace::{Namespace, sweep};
use netchannel_benches::service::PATIENCE;
use netchannel_benches::stop::wait_until;
use netchannel_benches::topology::{BOX_OUTSIDE, INSIDE, INSIDE_NETWORK, Lab, Options, SERVER};
use netchannel_benches::traffic::http::{HttpServer, Method, parallel};
use netchannel_benches::traffic::ping::{Ping, ping};
use netchannel_benches::traffic::udp::{EchoServer, echo_many};
use netchannel_benches::traffic::{Live, Outcome};
use nix::sys::signal::Signal;
use serde::de::DeserializeOwned;

/// The interfaces, control socket and translator of most tests; rules and more channels are added to it.
pub(crate) const TRANSLATOR: &str = r#"
[control]
socket = "{socket}"

[[interface]]
name = "lan"
role = "inside"

[[interface]]
name = "wan"
role = "outside"

[[channel]]
name = "internet"
type = "nat"
external = "wan"
"#;

/// External ports of a translator that is told nothing else.
pub(crate) const EXTERNAL_PORTS: std::ops::RangeInclusive<u16> = 1024..=32_767;

/// A rule that sends all that comes from inside to the translator.
pub(crate) const TRANSLATE_ALL: &str = r#"
[[rule]]
from = "10.77.0.0/24"
channel = "internet"
"#;

/// Waits for something that is about to happen.
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let condition = || Ok(condition().then_some(()));
    wait_until(what, PATIENCE, condition).expect("it happens");
}

/// What `work` gives inside a namespace. Sockets made there stay there, wherever they are used.
pub(crate) fn at<T: Send>(namespace: &Namespace, work: impl FnOnce() -> T + Send) -> T {
    namespace
        .run(|| Ok(work()))
        .expect("the namespace can be entered")
}

/// A launch of the binary under test.
pub(crate) fn launch(configuration: &str) -> Launch {
    Launch::with_configuration(env!("CARGO_BIN_EXE_netchannel"), configuration)
}

/// A laboratory without a daemon. The box has talked to both ends: no packet has to wait for an Ethernet address unless
/// a test wants it.
pub(crate) fn lab(options: &Options) -> Lab {
    static SWEPT: Once = Once::new();
    // What killed runs left is no reason to fail.
    SWEPT.call_once(|| drop(sweep()));
    let lab = Lab::new(options).expect("root, ip and ethtool");
    for end in [INSIDE, SERVER] {
        eventually("an echo reply", || reaches(&lab.middle, end));
    }
    lab
}

/// A laboratory whose box knows no way to the rest of the world.
pub(crate) fn secluded() -> Lab {
    let lab = lab(&Options::default());
    lab.middle.ip("route del default").expect("it has one");
    lab
}

/// Whether `target` answers an echo request from `namespace` in the time that this takes when it does: to be repeated
/// until it does, or for what does not answer, however long one waits.
pub(crate) fn reaches(namespace: &Namespace, target: Ipv4Addr) -> bool {
    answers(namespace, target, Duration::from_secs(1))
}

/// Checks that `target` answers the first echo request from `namespace`.
pub(crate) fn check_echo(namespace: &Namespace, target: Ipv4Addr) {
    assert!(answers(namespace, target, ON_ITS_WAY), "{target} does not answer");
}

fn answers(namespace: &Namespace, target: Ipv4Addr, limit: Duration) -> bool {
    let one = Ping {
        count: 1,
        limit,
        ..Ping::default()
    };
    // A host without a route is told by the socket.
    let answer = namespace.run(|| ping(target, &one, &Live::default()));
    answer.is_ok_and(|answer| answer.outcome.intact())
}

/// Whether an XDP program is attached to an interface of the box.
pub(crate) fn has_program(lab: &Lab, interface: &str) -> bool {
    let link = lab.middle.ip(&format!("-d link show dev {interface}"));
    link.expect("the interface is there").contains("prog/xdp")
}

/// Lets the server send to the inside host without a translator.
pub(crate) fn let_the_server_answer_inside(lab: &Lab) {
    lab.server
        .ip(&format!("route add {INSIDE_NETWORK} via {BOX_OUTSIDE}"))
        .expect("a route");
}

/// Lets the kernel of the box forward between inside and server, untranslated.
pub(crate) fn let_the_kernel_forward(lab: &Lab) {
    lab.middle
        .set_parameter("ipv4/ip_forward", "1")
        .expect("a parameter");
    let_the_server_answer_inside(lab);
}

/// UDP from some sockets inside to the server and back.
pub(crate) fn exchange_udp(lab: &Lab, target: SocketAddr, sockets: usize, rounds: usize) -> Outcome {
    let live = Live::default();
    let echoed = lab
        .inside
        .run(|| echo_many(INSIDE, target, sockets, rounds, &live));
    echoed.expect("sockets")
}

/// Downloads and uploads through the box, checked by their hashes.
pub(crate) fn check_tcp(lab: &Lab, connections: u64, length: u64) {
    let server = HttpServer::start(&lab.server, (SERVER, 0).into()).expect("a port");
    for method in [Method::Download, Method::Upload] {
        let live = Live::default();
        let transfers = || parallel(server.address(), method, connections, length, &live);
        let outcome = lab.inside.run(transfers).expect("no signal");
        assert!(outcome.intact(), "{method:?}: {outcome:?}");
    }
}

/// UDP and TCP through the box, a little of each.
pub(crate) fn check_traffic(lab: &Lab) {
    let echo = EchoServer::start(&lab.server, (SERVER, 0).into()).expect("a port");
    let outcome = exchange_udp(lab, echo.address(), 5, 2);
    assert!(outcome.intact(), "{outcome:?}");
    check_tcp(lab, 2, 100_000);
}

/// A laboratory with the daemon at work in its box.
pub(crate) struct Site {
    // Dropped in this order.
    pub(crate) daemon: Daemon,
    pub(crate) lab: Lab,
}

impl Site {
    /// The standard laboratory with a translator for all that comes from inside.
    pub(crate) fn new() -> Self {
        Self::with(&Options::default())
    }

    /// Another laboratory with that translator.
    pub(crate) fn with(options: &Options) -> Self {
        Self::on(lab(options), &[TRANSLATOR, TRANSLATE_ALL].concat())
    }

    /// A laboratory that stands already, with a configuration of one's own.
    pub(crate) fn on(lab: Lab, configuration: &str) -> Self {
        let daemon = Daemon::start(&lab.middle, &launch(configuration)).expect("it gets ready");
        Self { daemon, lab }
    }

    fn show<T: DeserializeOwned>(&self, what: &str) -> T {
        let report = self.daemon.show(what).expect("the daemon answers");
        serde_json::from_value(report).expect("the report's own fields")
    }

    /// What `netchannel show` says with these words, `--socket` besides.
    pub(crate) fn show_with<T: DeserializeOwned>(&self, words: &str) -> T {
        self.json(&format!("show {words} -j"))
    }

    /// The command under test with these words and this daemon's socket.
    pub(crate) fn command(&self, words: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_netchannel"));
        command.args(words.split_whitespace()).stdin(Stdio::null());
        command.arg("--socket").arg(self.daemon.socket());
        command
    }

    /// Runs the command with these words, as one would type it: its exit code, what it printed, and what it complained about.
    pub(crate) fn run(&self, words: &str) -> (i32, String, String) {
        let output = self.command(words).output().expect("it runs");
        let text = |bytes| String::from_utf8(bytes).expect("text");
        let code = output.status.code().expect("an exit code");
        (code, text(output.stdout), text(output.stderr))
    }

    /// What the command prints with these words, with which it must succeed.
    pub(crate) fn out(&self, words: &str) -> String {
        let (code, out, err) = self.run(words);
        assert_eq!((code, err.as_str()), (0, ""), "{words}");
        out
    }

    /// The same, read as JSON.
    pub(crate) fn json<T: DeserializeOwned>(&self, words: &str) -> T {
        let out = self.out(words);
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"))
    }

    /// A UDP socket of the inside host, at this port.
    pub(crate) fn inside_socket(&self, port: u16) -> UdpSocket {
        let bind = || UdpSocket::bind((INSIDE, port)).expect("a free port");
        let socket = at(&self.lab.inside, bind);
        socket.set_read_timeout(Some(ON_ITS_WAY)).expect("a timeout");
        socket
    }

    pub(crate) fn drops(&self) -> Drops {
        self.show("drops")
    }

    /// Packets dropped for a reason.
    pub(crate) fn dropped(&self, reason: &str) -> u64 {
        let drops = self.drops();
        let found = drops.reasons.iter().find(|drop| drop.reason == reason);
        found.map_or(0, |drop| drop.packets)
    }

    /// Waits until as many packets were dropped for a reason, and no more.
    pub(crate) fn wait_for_drops(&self, reason: &str, packets: u64) {
        let what = format!("{packets} drops: {reason}");
        eventually(&what, || self.dropped(reason) >= packets);
        assert_eq!(self.dropped(reason), packets, "{reason}: {:?}", self.drops());
    }

    pub(crate) fn ports(&self) -> Ports {
        self.show("ports")
    }

    pub(crate) fn port(&self, interface: &str) -> Port {
        let ports = self.ports().ports;
        let mut ports = ports.into_iter().filter(|port| port.interface == interface);
        ports.next().expect("an interface of the configuration")
    }

    /// One of the XDP program's counters.
    pub(crate) fn verdict(&self, name: &str) -> u64 {
        let verdicts = self.ports().verdicts;
        let verdict = verdicts.iter().find(|verdict| verdict.name == name);
        verdict.expect("a counter of the XDP program").packets
    }

    pub(crate) fn channel(&self, name: &str) -> Channel {
        let channels: Channels = self.show("channels");
        let mut channels = channels
            .channels
            .into_iter()
            .filter(|channel| channel.name == name);
        channels.next().expect("a channel of the configuration")
    }

    pub(crate) fn mappings(&self) -> Vec<Mapping> {
        self.show::<Mappings>("mappings").mappings
    }

    /// The external endpoints of a protocol's mappings.
    pub(crate) fn external(&self, protocol: &str) -> HashSet<SocketAddr> {
        let mappings = self.mappings();
        let of_protocol = mappings.iter().filter(|mapping| mapping.protocol == protocol);
        of_protocol
            .map(|mapping| mapping.external.parse().expect("an endpoint"))
            .collect()
    }

    /// Checks that no packet is unaccounted for and nothing was misused, stops the daemon, and checks that it
    /// ends well.
    pub(crate) fn finish(mut self) {
        let drops = self.drops();
        let gone = drops.transmitted + drops.passed + drops.held + drops.dropped();
        assert_eq!(drops.received + drops.originated, gone, "{drops:?}");
        assert_eq!(drops.consumed, 0, "{drops:?}");
        for port in self.ports().ports {
            let defects = (port.kernel.refused_by_kernel, port.kernel.invalid);
            assert_eq!(defects, (0, 0), "{port:?}");
        }
        self.stop(Signal::SIGTERM);
    }

    /// Stops the daemon by a signal and checks that it ends well and leaves nothing.
    pub(crate) fn stop(&mut self, signal: Signal) {
        let process = self.daemon.process();
        process.signal(signal).expect("it runs");
        let status = process.wait(PATIENCE).expect("it ends");
        assert_eq!(status.code(), Some(0), "{}", self.daemon.log());
        assert!(!self.daemon.log().contains("panicked"), "{}", self.daemon.log());
        assert!(!self.daemon.socket().exists());
        for interface in ["lan", "wan"] {
            eventually("the XDP program is gone", || !has_program(&self.lab, interface));
        }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("The daemon wrote:\n{}", self.daemon.log());
            for report in ["drops", "ports"].map(|what| self.daemon.show_text(what)) {
                eprintln!("{}", report.unwrap_or_default());
            }
            // The second column counts what the kernel's queues dropped, for all namespaces: a machine under load
            // from elsewhere loses packets.
            let queues = fs::read_to_string("/proc/net/softnet_stat");
            eprintln!("/proc/net/softnet_stat:\n{}", queues.unwrap_or_default());
        }
    }
}

/// How long a socket waits for what is on its way.
pub(crate) const ON_ITS_WAY: Duration = Duration::from_secs(30);
