//! Measuring one subject.

use std::collections::BTreeMap;
use std::time::Duration;

use netchannel_benches::bpf::Load;
use netchannel_benches::measure::{
    Packets, Prober, Sender, Times, packets, prepare_packets, prepare_sockets, tcp, wait_until_idle,
};
use netchannel_benches::subject::{Running, Subject};
use netchannel_benches::topology::{Lab, Options};
use netchannel_benches::traffic::datagram::MOST_FLOWS;
use netchannel_benches::traffic::round_trip::RoundTrips;
use netchannel_benches::{Error, Result};

use crate::columns::Group;
use crate::figures::Figures;
use crate::plan::Plan;

/// Flows of the columns with the most of them.
const MANY: u32 = 100_000;
/// Part of what a subject carries that the round trip is measured beside.
const LOAD: f64 = 0.7;
/// How long packets go on to be sent after the last probe at least.
const MARGIN: Duration = Duration::from_millis(300);

/// What one set of namespaces gave, by column.
type Measured = BTreeMap<&'static str, f64>;

/// Measures a group of columns and adds what it gives to the figures. What fails is tried once more; a subject that this
/// kernel can't run is noted as such.
pub(crate) fn group(plan: &Plan, group: Group, subject: &Subject, figures: &mut Figures) -> Result<()> {
    let rate = figures.latest("packets_1");
    let measured = match once(plan, group, subject, rate) {
        Err(Error::Unsupported(why)) => {
            eprintln!("traffic: {} is left out: {why}", figures.name);
            figures.unavailable = Some(why);
            return Ok(());
        }
        Err(error) if !matches!(error, Error::Interrupted) => {
            eprintln!("traffic: {}: {group}: {error}; once more", figures.name);
            once(plan, group, subject, rate)?
        }
        result => result?,
    };
    for (column, figure) in measured {
        figures.add(column, figure);
    }
    Ok(())
}

fn once(plan: &Plan, group: Group, subject: &Subject, rate: Option<f64>) -> Result<Measured> {
    // Made anew, so that none finds what another left.
    let subject = match group {
        Group::NewFlows if plan.new_flows == MOST_FLOWS => subject.clone().with_many_sessions(),
        _ => subject.clone(),
    };
    let queues = match group {
        Group::Sockets | Group::Tcp => plan.processors.len() as u32,
        _ => 1,
    };
    let lab = Lab::new(&Options {
        queues,
        mtu: plan.mtu,
        ..Options::default()
    })?;
    lab.inside.command("ethtool -K eth0 gro on")?;
    lab.server.command("ethtool -K eth0 gro on")?;
    let measured = {
        let _running: Running<'_> = subject.start(&lab)?;
        match group {
            Group::Packets => live_frames(plan, &lab, &subject),
            Group::Sockets => sockets(plan, &lab),
            Group::Tcp => streams(plan, &lab),
            Group::Latency => latency(plan, &lab, &subject, rate),
            Group::NewFlows => new_flows(plan, &lab, &subject),
        }
    };
    drop(lab);
    wait_until_idle(plan.settle)?;
    measured
}

/// As fast as the sender sends.
fn flood(plan: &Plan, lab: &Lab, sender: Sender<'_>, flows: u32) -> Result<Packets> {
    let load = Load { rate: None, flows };
    packets(lab, sender, &load, plan.times, || Ok(())).map(|(packets, ())| packets)
}

/// The same with very many flows, which are all known and settled before.
fn flood_of_many(plan: &Plan, lab: &Lab, sender: Sender<'_>) -> Result<Packets> {
    let load = Load {
        rate: None,
        flows: MANY,
    };
    let times = Times {
        warm_up_packets: plan.packets_before * u64::from(MANY),
        ..plan.times
    };
    packets(lab, sender, &load, times, || Ok(())).map(|(packets, ())| packets)
}

fn live_frames(plan: &Plan, lab: &Lab, subject: &Subject) -> Result<Measured> {
    prepare_packets(lab, subject, plan.roles())?;
    let sender = Sender::LiveFrames(plan.roles().sender);
    let mut measured = Measured::new();
    for (column, flows) in [("packets_1", 1), ("packets_1000", 1_000)] {
        measured.insert(column, flood(plan, lab, sender, flows)?.delivered_rate);
    }
    let many = flood_of_many(plan, lab, sender)?;
    measured.insert("packets_100000", many.delivered_rate);
    Ok(measured)
}

