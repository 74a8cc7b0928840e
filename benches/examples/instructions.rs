//! Instructions that a packet takes in the dispatcher and its channel, counted by callgrind: the same on every machine and in every run, but for
//! the compiler.
//!
//! ```text
//! cargo run --release -p netchannel-benches --example instructions
//! ```

#[path = "../benches/memory_box/mod.rs"]
mod memory_box;

use std::net::Ipv4Addr;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Parser, ValueEnum};
use memory_box::{Bench, INSIDE, Sender};
use netchannel::channel::nat::{Nat, NatSettings};
use netchannel::channel::{Forward, Netchannel};
use netchannel::dispatch::BURST;
use netchannel::time::Time;
use netchannel_benches::table::Table;

/// What is counted: the dispatcher's work on bursts, without the wires in front of it and behind it.
const COUNTED: &str = "--toggle-collect=*Dispatcher::poll*";
/// Bursts of a short and a long run; what they differ by is counted.
const BURSTS: [usize; 2] = [256, 768];
/// Known flows: fewer bursts than the short run has.
const FLOWS: usize = 64 * BURST;

/// Counts instructions a packet.
#[derive(Debug, Parser)]
struct Arguments {
    /// Carry so many bursts, for callgrind to count; else it is started for each case
    #[arg(long, requires_all = ["channel", "flows"])]
    bursts: Option<usize>,
    /// The channel
    #[arg(long)]
    channel: Option<Channel>,
    /// Whose packets
    #[arg(long)]
    flows: Option<Flows>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Channel {
    Forward,
    Nat,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Flows {
    Known,
    New,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if let (Some(bursts), Some(channel), Some(flows)) = (arguments.bursts, arguments.channel, arguments.flows)
    {
        carry(channel, flows, bursts);
        return Ok(());
    }
    let mut table = Table::new(&["instructions a packet", "known flows", "new flows"]);
    for channel in Channel::value_variants() {
        let mut cells = vec![name(channel)];
        for flows in Flows::value_variants() {
            let [short, long] = BURSTS.map(|bursts| count(*channel, *flows, bursts));
            let packets = (BURSTS[1] - BURSTS[0]) * BURST;
            cells.push(((long? - short?) / packets as u64).to_string());
        }
        table.row(cells);
    }
    println!("{table}");
    Ok(())
}

fn name(value: &impl ValueEnum) -> String {
    let name = value.to_possible_value().map(|value| value.get_name().to_owned());
    name.unwrap_or_default()
}

/// Runs this program under callgrind, and returns the instructions that it counted.
fn count(channel: Channel, flows: Flows, bursts: usize) -> Result<u64> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", COUNTED])
        .arg(std::env::current_exe()?)
        .args(["--channel", &name(&channel), "--flows", &name(&flows)])
        .args(["--bursts", &bursts.to_string()])
        .output()
        .context("valgrind does not start: install it, apt-get install valgrind")?;
    let text = String::from_utf8_lossy(&output.stderr);
    let collected = text.lines().find_map(|line| line.split("Collected :").nth(1));
    let Some(collected) = collected.filter(|_| output.status.success()) else {
        bail!("valgrind says:\n{text}");
    };
    Ok(collected.trim().parse()?)
}

fn carry(channel: Channel, flows: Flows, bursts: usize) {
    let channel: Box<dyn Netchannel> = match channel {
        Channel::Forward => Box::new(Forward),
        Channel::Nat => {
            let external = (0..4).map(|number| Ipv4Addr::new(198, 51, 100, 7 + number));
            Box::new(Nat::new(NatSettings::new(external.collect())).expect("settings that can be used"))
        }
    };
    let mut bench = Bench::new(channel, 262_144, |_, _| {});
    let distinct = match flows {
        Flows::Known => FLOWS,
        Flows::New => bursts * BURST,
    };
    let senders: Vec<Sender> = (0..distinct as u32)
        .map(|number| {
            let host = Ipv4Addr::from_bits(INSIDE.to_bits() + number / 1024);
            Sender::new((host, 1024 + (number % 1024) as u16))
        })
        .collect();
    let mut now = Time::from_secs(1);
    for burst in senders.chunks(BURST).cycle().take(bursts) {
        now = now + Duration::from_micros(64);
        bench.carry_from(burst, now);
    }
}
