//! `netchannel rules`: the rules of a running daemon are changed, told and taken back, with traffic.

use std::collections::BTreeMap;
use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use netchannel::control::report::{Load, RulesChanged, RulesState};
use netchannel::control::{Client, RulesRequest};
use netchannel_benches::topology::{INSIDE, Options, SERVER};
use netchannel_benches::traffic::udp::EchoServer;

use crate::site::{ON_ITS_WAY, Site, TRANSLATE_ALL, TRANSLATOR, at, eventually, exchange_udp, lab};

/// `netchannel rules ...` for a site's daemon.
fn rules(site: &Site, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_netchannel"));
    command
        .arg("rules")
        .args(arguments)
        .arg("--socket")
        .arg(site.daemon.socket());
    command.output().expect("the program runs")
}

/// What it prints when it succeeds.
fn printed(site: &Site, arguments: &[&str]) -> String {
    let output = rules(site, arguments);
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments:?}: {complaint}");
    String::from_utf8(output.stdout).expect("text")
}

/// Its exit code and complaint when it fails.
fn refused(site: &Site, arguments: &[&str]) -> (Option<i32>, String) {
    let output = rules(site, arguments);
    assert!(
        !output.status.success(),
        "{arguments:?}: {}",
        String::from_utf8_lossy(&output.stdout)
    );
    (
        output.status.code(),
        String::from_utf8(output.stderr).expect("text"),
    )
}

/// A file with rules beside the daemon's own.
fn file(site: &Site, name: &str, text: &str) -> PathBuf {
    let path = site.daemon.directory().join(name);
    fs::write(&path, text).expect("the directory is there");
    path
}

/// A client of the daemon's control socket.
fn client(site: &Site) -> Client {
    Client::connect(site.daemon.socket()).expect("it is served")
}

fn state(site: &Site) -> RulesState {
    client(site).rules(RulesRequest::State {}).expect("an answer")
}

/// The list as it is printed, without its head.
fn listed(site: &Site) -> Vec<String> {
    let text = printed(site, &["list"]);
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    text.lines()
        .filter(|line| !line.starts_with("NUMBER"))
        .map(words)
        .collect()
}

#[test]
fn rules_are_loaded_at_once_and_taken_back_with_their_flows() {
    let site = Site::new();
    let echo = EchoServer::start(&site.lab.server, (SERVER, 0).into()).expect("a port");
    let works = || exchange_udp(&site.lab, echo.address(), 1, 1).intact();
    assert!(works());
    assert_eq!(listed(&site), ["0 priority 100 from 10.77.0.0/24 use internet"]);

    // The known flow is decided anew, too.
    let inside = at(&site.lab.inside, || UdpSocket::bind((INSIDE, 0)).expect("a port"));
    inside.set_read_timeout(Some(ON_ITS_WAY)).expect("a time");
    inside.send_to(b"known", echo.address()).expect("a route");
    inside.recv_from(&mut [0; 16]).expect("an echo");
    let blocking =
        format!("udp from any to {SERVER} drop\nset hosts = {{ 10.77.0.0/24 }}\nfrom @hosts use internet\n");
    let path = file(&site, "blocking.rules", &blocking);
    let told = printed(&site, &["load", path.to_str().unwrap()]);
    assert!(
        told.starts_with("2 rules in force, version 2: 2 new, 1 gone"),
        "{told}"
    );
    inside.send_to(b"known", echo.address()).expect("a route");
    eventually("it is dropped", || site.channel("drop").packets == 1);
    assert_eq!(
        listed(&site),
        [
            "set hosts = { 10.77.0.0/24 }".to_owned(),
            format!("1 priority 100 udp to {SERVER} drop"),
            "2 priority 100 from @hosts use internet".to_owned(),
        ]
    );

    let told = printed(&site, &["undo"]);
    assert!(
        told.starts_with("1 rule in force, version 3: 1 new, 2 gone"),
        "{told}"
    );
    assert!(works());
    let (code, complaint) = refused(&site, &["undo"]);
    assert_eq!(
        (code, complaint.trim()),
        (Some(1), "netchannel: there are no former rules to go back to")
    );
    site.finish();
}