fn sockets(plan: &Plan, lab: &Lab) -> Result<Measured> {
    prepare_sockets(&lab.inside, &plan.processors)?;
    let mut measured = Measured::new();
    let one = Sender::Sockets(&plan.processors[..1]);
    let alone = flood(plan, lab, one, 1)?;
    measured.insert("one_socket_1", alone.delivered_rate);
    measured.insert("processor_time_us", alone.processor_time * 1e6);
    let many = flood_of_many(plan, lab, one)?;
    measured.insert("one_socket_100000", many.delivered_rate);
    let all = Sender::Sockets(&plan.processors);
    for (column, flows) in [
        ("sockets_1", 1),
        ("sockets_1000", 1_000),
        // The same flows as before.
        ("sockets_100000", MANY),
    ] {
        measured.insert(column, flood(plan, lab, all, flows)?.delivered_rate);
    }
    Ok(measured)
}

fn streams(plan: &Plan, lab: &Lab) -> Result<Measured> {
    prepare_sockets(&lab.inside, &plan.processors)?;
    prepare_sockets(&lab.server, &plan.processors)?;
    let mut measured = Measured::new();
    for (column, streams) in [("tcp_1", 1), ("tcp_8", 8)] {
        measured.insert(column, tcp(lab, streams, plan.times.window)?);
    }
    Ok(measured)
}

/// At idle, and beside a part of the `rate` that the subject carries, which is measured if it is not known.
fn latency(plan: &Plan, lab: &Lab, subject: &Subject, rate: Option<f64>) -> Result<Measured> {
    let mut measured = Measured::new();
    let prober = Prober::new(lab)?;
    let idle = prober.round_trips(Some(plan.roles().sender), plan.times)?;
    percentiles(
        &idle,
        ["round_trip_p50_us", "round_trip_p99_us", "round_trip_p999_us"],
        &mut measured,
    );
    prepare_packets(lab, subject, plan.roles())?;
    let sender = Sender::LiveFrames(plan.roles().sender);
    let rate = match rate {
        Some(rate) => rate,
        None => flood(plan, lab, sender, 1)?.delivered_rate,
    };
    let load = Load {
        rate: Some((rate * LOAD) as u32),
        flows: 1,
    };
    let window = plan.times.window;
    let sent = Times {
        window: window + MARGIN,
        ..plan.times
    };
    let probed = Times {
        warm_up: Duration::ZERO,
        ..plan.times
    };
    let (_, loaded) = packets(lab, sender, &load, sent, || prober.round_trips(None, probed))?;
    percentiles(
        &loaded,
        [
            "loaded_round_trip_p50_us",
            "loaded_round_trip_p99_us",
            "loaded_round_trip_p999_us",
        ],
        &mut measured,
    );
    measured.insert("loaded_loss", loaded.loss());
    Ok(measured)
}

fn percentiles(trips: &RoundTrips, columns: [&'static str; 3], measured: &mut Measured) {
    for (column, part) in columns.into_iter().zip([0.5, 0.99, 0.999]) {
        if let Some(time) = trips.percentile(part) {
            measured.insert(column, time.as_secs_f64() * 1e6);
        }
    }
}

/// Datagrams each of which is the first of its flow, for as long as the tables have room for them.
fn new_flows(plan: &Plan, lab: &Lab, subject: &Subject) -> Result<Measured> {
    if !subject.translates() {
        return Ok(Measured::new());
    }
    prepare_packets(lab, subject, plan.roles())?;
    let load = Load {
        rate: None,
        flows: plan.new_flows,
    };
    let times = Times {
        window: plan.times_of_new.window.min(Duration::from_secs(1)),
        ..plan.times_of_new
    };
    let sender = Sender::LiveFrames(plan.roles().sender);
    let (packets, ()) = packets(lab, sender, &load, times, || Ok(()))?;
    Ok(Measured::from([("new_flows", packets.delivered_rate)]))
}
