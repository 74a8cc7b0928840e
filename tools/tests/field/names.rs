//! DNS by `dig` from a real server.

use crate::site::{FAR, Site, run};

const SERVER: &str = "dnsmasq --keep-in-foreground --conf-file=/dev/null --pid-file= --user=root --no-resolv --no-hosts \
                      --bind-interfaces --edns-packet-max=4096 --host-record=www.field.test,192.0.2.80";

#[test]
fn dig_asks_by_udp_and_tcp() {
    let site = Site::new("");
    // An answer of more than two packets.
    let parts: Vec<String> = (0..14).map(|number| format!("{number:02}").repeat(120)).collect();
    let line = format!(
        "{SERVER} --listen-address={FAR} --txt-record=large.field.test,{}",
        parts.join(",")
    );
    let mut server = site.start(site.far(), "dns", &line);
    server.wait_for_sockets(site.far(), &format!("{FAR}:53"), 2);
    let ask = |options: &str| {
        run(
            &site.lab.inside,
            &format!("dig @{FAR} +tries=1 +time=20 {options}"),
        )
    };
    for (transport, way) in [("+notcp", "(UDP)"), ("+tcp", "(TCP)")] {
        let said = ask(&format!("{transport} www.field.test A"));
        assert!(said.contains("192.0.2.80") && said.contains(way), "{said}");
    }
    // In fragments; cut off by UDP, then whole by TCP; and by TCP at once.
    for (how, way) in [
        ("+notcp +bufsize=4096", "(UDP)"),
        ("+notcp +bufsize=512", "(TCP)"),
        ("+tcp", "(TCP)"),
    ] {
        let said = ask(&format!("{how} large.field.test TXT"));
        assert!(said.contains(way), "{how}: {said}");
        for part in &parts {
            assert!(said.contains(part), "{how}: {said}");
        }
    }
    site.finish();
}
