//! iperf3 both ways.

use netchannel_benches::namespace::Namespace;
use serde_json::Value;

use crate::program::Program;
use crate::site::{FAR, Site, run};

/// A server, which serves one client after the other.
pub(crate) struct Server {
    program: Program,
    served: usize,
}

impl Server {
    pub(crate) fn start(site: &Site, namespace: &Namespace, address: &str) -> Self {
        let line = format!("iperf3 --server --forceflush --bind {address}");
        Self {
            program: site.start(namespace, "iperf3", &line),
            served: 0,
        }
    }

    /// What a client says about its run; it asks for the server at `address`. The server is done with the one before.
    fn report(&mut self, namespace: &Namespace, address: &str, arguments: &str) -> Value {
        let served = self.served;
        self.program.wait_until("the server to listen", |said| {
            said.matches("Server listening").count() > served
        });
        self.served += 1;
        let said = run(namespace, &format!("iperf3 --json -c {address} {arguments}"));
        serde_json::from_str(&said).expect("JSON")
    }

    /// Sends TCP both ways. The other end counts what has arrived when the last byte was sent.
    pub(crate) fn check_tcp(&mut self, namespace: &Namespace, address: &str, options: &str) {
        for direction in ["", "--reverse"] {
            let tcp = self.report(namespace, address, &format!("--bytes 10M {direction} {options}"));
            let sum = |side: &str| tcp["end"][side]["bytes"].as_u64();
            assert!(sum("sum_sent") >= Some(10_000_000), "{tcp}");
            assert!(sum("sum_received") > Some(0), "{tcp}");
        }
    }

    /// Sends UDP both ways, far below what the box can do, and checks that all arrives.
    pub(crate) fn check_udp(&mut self, namespace: &Namespace, address: &str) {
        for direction in ["", "--reverse"] {
            let what = format!("--udp --bitrate 5M --bytes 1M --length 1200 {direction}");
            let udp = self.report(namespace, address, &what);
            let sum = &udp["end"]["sum"];
            let (lost, packets) = (sum["lost_packets"].as_u64(), sum["packets"].as_u64());
            assert_eq!(lost, Some(0), "{udp}");
            assert!(packets >= Some(800), "{udp}");
        }
    }
}

#[test]
fn iperf3_sends_both_ways() {
    let site = Site::new("");
    let mut server = Server::start(&site, site.far(), FAR);
    server.check_tcp(&site.lab.inside, FAR, "");
    server.check_tcp(&site.lab.inside, FAR, "--parallel 8");
    server.check_udp(&site.lab.inside, FAR);
    site.finish();
}
