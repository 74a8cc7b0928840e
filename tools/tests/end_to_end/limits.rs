//! Limits on inside hosts, under load.

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use netchannel_benches::topology::{BOX_OUTSIDE, INSIDE, Options, SERVER};
use netchannel_benches::traffic::Live;
use netchannel_benches::traffic::udp::{EchoServer, echo_many};

use crate::site::{Site, TRANSLATE_ALL, TRANSLATOR, at, eventually, lab, reaches};

/// What a host may have. The flood has it soon, the other host uses it up too.
const MOST: u64 = 30;
/// Datagrams of the flood that are under way at one time: fewer than the rings have room for.
const AT_ONCE: u64 = 200;
/// There are no more, each from a port of its own.
const LONGEST_FLOOD: u64 = 60_000;

/// 6888-4, 6888-5, 6888-11D: one host asks for a new mapping with every datagram, far beyond its limit and beyond all ports. Another one goes
/// on as if it were not there: not one of its datagrams is lost, and every refusal is the flood's.
#[test]
fn a_flood_of_new_mappings_takes_nothing_from_other_hosts() {
    let limits = format!("ports = \"2000-2099\"\n[channel.host_limits]\nmappings = {MOST}\n");
    let site = Site::on(
        lab(&Options::default()),
        &[TRANSLATOR, &limits, TRANSLATE_ALL].concat(),
    );
    let other = Ipv4Addr::new(10, 77, 0, 3);
    site.lab.add_inside_address(other).expect("an address");
    eventually("the box knows the other host", || {
        reaches(&site.lab.middle, other)
    });
    let echo = EchoServer::start(&site.lab.server, (SERVER, 53).into()).expect("port 53");
    let refused = || site.dropped("nat-host-mapping-limit");

    let (stop, flooding) = (AtomicBool::new(false), AtomicBool::new(false));
    let (sent, outcome) = thread::scope(|scope| {
        let flood = scope.spawn(|| {
            let mut sent = 0;
            while !stop.load(Ordering::Relaxed) && sent < LONGEST_FLOOD {
                at(&site.lab.inside, || {
                    for port in (1024 + sent)..(1024 + sent + AT_ONCE) {
                        let socket = UdpSocket::bind((INSIDE, port as u16)).expect("a free port");
                        socket.send_to(b"another one", (SERVER, 9)).expect("sent");
                    }
                });
                sent += AT_ONCE;
                eventually("the box has refused them", || refused() + MOST >= sent);
                flooding.store(true, Ordering::Relaxed);
            }
            sent
        });
        eventually("a flood", || flooding.load(Ordering::Relaxed));
        let work = || echo_many(other, echo.address(), MOST as usize, 40, &Live::default());
        let outcome = site.lab.inside.run(work);
        stop.store(true, Ordering::Relaxed);
        (
            flood.join().expect("it sends to the end"),
            outcome.expect("sockets"),
        )
    });

    assert!(outcome.intact() && outcome.received == MOST * 40, "{outcome:?}");
    assert_eq!(refused(), sent - MOST);
    assert_eq!(site.drops().dropped(), sent - MOST, "{:?}", site.drops());
    let mappings = site.mappings();
    let of = |host: Ipv4Addr| {
        let inside = format!("{host}:");
        mappings
            .iter()
            .filter(|mapping| mapping.inside.starts_with(&inside))
            .count()
    };
    assert_eq!((of(INSIDE), of(other)), (MOST as usize, MOST as usize));
    assert!(echo.peers().iter().all(|peer| peer.ip() == BOX_OUTSIDE));
    site.finish();
}
