//! The demonstration: three network namespaces, a user-space NAT in the middle one, and real traffic through
//! it.
//!
//! ```text
//! cargo build --release
//! cargo run --release -p netchannel-benches --example demo
//! ```
//!
//! Exit code 0 if everything arrived intact, 1 if not, 2 for wrong arguments, 130 after Ctrl-C.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Parser, ValueEnum};
use netchannel_benches::daemon::Launch;
use netchannel_benches::namespace::{Namespace, sweep};
use netchannel_benches::screen::{Goal, Screen};
use netchannel_benches::subject::{Running, Subject};
use netchannel_benches::table::{Table, scaled};
use netchannel_benches::topology::{BOX_INSIDE, BOX_OUTSIDE, INSIDE, Lab, Options, SERVER};
use netchannel_benches::traffic::http::{HttpServer, Method, parallel};
use netchannel_benches::traffic::ping::{Ping, ping};
use netchannel_benches::traffic::probe::{Hop, traceroute};
use netchannel_benches::traffic::udp::{EchoServer, echo_many};
use netchannel_benches::traffic::{Live, Outcome};
use netchannel_benches::{Error, stop};

/// Prefix of the namespaces' names with `--keep`.
const KEPT_NAMES: &str = "netchannel";
/// Where the daemon's files are with `--keep`.
const KEPT_DIRECTORY: &str = "/run/netchannel-demo";
/// How many lines of the list of mappings are shown.
const MAPPINGS_SHOWN: usize = 8;

const REQUESTS: u64 = 100;
const REQUEST_BYTES: u64 = 256 * 1024;
const SOCKETS: usize = 50;
const ROUNDS: usize = 20;
const PINGS: u16 = 20;

