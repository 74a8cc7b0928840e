//! Flows and rules with what was counted for them: `show flows` and `show rules`, with traffic.

use std::net::{SocketAddr, UdpSocket};

use netchannel::control::report::{CountedRules, Flow, Flows};
use netchannel_benches::topology::{BOX_OUTSIDE, Options, SERVER};
use netchannel_benches::traffic::udp::EchoServer;

use crate::site::{Site, TRANSLATE_ALL, TRANSLATOR, eventually, lab};

fn flows(site: &Site, options: &str) -> Vec<Flow> {
    site.json::<Flows>(&format!("show flows -j {options}")).flows
}

fn rules(site: &Site, options: &str) -> CountedRules {
    site.json(&format!("show rules -j {options}"))
}

#[test]
fn flows_are_listed_with_their_rule_and_translation() {
    let site = Site::new();
    let echo = EchoServer::start(&site.lab.server, (SERVER, 53).into()).expect("port 53");
    let sockets: Vec<UdpSocket> = (0..5).map(|number| site.inside_socket(4000 + number)).collect();
    for (number, socket) in sockets.iter().enumerate() {
        for _ in 0..=number {
            socket.send_to(b"hello", echo.address()).expect("sent");
            socket.recv(&mut [0; 10]).expect("an answer");
        }
    }
    let listed = flows(&site, "udp from 10.77.0.0/24 to any port 53");
    assert_eq!(listed.len(), 5);
    for flow in &listed {
        let number = u64::from(flow.source_port - 4000) + 1;
        // Ethernet, IPv4 and UDP headers.
        assert_eq!((flow.packets, flow.bytes), (number, number * (42 + 5)));
        assert_eq!((flow.interface.as_str(), flow.protocol.as_str()), ("lan", "udp"));
        assert_eq!((flow.channel.as_str(), flow.rule), ("internet", Some(0)));
        let translation = flow.translation.expect("a session");
        assert_eq!(SocketAddr::from(translation.remote), echo.address());
        assert_eq!(translation.inside.port(), flow.source_port);
        assert_eq!(*translation.external.ip(), BOX_OUTSIDE);
    }
    // The answers are flows of their own, which no configured rule decided.
    let answers = flows(&site, "on wan");
    assert_eq!(answers.len(), 5);
    assert!(
        answers
            .iter()
            .all(|flow| flow.rule.is_none() && flow.destination == BOX_OUTSIDE)
    );
    let top = flows(&site, "udp on lan --sort packets --limit 2");
    let ports: Vec<u16> = top.iter().map(|flow| flow.source_port).collect();
    assert_eq!(ports, [4004, 4003]);
    assert_eq!(flows(&site, "tcp"), []);
    assert_eq!(flows(&site, "udp --limit 3").len(), 3);
    assert_eq!(flows(&site, "--sort idle --max-idle 1h --limit 1").len(), 1);
    let text = site.out("show flows udp from 10.77.0.2 port 4001");
    assert!(
        text.contains("10.77.0.2:4001") && text.ends_with("\n1 flow\n"),
        "{text}"
    );
    assert_eq!(site.out("show flows to 192.0.2.0/24"), "no flows\n");
    site.finish();
}

#[test]
fn packets_are_counted_for_their_rules_whatever_becomes_of_their_flows() {
    // A table with too little room: flows take the places of others.
    let more = "[[rule]]\npriority = 10\nprotocol = \"udp\"\ndestination_ports = \"9000\"\nchannel = \"internet\"\n\
                [[rule]]\npriority = 20\nprotocol = \"tcp\"\nchannel = \"drop\"\n[flow_table]\ncapacity = 1024\n";
    let site = Site::on(
        lab(&Options::default()),
        &[TRANSLATOR, TRANSLATE_ALL, more].concat(),
    );
    let [first, second] =
        [9000, 9001].map(|port| EchoServer::start(&site.lab.server, (SERVER, port).into()).expect("a port"));
    const SOCKETS: u16 = 2000;
    for echo in [&first, &second, &first] {
        for number in 0..SOCKETS {
            let socket = site.inside_socket(10_000 + number);
            for _ in 0..2 {
                socket.send_to(b"hello", echo.address()).expect("sent");
                socket.recv(&mut [0; 10]).expect("an answer");
            }
        }
    }
    let each = 2 * u64::from(SOCKETS);
    let counted = rules(&site, "");
    let packets: Vec<u64> = counted.rules.iter().map(|rule| rule.counts.packets).collect();
    assert_eq!(packets, [2 * each, 0, each], "{counted:?}");
    assert!(counted.rules[0].counts.flows > 1024, "{counted:?}");
    assert_eq!(
        counted.rules[0].rule,
        "priority 10 udp to any port 9000 use internet"
    );
    // Each was echoed.
    assert_eq!(counted.others.map(|others| others.packets), Some(3 * each));
    // All of a rule's packets are of one size.
    let bytes = counted.rules.iter().map(|rule| rule.counts.bytes);
    assert!(
        bytes
            .zip(&packets)
            .all(|(bytes, &packets)| packets == 0 || bytes % packets == 0)
    );

    let numbers = |options: &str| -> Vec<u32> {
        rules(&site, options)
            .rules
            .iter()
            .map(|rule| rule.number)
            .collect()
    };
    assert_eq!(numbers("--unused"), [1]);
    assert_eq!(numbers("--sort packets"), [0, 2, 1]);
    assert_eq!(numbers("--sort recent --limit 1"), [0]);
    let text = site.out("show rules --unused");
    assert!(
        text.contains("never") && text.contains("by no configured rule: 12,000 packets"),
        "{text}"
    );

    // The same rules in force anew: what is the same rule goes on counting.
    let file = site.daemon.directory().join("more.rules");
    std::fs::write(
        &file,
        "priority 10 udp to any port 9000 use internet\nfrom 10.77.0.0/24 use internet\n",
    )
    .expect("a file");
    let file = file.to_str().expect("a name");
    site.out(&format!("rules load {file}"));
    let socket = site.inside_socket(5000);
    socket.send_to(b"again", first.address()).expect("sent");
    socket.recv(&mut [0; 10]).expect("an answer");
    let packets = |site: &Site| -> Vec<u64> {
        let counted = rules(site, "");
        counted.rules.iter().map(|rule| rule.counts.packets).collect()
    };
    eventually("the counters of the new rules", || {
        packets(&site) == [2 * each + 1, each]
    });
    site.finish();
}
