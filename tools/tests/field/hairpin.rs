//! Two inside hosts that talk by the box's external address.

use crate::files::{check_download, http_server};
use crate::site::{EXTERNAL, INSIDE, Site, run};
use crate::throughput::Server;

/// Forwards what the servers of these tests listen at.
fn site() -> Site {
    let forward =
        |port| format!("[[channel.forward]]\nexternal = \"{EXTERNAL}\"\nports = {port}\nto = \"{INSIDE}\"\n");
    Site::new(&[forward(8080), forward(5201)].concat())
}

#[test]
fn curl_reaches_a_server_behind_the_same_box() {
    let site = site();
    let (directory, content) = site.directory_with_content("www");
    let server = http_server(&site, &site.lab.inside, INSIDE, &directory);
    let address = format!("http://{EXTERNAL}:8080/content");
    // From another link, from the server's own host, and from outside.
    check_download(&site, &site.other, &address, &content);
    check_download(&site, &site.lab.inside, &address, &content);
    check_download(&site, site.far(), &address, &content);
    let said = server.said();
    let of_box = |line: &&str| line.starts_with(EXTERNAL) && line.contains("GET /content");
    assert_eq!(said.lines().filter(of_box).count(), 2, "{said}");
    site.finish();
}

#[test]
fn iperf3_reaches_a_server_behind_the_same_box() {
    let site = site();
    let mut server = Server::start(&site, &site.lab.inside, INSIDE);
    server.check_tcp(&site.other, EXTERNAL, "");
    server.check_udp(&site.other, EXTERNAL);
    site.finish();
}

#[test]
fn ping_of_the_external_address_is_answered_inside() {
    let site = site();
    let said = run(&site.other, &format!("ping -c 3 -i 0.2 {EXTERNAL}"));
    assert!(said.contains("3 received"), "{said}");
    site.finish();
}