#[test]
fn rules_are_added_replaced_and_deleted_by_number() {
    let site = Site::new();
    let told = printed(
        &site,
        &["add", "priority 10 udp from any to any port 53 drop", "tcp drop"],
    );
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines[0], "1: priority 10 udp to any port 53 drop", "{told}");
    assert_eq!(lines[1], "2: priority 100 tcp drop", "{told}");
    assert!(
        lines[2].starts_with("3 rules in force, version 2: 2 new, 0 gone"),
        "{told}"
    );
    // By priority, and behind those of the same.
    let numbers = |list: Vec<String>| -> Vec<String> {
        list.iter()
            .map(|line| line.split(' ').next().unwrap().to_owned())
            .collect()
    };
    assert_eq!(numbers(listed(&site)), ["1", "0", "2"]);

    printed(
        &site,
        &["replace", "1", "priority 200 udp from any to any port 53 pass"],
    );
    assert_eq!(numbers(listed(&site)), ["0", "2", "3"]);
    let told = printed(&site, &["del", "2", "3", "3"]);
    assert!(
        told.starts_with("2: priority 100 tcp drop\n3: priority 200 udp to any port 53 pass\n"),
        "{told}"
    );
    assert_eq!(numbers(listed(&site)), ["0"]);

    for (arguments, expected) in [
        (
            &["del", "0", "99"][..],
            "there is no rule 99; `netchannel rules list` shows the numbers",
        ),
        (&["add", "tcp from nowhere drop"], "rule:1:10: "),
        (&["add", "from @unknown drop"], "unknown"),
        (
            &["add", "use internt"],
            "\"internt\" is not a channel, did you mean \"internet\"?",
        ),
        (
            &["add", "on eth7 drop"],
            "\"eth7\" is not an [[interface]] of the configuration; expected \"lan\" or \"wan\"",
        ),
        (
            &["add", "from 2001:db8::/32 use internet"],
            "translates IPv4 only",
        ),
        (
            &["replace", "0", "tcp drop\nudp drop"],
            "2 rules to put in the place of one",
        ),
        (&["confirm"], "no rules wait for confirmation"),
    ] {
        let (code, complaint) = refused(&site, arguments);
        assert_eq!(code, Some(1), "{arguments:?}");
        assert!(complaint.contains(expected), "{arguments:?}: {complaint}");
    }
    let (code, _) = refused(&site, &["del", "seven"]);
    assert_eq!(code, Some(2));
    // Nothing of it was done.
    assert_eq!(listed(&site), ["0 priority 100 from 10.77.0.0/24 use internet"]);
    assert_eq!(state(&site).version, 4);
    site.finish();
}

#[test]
fn a_wrong_file_changes_nothing_and_says_where() {
    let site = Site::new();
    let path = file(
        &site,
        "wrong.rules",
        "tcp from 10.0.0.0/24 drop\n\nudp from 10.0.0.1/24 drop\n",
    );
    let (code, complaint) = refused(&site, &["load", path.to_str().unwrap()]);
    assert_eq!(code, Some(3), "{complaint}");
    assert!(complaint.contains("wrong.rules:3:10: "), "{complaint}");
    assert!(complaint.contains("has host bits set"), "{complaint}");
    // What only the daemon can know.
    let path = file(
        &site,
        "elsewhere.rules",
        "tcp from 10.0.0.0/24 drop\nuse interent\n",
    );
    let (code, complaint) = refused(&site, &["load", path.to_str().unwrap()]);
    assert_eq!(code, Some(1), "{complaint}");
    assert!(
        complaint.contains("elsewhere.rules:2:1: \"interent\" is not a channel"),
        "{complaint}"
    );
    let (code, complaint) = refused(&site, &["load", "/nonexistent/x.rules"]);
    assert_eq!(code, Some(3));
    assert!(complaint.contains("there is no such file"), "{complaint}");
    assert_eq!((state(&site).version, listed(&site).len()), (1, 1));
    site.finish();
}

