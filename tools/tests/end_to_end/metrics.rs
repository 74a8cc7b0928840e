//! Metrics of a running daemon, as Prometheus scrapes them.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::process::{Command, Stdio};

use netchannel_benches::namespace::Namespace;
use netchannel_benches::topology::Options;

use crate::site::{Site, TRANSLATE_ALL, TRANSLATOR, at, check_traffic, lab};

const METRICS: &str = "\n[metrics]\nlisten = 9478\n";

/// All that is said to a request, in a namespace.
fn ask(namespace: &Namespace, request: &str) -> String {
    at(namespace, || {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, 9478)).expect("it listens");
        stream.write_all(request.as_bytes()).expect("a request");
        stream.shutdown(Shutdown::Write).expect("a connection");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("text");
        answer
    })
}

fn scrape(site: &Site) -> String {
    let answer = ask(&site.lab.middle, "GET /metrics HTTP/1.1\r\nHost: box\r\n\r\n");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
    body.to_owned()
}

/// The sum of a metric's samples that have all of these labels.
fn value(text: &str, name: &str, labels: &[&str]) -> f64 {
    let of_metric = text.lines().filter(|line| {
        let rest = line.strip_prefix(name);
        rest.is_some_and(|rest| rest.starts_with(['{', ' ']))
            && labels.iter().all(|label| line.contains(label))
    });
    let numbers = of_metric.map(|line| {
        line.rsplit_once(' ')
            .expect("a value")
            .1
            .parse::<f64>()
            .expect("a number")
    });
    numbers.sum()
}

#[test]
fn metrics_agree_with_the_reports() {
    check_reports(1);
}

/// They are those of all workers together.
#[test]
fn metrics_of_two_workers_agree_with_the_reports() {
    check_reports(2);
}

fn check_reports(workers: u32) {
    let options = Options {
        queues: workers,
        ..Options::default()
    };
    let workers = format!("[workers]\ncount = {workers}\n");
    let site = Site::on(
        lab(&options),
        &[&workers, TRANSLATOR, METRICS, TRANSLATE_ALL].concat(),
    );
    check_traffic(&site.lab);
    let text = scrape(&site);
    let (drops, lan, channel) = (site.drops(), site.port("lan"), site.channel("internet"));
    let number = |name: &str, labels: &[&str]| value(&text, name, labels) as u64;
    assert_eq!(number("netchannel_received_packets_total", &[]), drops.received);
    assert_eq!(
        number("netchannel_transmitted_packets_total", &[]),
        drops.transmitted
    );
    let of_lan = ["interface=\"lan\""];
    assert_eq!(
        number("netchannel_port_received_bytes_total", &of_lan),
        lan.received.bytes
    );
    assert_eq!(number("netchannel_port_up", &of_lan), 1);
    let of_channel = ["channel=\"internet\""];
    assert_eq!(
        number("netchannel_channel_packets_total", &of_channel),
        channel.packets
    );
    assert_eq!(
        number("netchannel_nat_mappings", &of_channel),
        site.mappings().len() as u64
    );
    assert_eq!(
        number("netchannel_worker_packets_total", &[]),
        drops.received + number("netchannel_worker_taken_over_packets_total", &[])
    );
    assert_eq!(number("netchannel_rules", &[]), 1);
    assert!(value(&text, "netchannel_worker_seconds_total", &["state=\"busy\""]) > 0.0);
    assert_eq!(
        number("netchannel_umem_frames", &[]),
        16_384 * u64::from(options.queues)
    );

    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool, of the package prometheus");
    promtool
        .stdin
        .take()
        .expect("a pipe")
        .write_all(text.as_bytes())
        .expect("text");
    let output = promtool.wait_with_output().expect("it ends");
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    site.finish();
}

#[test]
fn bad_clients_of_the_metrics_hurt_nobody() {
    let site = Site::on(
        lab(&Options::default()),
        &[TRANSLATOR, METRICS, TRANSLATE_ALL].concat(),
    );
    assert!(ask(&site.lab.middle, "rubbish\r\n\r\n").starts_with("HTTP/1.1 400"));
    // As many silent ones as there are places, and more.
    let silent: Vec<TcpStream> = at(&site.lab.middle, || {
        let connect = |_| TcpStream::connect((Ipv4Addr::LOCALHOST, 9478)).expect("it listens");
        (0..20).map(connect).collect()
    });
    check_traffic(&site.lab);
    assert!(site.drops().received > 0, "the control socket answers");
    drop(silent);
    crate::site::eventually("a scrape", || {
        ask(&site.lab.middle, "GET /metrics HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 200")
    });
    site.finish();
}

#[test]
fn there_are_no_metrics_unless_they_are_asked_for() {
    let site = Site::new();
    let refused = at(&site.lab.middle, || {
        TcpStream::connect((Ipv4Addr::LOCALHOST, 9478)).is_err()
    });
    assert!(refused);
    site.finish();
}
