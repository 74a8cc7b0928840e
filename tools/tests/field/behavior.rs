//! What coturn's STUN client finds out about the translator, by a STUN server with two addresses and two ports (RFC 5780).

use crate::program::Program;
use crate::site::{FAR, FAR_SECOND, INSIDE, Site, run, word};

const INDEPENDENT: &str = "endpoint-independent";
const ADDRESS: &str = "address-dependent";
const BOTH: &str = "address-and-port-dependent";

fn stun_server(site: &Site) -> Program {
    let (database, identifier) = (site.path("turndb"), site.path("turn.pid"));
    let line = format!(
        "turnserver -n --stun-only -L {FAR} -L {FAR_SECOND} --no-tls --no-dtls --no-tcp --no-cli --log-file stdout \
         --pidfile {} --userdb {}",
        word(&identifier),
        word(&database)
    );
    let mut server = site.start(site.far(), "turnserver", &line);
    for address in [FAR, FAR_SECOND] {
        for port in [3478, 3479] {
            server.wait_for_sockets(site.far(), &format!("{address}:{port}"), 1);
        }
    }
    server
}

/// What the client says about a translator with this mapping and filtering.
fn discovered(mapping: &str, filtering: &str, tests: &str) -> String {
    let site = Site::new(&format!("mapping = \"{mapping}\"\nfiltering = \"{filtering}\""));
    let _server = stun_server(&site);
    let said = run(
        &site.lab.inside,
        &format!("turnutils_natdiscovery {tests} -L {INSIDE} {FAR}"),
    );
    site.finish();
    said
}

/// Checks that the client finds what was configured, and says it in the words of RFC 4787.
fn check(mapping: &str, filtering: &str) {
    let words = |behavior: &str| match behavior {
        INDEPENDENT => "Endpoint Independent",
        ADDRESS => "Address Dependent",
        _ => "Address and Port Dependent",
    };
    let said = discovered(mapping, filtering, "-m -f");
    for found in [
        format!("NAT with {} Mapping!", words(mapping)),
        format!("NAT with {} Filtering!", words(filtering)),
    ] {
        assert!(said.contains(&found), "not found: {found}\n{said}");
    }
}

#[test]
fn stun_finds_endpoint_independent_mapping_and_filtering() {
    check(INDEPENDENT, INDEPENDENT);
}

#[test]
fn stun_finds_address_dependent_filtering() {
    check(INDEPENDENT, ADDRESS);
}

#[test]
fn stun_finds_address_and_port_dependent_filtering() {
    check(INDEPENDENT, BOTH);
}

#[test]
fn stun_finds_address_dependent_mapping() {
    check(ADDRESS, ADDRESS);
}

#[test]
fn stun_finds_address_and_port_dependent_mapping() {
    check(BOTH, BOTH);
}

/// The client sends from a second socket to what the first one has outside. That is let in as from any host outside: if filtering lets in all.
#[test]
fn stun_finds_hairpinning() {
    let said = discovered(INDEPENDENT, INDEPENDENT, "-H");
    assert!(said.contains("successful hairpinning"), "{said}");
    let said = discovered(INDEPENDENT, BOTH, "-H");
    assert!(!said.contains("successful hairpinning"), "{said}");
}