/// Sends real traffic through the NAT in network namespaces, and checks all of it.
#[derive(Debug, Parser)]
struct Arguments {
    /// The netchannel program [default: the one built beside this one]
    #[arg(long, value_name = "PATH")]
    binary: Option<PathBuf>,
    /// What translates in the middle
    #[arg(long, value_enum, default_value_t = Nat::Netchannel)]
    nat: Nat,
    /// Size of the download in millions of bytes
    #[arg(long, value_name = "MB", default_value_t = 200)]
    megabytes: u64,
    /// Leave the namespaces and the NAT running, and say how to enter and to remove them
    #[arg(long)]
    keep: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Nat {
    /// The netchannel daemon, on AF_XDP
    Netchannel,
    /// The kernel's nftables masquerade, to compare
    Kernel,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match demonstrate(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) if matches!(error.downcast_ref(), Some(Error::Interrupted)) => {
            eprintln!("interrupted; everything that was made is removed");
            ExitCode::from(130)
        }
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the demonstration and says whether everything arrived intact.
fn demonstrate(arguments: &Arguments) -> Result<bool> {
    if !nix::unistd::geteuid().is_root() {
        bail!("network namespaces and AF_XDP need root: run it with sudo");
    }
    let subject = subject(arguments)?;
    stop::on_signals()?;
    sweep()?;
    if arguments.keep && Path::new("/run/netns").join(format!("{KEPT_NAMES}-box")).exists() {
        bail!(
            "what an earlier --keep left is still there. Remove it first:\n{}",
            removal()
        );
    }

    let screen = Screen::new();
    print_map(&screen, &subject);
    let names = arguments.keep.then(|| KEPT_NAMES.to_owned());
    let mut lab = Lab::new(&Options {
        names,
        ..Options::default()
    })?;
    let running = subject.start(&lab)?;
    let stages = run_stages(&screen, &lab, arguments.megabytes * 1_000_000)?;
    let intact = stages.iter().all(|stage| stage.good);
    print_summary(&screen, &subject, &running, &stages)?;
    println!();
    if intact {
        println!("  {}: everything arrived intact.", screen.verdict(true));
    } else {
        println!("  {}: not everything arrived intact.", screen.verdict(false));
    }
    if arguments.keep {
        print_commands(&running);
        running.keep();
        lab.keep();
    }
    Ok(intact)
}

fn subject(arguments: &Arguments) -> Result<Subject> {
    if arguments.nat == Nat::Kernel {
        return Ok(Subject::Nftables);
    }
    let binary = match &arguments.binary {
        Some(binary) => binary.clone(),
        None => netchannel_benches::daemon::binary_beside_examples()?,
    };
    let binary = binary.canonicalize().with_context(|| {
        format!(
            "there is no {}: build it with `cargo build --release`",
            binary.display()
        )
    })?;
    let directory = arguments.keep.then(|| PathBuf::from(KEPT_DIRECTORY));
    Ok(Subject::Netchannel(Launch {
        directory,
        ..Launch::new(binary)
    }))
}

/// One kind of traffic and what became of it.
struct Stage {
    name: String,
    outcome: Outcome,
    good: bool,
    /// Whether it is meant to be fast, so that its rate says something.
    bulk: bool,
    remark: String,
}

impl Stage {
    fn new(name: String, outcome: Outcome, remark: String) -> Self {
        Self {
            good: outcome.intact(),
            bulk: name.contains("HTTP"),
            name,
            outcome,
            remark,
        }
    }
}

fn run_stages(screen: &Screen, lab: &Lab, download: u64) -> Result<Vec<Stage>> {
    let web = HttpServer::start(&lab.server, SocketAddr::from((SERVER, 80)))?;
    let echo = EchoServer::start(&lab.server, SocketAddr::from((SERVER, 53)))?;
    let inside = &lab.inside;
    let mut stages = Vec::new();
    let mut finished = |stage: Stage| {
        let why = stage.outcome.first_failure.as_deref().unwrap_or(&stage.remark);
        screen.line(&format!("  {} {}: {why}", screen.verdict(stage.good), stage.name));
        stages.push(stage);
    };

    let name = format!("HTTP download of {} MB", download / 1_000_000);
    let outcome = stage(screen, inside, &name, Goal::Bytes(download), |live| {
        parallel(web.address(), Method::Download, 1, download, live)
    })?;
    let remark = format!("hash right, {}bit/s", scaled(outcome.bits_per_second()));
    finished(Stage::new(name, outcome, remark));

    let name = format!("{REQUESTS} HTTP requests at a time");
    let outcome = stage(screen, inside, &name, Goal::Answers(REQUESTS), |live| {
        parallel(web.address(), Method::Download, REQUESTS, REQUEST_BYTES, live)
    })?;
    let remark = format!("hashes right, {}bit/s", scaled(outcome.bits_per_second()));
    finished(Stage::new(name, outcome, remark));

    let name = format!("UDP echo from {SOCKETS} sockets");
    let outcome = stage(
        screen,
        inside,
        &name,
        Goal::Answers((SOCKETS * ROUNDS) as u64),
        |live| echo_many(Ipv4Addr::UNSPECIFIED, echo.address(), SOCKETS, ROUNDS, live),
    )?;
    let peers = echo.peers();
    let translated = peers.iter().all(|peer| peer.ip() == BOX_OUTSIDE);
    let remark = format!(
        "the server saw {} sources, all of them {BOX_OUTSIDE}",
        peers.len()
    );
    let mut echoed = Stage::new(name, outcome, remark);
    if !translated || peers.len() != SOCKETS {
        echoed.good = false;
        echoed.outcome.first_failure = Some(format!(
            "the server saw these sources, not {SOCKETS} of {BOX_OUTSIDE}: {peers:?}"
        ));
    }
    finished(echoed);

    let name = "ping".to_owned();
    let pinged = stage(screen, inside, &name, Goal::Answers(PINGS.into()), |live| {
        ping(
            SERVER,
            &Ping {
                count: PINGS,
                ..Ping::default()
            },
            live,
        )
    })?;
    let total: Duration = pinged.round_trips.iter().sum();
    let mean = total
        .checked_div(pinged.round_trips.len() as u32)
        .unwrap_or_default();
    finished(Stage::new(
        name,
        pinged.outcome,
        format!("round trip {} us on average", mean.as_micros()),
    ));

    let name = "traceroute".to_owned();
    let hops = stage(screen, inside, &name, Goal::Answers(2), |live| {
        traceroute(SERVER, 5, live)
    })?;
    finished(traced(name, &hops));
    Ok(stages)
}

/// One stage inside a namespace, with its progress on the screen.
fn stage<R: Send>(
    screen: &Screen,
    namespace: &Namespace,
    name: &str,
    goal: Goal,
    work: impl FnOnce(&Live) -> Result<R, Error> + Send,
) -> Result<R> {
    let live = Live::default();
    Ok(screen.watch(name, goal, &live, || namespace.run(|| work(&live)))?)
}

/// The way to the server is right if the box answers first, and the server next.
fn traced(name: String, hops: &[Hop]) -> Stage {
    let from: Vec<_> = hops.iter().map(Hop::from).collect();
    let way: Vec<_> = from
        .iter()
        .map(|from| from.map_or_else(|| "*".to_owned(), |from| from.to_string()))
        .collect();
    let received = from.iter().flatten().count() as u64;
    let elapsed = hops.iter().map(|hop| hop.round_trip).sum();
    let outcome = Outcome {
        sent: hops.len() as u64,
        received,
        elapsed,
        ..Outcome::default()
    };
    let good = from == [Some(BOX_INSIDE), Some(SERVER)];
    Stage {
        name,
        outcome,
        good,
        bulk: false,
        remark: way.join(" > "),
    }
}

fn print_map(screen: &Screen, subject: &Subject) {
    let title = format!("{subject} in three network namespaces");
    screen.line(&format!("{}\n", screen.bold(&title)));
    screen.line(&format!(
        "  inside {INSIDE}  ----  {BOX_INSIDE} box {BOX_OUTSIDE}  ----  server {SERVER}\n"
    ));
}

fn print_summary(screen: &Screen, subject: &Subject, running: &Running<'_>, stages: &[Stage]) -> Result<()> {
    println!("\n{}\n", screen.bold("What was sent, and what came back"));
    let mut table = Table::new(&[
        "traffic",
        "sent",
        "came back",
        "damaged",
        "bytes",
        "seconds",
        "bit/s",
    ]);
    for Stage {
        name, outcome, bulk, ..
    } in stages
    {
        table.row([
            name.clone(),
            outcome.sent.to_string(),
            outcome.received.to_string(),
            outcome.damaged.to_string(),
            format!("{}B", scaled(outcome.bytes as f64)),
            format!("{:.3}", outcome.elapsed.as_secs_f64()),
            if *bulk {
                scaled(outcome.bits_per_second())
            } else {
                "-".to_owned()
            },
        ]);
    }
    print!("{table}");
    let Some(daemon) = running.daemon() else {
        println!("\n  ({subject}: no ports, drops or mappings to show)");
        return Ok(());
    };
    for (title, what, most) in [
        ("Ports", "ports", usize::MAX),
        ("Drops by reason", "drops", usize::MAX),
        ("Mappings", "mappings", MAPPINGS_SHOWN),
    ] {
        println!("\n{}\n", screen.bold(title));
        let text = daemon.show_text(what)?;
        for line in text.lines().take(most) {
            println!("  {line}");
        }
        let more = text.lines().count().saturating_sub(most);
        if more > 0 {
            println!("  ... and {more} lines more");
        }
    }
    Ok(())
}

/// The commands that remove what `--keep` leaves.
fn removal() -> String {
    format!(
        "  ip netns pids {KEPT_NAMES}-box | xargs -r kill\n  \
           for n in inside box server; do ip netns del {KEPT_NAMES}-$n; done\n  \
           rm -rf {KEPT_DIRECTORY}"
    )
}

fn print_commands(running: &Running<'_>) {
    println!("\nThe namespaces stay. To enter them:\n");
    for name in ["inside", "box", "server"] {
        println!("  ip netns exec {KEPT_NAMES}-{name} bash");
    }
    println!("\nTo try something:\n\n  ip netns exec {KEPT_NAMES}-inside ping {SERVER}");
    if let Some(daemon) = running.daemon() {
        println!("  {}", daemon.show_command_line("mappings"));
    }
    println!("\nTo remove them:\n\n{}", removal());
}
