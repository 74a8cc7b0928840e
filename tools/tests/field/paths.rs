//! What tools for finding paths see through the box.

use std::fs;

use netchannel_benches::namespace::Namespace;

use crate::files::{CURL, ftp_server};
use crate::site::{BOX_INSIDE, EXTERNAL, FAR, INSIDE, OWN, ROUTER, Site, fails, run, word};

#[test]
fn ping_of_all_sizes() {
    let site = Site::new("");
    // Empty, small, whole frames, and in fragments.
    for size in [0, 56, 1472, 1473, 20_000] {
        let said = run(&site.lab.inside, &format!("ping -c 3 -i 0.2 -s {size} {FAR}"));
        assert!(said.contains("3 received"), "{size}: {said}");
    }
    site.finish();
}

/// The hops are the box, the router outside, and the far host, in every mode.
#[test]
fn traceroute_finds_every_hop() {
    let site = Site::new("");
    for mode in ["-U", "-U -p 53", "-I", "-T", "-T -p 22"] {
        let said = run(
            &site.lab.inside,
            &format!("traceroute.db -n -q 3 -w 20 -m 8 {mode} {FAR}"),
        );
        let hops: Vec<&str> = said
            .lines()
            .skip(1)
            .map(|line| line.split_whitespace().nth(1).unwrap_or_default())
            .collect();
        assert_eq!(hops, [BOX_INSIDE, ROUTER, FAR], "{mode}: {said}");
        assert!(!said.contains('*'), "{mode}: {said}");
    }
    site.finish();
}

/// The link to the far host takes less than those before: the router says so, and what it quotes is found to be the inside host's.
#[test]
fn tracepath_finds_the_path_mtu() {
    let site = Site::with_far_mtu(1300, "");
    let said = run(&site.lab.inside, &format!("tracepath -n {FAR}"));
    assert!(said.contains("Resume: pmtu 1300 hops 3 back 3"), "{said}");
    check_learned(&site.lab.inside, FAR);
    site.finish();
}

/// Checks that a host has learned of a path with an MTU of 1300.
fn check_learned(host: &Namespace, target: &str) {
    let route = host.ip(&format!("route get {target}")).expect("a route");
    assert!(route.contains("mtu 1300"), "{route}");
}

/// TCP offers segments that fit both ends. The router between them takes less, and says so to the address that it knows.
#[test]
fn a_tcp_upload_finds_the_path_mtu() {
    let site = Site::new("");
    let narrow = format!("route add {FAR}/32 dev eth1 mtu lock 1300");
    site.lab.server.ip(&narrow).expect("a route");
    let (directory, content) = site.directory_with_content("ftp");
    let _server = ftp_server(&site, site.far(), FAR, &directory, "");
    let source = directory.join("content");
    let upload = format!("{CURL} -T {} ftp://{FAR}/uploaded", word(&source));
    run(&site.lab.inside, &upload);
    let uploaded = fs::read(directory.join("uploaded")).expect("the server wrote it");
    assert!(uploaded == content, "{} bytes", uploaded.len());
    check_learned(&site.lab.inside, FAR);
    site.finish();
}

/// Makes the link to the inside host narrower than those outside.
fn narrow_inside(site: &Site) {
    for (namespace, interface) in [(&site.lab.inside, "eth0"), (&site.lab.middle, "lan")] {
        namespace
            .ip(&format!("link set {interface} mtu 1300"))
            .expect("an MTU");
    }
}

/// From outside to forwarded ports: the box says what the inside link takes, and the inside host's answer comes from where it was asked.
#[test]
fn tracepath_from_outside_finds_the_path_mtu() {
    // tracepath counts ports up from this one.
    let forward = format!(
        "[[channel.forward]]\nprotocol = \"udp\"\nexternal = \"{EXTERNAL}\"\nports = \"44444-44499\"\nto = \"{INSIDE}\"\n"
    );
    let site = Site::new(&forward);
    narrow_inside(&site);
    let said = run(site.far(), &format!("tracepath -n -p 44444 {EXTERNAL}"));
    assert!(said.contains("pmtu 1300"), "{said}");
    assert!(said.contains("reached"), "{said}");
    check_learned(site.far(), EXTERNAL);
    site.finish();
}

/// To a host with an address of its own: what may be fragmented is, what may not is answered.
#[test]
fn ping_from_outside_is_fragmented_or_answered() {
    let own = format!("[[channel.one_to_one]]\nexternal = \"{OWN}\"\ninside = \"{INSIDE}\"\n");
    let site = Site::new(&own);
    narrow_inside(&site);
    let said = run(site.far(), &format!("ping -c 3 -i 0.2 -s 1472 -M dont {OWN}"));
    assert!(said.contains("3 received"), "{said}");
    assert!(fails(site.far(), &format!("ping -c 1 -s 1472 -M do {OWN}")));
    check_learned(site.far(), OWN);
    let said = run(site.far(), &format!("ping -c 3 -i 0.2 -s 1272 -M do {OWN}"));
    assert!(said.contains("3 received"), "{said}");
    site.finish();
}
