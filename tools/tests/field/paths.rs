//! What tools for finding paths see through the box.

use crate::site::{BOX_INSIDE, FAR, ROUTER, Site, run};

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
    // The inside host has learned it.
    let route = site.lab.inside.ip(&format!("route get {FAR}"));
    let route = route.expect("a route");
    assert!(route.contains("mtu 1300"), "{route}");
    site.finish();
}
