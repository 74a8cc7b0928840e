//! iperf3 both ways.

use netchannel_benches::namespace::Namespace;
use serde_json::Value;

use crate::program::Program;
use crate::site::{FAR, Site, run};

pub(crate) fn server(site: &Site, namespace: &Namespace, address: &str) -> Program {
    let mut server = site.start(namespace, "iperf3", &format!("iperf3 --server --bind {address}"));
    server.wait_for_sockets(namespace, &format!("{address}:5201"), 1);
    server
}

/// What a client says about its run.
fn report(namespace: &Namespace, arguments: &str) -> Value {
    let said = run(namespace, &format!("iperf3 --json {arguments}"));
    serde_json::from_str(&said).expect("JSON")
}

/// Sends TCP by iperf3. The other end counts what has arrived when the last byte was sent.
pub(crate) fn check_tcp(namespace: &Namespace, server: &str, options: &str) {
    let tcp = report(namespace, &format!("-c {server} --bytes 10M {options}"));
    let sum = |side: &str| tcp["end"][side]["bytes"].as_u64();
    assert!(sum("sum_sent") >= Some(10_000_000), "{tcp}");
    assert!(sum("sum_received") > Some(0), "{tcp}");
}

/// Sends UDP by iperf3, far below what the box can do, and checks that all arrives.
pub(crate) fn check_udp(namespace: &Namespace, server: &str, direction: &str) {
    let udp = report(
        namespace,
        &format!("-c {server} --udp --bitrate 5M --bytes 1M --length 1200 {direction}"),
    );
    let sum = &udp["end"]["sum"];
    let (lost, packets) = (sum["lost_packets"].as_u64(), sum["packets"].as_u64());
    assert_eq!(lost, Some(0), "{udp}");
    assert!(packets >= Some(800), "{udp}");
}

#[test]
fn iperf3_sends_both_ways() {
    let site = Site::new("");
    let _server = server(&site, site.far(), FAR);
    for direction in ["", "--reverse"] {
        check_tcp(&site.lab.inside, FAR, direction);
        check_udp(&site.lab.inside, FAR, direction);
    }
    check_tcp(&site.lab.inside, FAR, "--parallel 8");
    site.finish();
}