#[test]
fn rules_that_nobody_confirms_come_undone() {
    let site = Site::new();
    let path = file(&site, "trial.rules", "drop\n");
    let path = path.to_str().unwrap();
    let told = printed(&site, &["load", path, "--confirm-within", "1"]);
    assert!(told.contains("the former rules come back in 1s unless"), "{told}");
    eventually("the former rules", || state(&site).version == 3);
    assert_eq!(listed(&site).len(), 1);
    assert!(listed(&site)[0].ends_with("use internet"));

    printed(&site, &["load", path, "--timeout", "600"]);
    let (_, complaint) = refused(&site, &["add", "tcp drop"]);
    assert!(complaint.contains("the rules are on trial"), "{complaint}");
    assert!(printed(&site, &["status"]).contains("not confirmed yet"));
    printed(&site, &["confirm"]);
    assert!(!state(&site).is_on_trial);
    assert!(listed(&site)[0].ends_with("drop"));
    // On trial again, and taken back by hand.
    printed(&site, &["add", "--confirm-within", "600", "tcp pass"]);
    printed(&site, &["undo"]);
    assert!(!state(&site).is_on_trial);
    assert_eq!(listed(&site).len(), 1);
    let (code, _) = refused(&site, &["load", path, "--confirm-within", "0"]);
    assert_eq!(code, Some(2));
    site.finish();
}

/// What is in force is compared with a file, exported, and loaded again from other formats.
#[test]
fn rules_in_force_are_compared_and_exported() {
    let site = Site::new();
    let native = file(
        &site,
        "site.rules",
        "set hosts = { 10.77.0.0/24 }\npriority 7 from @hosts use internet comment \"all of it\"\n",
    );
    let native = native.to_str().unwrap();
    let compare = rules(&site, &["diff", native]);
    assert_eq!(compare.status.code(), Some(1));
    let told = String::from_utf8(compare.stdout).expect("text");
    assert!(
        told.contains("\n- priority 100 from 10.77.0.0/24 use internet\n"),
        "{told}"
    );
    assert!(
        told.contains("\n+ priority 7 from @hosts use internet comment \"all of it\"\n"),
        "{told}"
    );
    printed(&site, &["load", native]);
    assert_eq!(printed(&site, &["diff", native]), "");

    let json = site.daemon.directory().join("site.json");
    let json = json.to_str().unwrap();
    printed(&site, &["export", "--to", "json", "-o", json]);
    let told = printed(&site, &["load", json, "-j"]);
    let changed: RulesChanged = serde_json::from_str(&told).expect("JSON");
    assert_eq!(
        (changed.rules, changed.added, changed.removed),
        (1, 0, 0),
        "{told}"
    );
    assert_eq!(printed(&site, &["diff", native]), "");

    let acl = file(
        &site,
        "acl",
        "@10.0.0.0/8 192.0.2.1/32 0 : 65535 443 : 443 0x06/0xFF\n",
    );
    let told = printed(&site, &["load", acl.to_str().unwrap(), "--channel", "internet"]);
    assert!(told.starts_with("1 rule in force"), "{told}");
    assert!(
        listed(&site)[0].ends_with("tcp from 10.0.0.0/8 to 192.0.2.1 port 443 use internet"),
        "{:?}",
        listed(&site)
    );
    site.finish();
}

