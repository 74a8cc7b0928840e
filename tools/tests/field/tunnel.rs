//! GRE (RFC 2784), which has no ports: for hosts with an external address of their own, and for nobody else.

use netchannel_benches::namespace::Namespace;

use crate::program::Program;
use crate::site::{FAR, INSIDE, OWN, Site, fails, run};

/// The ends of the tunnel.
const HERE: &str = "172.31.0.1";
const THERE: &str = "172.31.0.2";

/// One end of a GRE tunnel, made by socat, so that the kernel needs no support of it. What a TUN device puts before a packet, two
/// bytes of flags and two of Ethernet type, is a GRE header of version 0 without options.
fn tunnel(site: &Site, name: &str, namespace: &Namespace, address: &str, peer: &str) -> Program {
    let line = format!("socat TUN:{address}/30,tun-name=gre-{name},iff-up IP4-SENDTO:{peer}:47");
    let mut program = site.start(namespace, name, &line);
    // First it opens the device, then the raw socket.
    program.wait_until("the tunnel's raw socket", |_| {
        let sockets = namespace.command("ss -Hnwa").expect("ss works");
        !sockets.is_empty()
    });
    program
}

#[test]
fn gre_crosses_for_a_host_with_an_address_of_its_own() {
    let own = format!("[[channel.one_to_one]]\nexternal = \"{OWN}\"\ninside = \"{INSIDE}\"\n");
    let site = Site::new(&own);
    let _near = tunnel(&site, "near", &site.lab.inside, HERE, FAR);
    let _far = tunnel(&site, "far", site.far(), THERE, OWN);
    for (namespace, target) in [(&site.lab.inside, THERE), (site.far(), HERE)] {
        let said = run(namespace, &format!("ping -c 3 -i 0.2 {target}"));
        assert!(said.contains("3 received"), "{said}");
    }
    // In fragments outside of the tunnel.
    let said = run(
        &site.lab.inside,
        &format!("ping -c 3 -i 0.2 -s 1472 -M do {THERE}"),
    );
    assert!(said.contains("3 received"), "{said}");

    // The other host has no such address: nothing of it leaves, which `finish` looks for on the wire.
    let _alone = tunnel(&site, "alone", &site.other, HERE, FAR);
    assert!(fails(&site.other, &format!("ping -c 1 -W 1 {THERE}")));
    site.wait_for_drop("nat-protocol");
    site.finish();
}
