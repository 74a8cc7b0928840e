//! Interfaces of other kinds: peers that leave checksums to the network card, more than one queue, generic XDP.

use netchannel::control::report::XdpMode;
use netchannel_benches::topology::{BOX_INSIDE, BOX_OUTSIDE, INSIDE, Offloads, Options, SERVER};
use netchannel_benches::traffic::udp::EchoServer;

use crate::site::{
    Site, TRANSLATE_ALL, TRANSLATOR, check_echo, check_tcp, check_traffic, exchange_udp, lab,
    let_the_kernel_forward,
};

fn check(options: &Options) -> Site {
    let site = Site::with(options);
    let echo = EchoServer::start(&site.lab.server, (SERVER, 0).into()).expect("a port");
    let outcome = exchange_udp(&site.lab, echo.address(), 20, 3);
    assert!(outcome.intact(), "{outcome:?}");
    check_tcp(&site.lab, 1, 3_000_000);
    check_tcp(&site.lab, 10, 200_000);
    site
}

/// A veth peer's checksums are partial, its TCP segments up to 64 KiB.
#[test]
fn partial_checksums_arrive_whole() {
    let offloads = Offloads::Default;
    check(&Options {
        offloads,
        ..Options::default()
    })
    .finish();
}

#[test]
fn every_queue_is_served() {
    let site = check(&Options {
        queues: 2,
        ..Options::default()
    });
    for port in site.ports().ports {
        assert_eq!(port.queues, 2, "{port:?}");
    }
    assert_eq!(site.verdict("passed_no_socket"), 0);
    site.finish();
}

/// Slower, and the program sees what is handed to the kernel a second time.
#[test]
fn generic_mode_does_the_same() {
    let lab = lab(&Options::default());
    let_the_kernel_forward(&lab);
    let rule = "[[rule]]\npriority = 10\nprotocol = \"udp\"\ndestination_ports = 53\nchannel = \"pass\"\n";
    let configuration = [TRANSLATOR, TRANSLATE_ALL, rule].concat();
    let configuration = configuration.replace("role =", "mode = \"generic\"\nrole =");
    let site = Site::on(lab, &configuration);
    for port in site.ports().ports {
        assert_eq!(port.xdp_mode, XdpMode::Generic, "{port:?}");
    }
    check_traffic(&site.lab);
    check_tcp(&site.lab, 1, 3_000_000);
    let echo = EchoServer::start(&site.lab.server, (SERVER, 53).into()).expect("port 53");
    let outcome = exchange_udp(&site.lab, echo.address(), 10, 3);
    assert!(outcome.intact(), "{outcome:?}");
    assert_eq!(echo.peers().len(), 10);
    assert!(
        echo.peers().iter().all(|peer| peer.ip() == INSIDE),
        "{:?}",
        echo.peers()
    );
    assert_eq!(site.drops().passed, 10);
    check_echo(&site.lab.inside, BOX_INSIDE);
    check_echo(&site.lab.server, BOX_OUTSIDE);
    site.finish();
}