/// What a running daemon would do with a packet, by the rules in force and the address that its interface has.
#[test]
fn a_running_daemon_says_what_it_would_do() {
    let site = Site::new();
    let echo = EchoServer::start(&site.lab.server, (SERVER, 0).into()).expect("a port");
    assert!(exchange_udp(&site.lab, echo.address(), 1, 1).intact());
    printed(&site, &["add", "priority 7 tcp from any to any port 25 drop"]);

    let told = printed(&site, &["explain", "udp 10.77.0.2:1234 > 198.51.100.2:53 on lan"]);
    assert!(told.contains("goes to internet (nat)\nby    rule 0, "), "{told}");
    assert!(told.contains("from 10.77.0.0/24 use internet"), "{told}");
    assert!(told.contains("198.51.100.1"), "{told}");
    assert!(told.contains("has   udp 10.77.0.2:"), "{told}");

    let told = printed(
        &site,
        &["explain", "-v", "-j", "tcp 10.77.0.2:1234 > 198.51.100.2:25"],
    );
    let told: serde_json::Value = serde_json::from_str(&told).expect("JSON");
    assert_eq!(
        (&told["channel"], &told["rule"]["number"]),
        (&"drop".into(), &1.into()),
        "{told}"
    );
    assert_eq!(told["others"][0]["number"], 0, "{told}");
    assert_eq!(told["dimensions"].as_array().map(Vec::len), Some(12), "{told}");

    let told = printed(
        &site,
        &["explain", "tcp 198.51.100.2:80 > 198.51.100.1:2000 on wan"],
    );
    assert!(
        told.contains("for the destination is an external address of this translator"),
        "{told}"
    );
    let told = printed(&site, &["explain", "tcp 198.51.100.2:80 > 10.9.9.9:2000 on wan"]);
    assert!(told.contains("no rule matches: it is the kernel's"), "{told}");
    let (code, complaint) = refused(&site, &["explain", "tcp 10.77.0.2 >"]);
    assert_eq!(code, Some(2), "{complaint}");
    site.finish();
}

/// Loads that were begun and left, parts of none, and lines that lie.
#[test]
fn clients_that_leave_or_lie_change_nothing() {
    let site = Site::new();
    for _ in 0..3 {
        let mut client = client(&site);
        let Load { load } = client.rules(RulesRequest::Begin {}).expect("a load");
        let text = "drop\n".to_owned();
        let _: Load = client
            .rules(RulesRequest::Part { load, text })
            .expect("it is taken");
        // Gone, before it commits.
    }
    let mut other = client(&site);
    let error = |client: &mut Client, request| client.rules::<RulesChanged>(request).unwrap_err().to_string();
    let commit = |load| RulesRequest::Commit {
        load,
        source: String::new(),
        confirm_within: None,
    };
    assert!(error(&mut other, commit(77)).contains("there is no load 77"));
    let Load { load } = other.rules(RulesRequest::Begin {}).expect("a load");
    let text = "tcp from 10.0.0".to_owned();
    let _: Load = other
        .rules(RulesRequest::Part { load, text })
        .expect("it is taken");
    assert!(error(&mut other, commit(load)).contains("control socket:1:10: "));
    assert!(error(&mut other, commit(load)).contains("there is no load"));
    let wrong_time = RulesRequest::Add {
        text: "drop".to_owned(),
        confirm_within: Some(100_000),
    };
    assert!(error(&mut other, wrong_time).contains("expected 1 to 86400"));
    assert_eq!(state(&site).version, 1);
    site.finish();
}

/// Two translators with ports of their own: the server sees by which of them a datagram came.
const TWO_TRANSLATORS: &str = r#"
ports = "2000-2999"
preserve_ports = false
port_hold = 0

[[channel]]
name = "other"
type = "nat"
external = "wan"
ports = "3000-3999"
preserve_ports = false
port_hold = 0
"#;

/// Ports that each have a rule of their own.
const PROBES: u16 = 8;
const FIRST_PROBE: u16 = 7000;
const LOADS: u32 = 1000;

fn rules_to(channel: &str) -> String {
    let rule = |port| format!("priority {port} udp from any to any port {port} use {channel}\n");
    (FIRST_PROBE..FIRST_PROBE + PROBES).map(rule).collect()
}

/// While rules are loaded a thousand times, no packet is lost, and each meets all rules of one list: the translator that datagrams to all
/// ports in turn come through changes no more often than lists were loaded.
#[test]
fn a_thousand_loads_lose_and_mix_nothing() {
    let configuration = [
        TRANSLATOR,
        TWO_TRANSLATORS,
        TRANSLATE_ALL,
        "[[rule]]\nchannel = \"other\"\npriority = 9999\n",
    ];
    let site = Site::on(lab(&Options::default()), &configuration.concat());
    let mut client = client(&site);
    let mut load = |channel: &str| {
        let Load { load } = client.rules(RulesRequest::Begin {}).expect("a load");
        let text = rules_to(channel);
        let _: Load = client
            .rules(RulesRequest::Part { load, text })
            .expect("it is taken");
        let commit = RulesRequest::Commit {
            load,
            source: channel.to_owned(),
            confirm_within: None,
        };
        client.rules::<RulesChanged>(commit).expect("it is loaded")
    };
    load("internet");
    let sockets: Vec<UdpSocket> = at(&site.lab.server, || {
        let bind = |port| UdpSocket::bind((SERVER, port)).expect("a port");
        (FIRST_PROBE..FIRST_PROBE + PROBES).map(bind).collect()
    });
    let inside = at(&site.lab.inside, || UdpSocket::bind((INSIDE, 0)).expect("a port"));
    let is_over = AtomicBool::new(false);
    let (sent, seen) = thread::scope(|scope| {
        let receivers: Vec<_> = sockets
            .iter()
            .map(|socket| scope.spawn(|| receive(socket, &is_over)))
            .collect();
        let sender = scope.spawn(|| send(&inside, &is_over));
        for number in 0..LOADS {
            load(if number % 2 == 0 { "other" } else { "internet" });
        }
        is_over.store(true, Ordering::SeqCst);
        let sent = sender.join().expect("it sends");
        let seen: BTreeMap<u32, u16> = receivers
            .into_iter()
            .flat_map(|receiver| receiver.join().expect("it receives"))
            .collect();
        (sent, seen)
    });
    assert_eq!(seen.len() as u32, sent, "all datagrams arrive");
    let translators: Vec<u16> = seen.values().map(|port| port / 1000).collect();
    assert!(translators.iter().all(|translator| [2, 3].contains(translator)));
    let changes = translators.windows(2).filter(|pair| pair[0] != pair[1]).count() as u32;
    assert!(changes <= LOADS, "{changes} changes");
    assert!(changes > LOADS / 20, "the traffic met {changes} changes only");
    assert_eq!(state(&site).version, u64::from(LOADS) + 2);
    site.finish();
}

/// Sends numbered datagrams to all ports in turn, at a pace that the sockets keep up with, until the loads are over; how many.
fn send(socket: &UdpSocket, is_over: &AtomicBool) -> u32 {
    let mut number: u32 = 0;
    while !is_over.load(Ordering::SeqCst) {
        for _ in 0..PROBES {
            let port = FIRST_PROBE + (number % u32::from(PROBES)) as u16;
            let to = SocketAddr::from((SERVER, port));
            socket.send_to(&number.to_be_bytes(), to).expect("a route");
            number += 1;
        }
        thread::sleep(Duration::from_millis(1));
    }
    number
}

/// Datagrams' numbers with the ports that they came from, until nothing more is on its way.
fn receive(socket: &UdpSocket, is_over: &AtomicBool) -> Vec<(u32, u16)> {
    socket
        .set_read_timeout(Some(Duration::from_millis(500)))
        .expect("a time");
    let mut seen = Vec::new();
    let mut buffer = [0; 4];
    loop {
        match socket.recv_from(&mut buffer) {
            Ok((4, from)) => seen.push((u32::from_be_bytes(buffer), from.port())),
            Ok(_) => panic!("not a datagram of ours"),
            Err(_) if is_over.load(Ordering::SeqCst) => return seen,
            Err(_) => {}
        }
    }
}
