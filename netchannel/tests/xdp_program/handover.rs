//! Handing frames to the kernel.

use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::time::Duration;

use etherparse::PacketBuilder;
use netchannel::xdp::{Interest, ModeChoice, OffloadSizes, Verdict, XdpError, XdpProgram};

use crate::bench::{MAX_FRAME_LENGTH, logical};
use crate::frames::MAC;
use crate::namespace::{af_xdp_socket, in_new_namespace, index, ip};

/// An interface with an address, and a socket of the kernel that listens on it.
fn listening() -> UdpSocket {
    ip("link add inside address 02:00:00:00:00:01 type veth peer name inside-peer");
    ip("link set inside up");
    ip("link set inside-peer up");
    ip("address add 10.0.0.1/24 dev inside");
    let socket = UdpSocket::bind("10.0.0.1:5000").expect("binding");
    socket
        .set_read_timeout(Some(Duration::from_secs(30)))
        .expect("a timeout");
    socket
}

fn datagram(payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    PacketBuilder::ethernet2([2, 0, 0, 0, 0, 9], MAC)
        .ipv4([10, 0, 0, 9], [10, 0, 0, 1], 64)
        .udp(4000, 5000)
        .write(&mut frame, payload)
        .expect("writing to memory");
    frame
}

fn receive(socket: &UdpSocket) -> Vec<u8> {
    let mut buffer = [0; 4096];
    let (length, from) = socket
        .recv_from(&mut buffer)
        .expect("the kernel gets the datagram");
    assert_eq!(from.to_string(), "10.0.0.9:4000");
    buffer[..length].to_vec()
}

/// A program that would take the frames again if it saw them, for there is no local address in its interest.
fn greedy() -> XdpProgram {
    let mut program = XdpProgram::load(MAX_FRAME_LENGTH, OffloadSizes::OFF).expect("loading");
    program
        .register_socket("inside", 0, af_xdp_socket().as_fd())
        .expect("registering");
    let interest = Interest {
        interfaces: vec![logical(1, 0, 0)],
        ..Interest::default()
    };
    program.set_interest(&interest).expect("setting the interest");
    program
}

fn count(program: &XdpProgram, verdict: Verdict) -> u64 {
    let counters = program.verdicts().expect("counters");
    counters
        .into_iter()
        .filter(|(counted, _)| *counted == verdict)
        .map(|(_, count)| count)
        .sum()
}

#[test]
fn the_kernel_receives_what_is_injected() {
    in_new_namespace(|| {
        let socket = listening();
        let mut program = greedy();
        program.attach("inside", ModeChoice::Native).expect("attaching");
        program
            .handover()
            .inject(&datagram(b"one"), index("inside"), 0)
            .expect("injecting");
        assert_eq!(receive(&socket), b"one");
        let other = program.handover().try_clone().expect("another handle");
        // A worker's thread has the namespace of the thread that started it.
        std::thread::spawn(move || other.inject(&datagram(b"two"), index("inside"), 0))
            .join()
            .expect("the thread ends")
            .expect("injecting");
        assert_eq!(receive(&socket), b"two");
        assert!(
            program
                .verdicts()
                .expect("counters")
                .iter()
                .all(|(verdict, count)| {
                    // Native mode does not see them again; neighbour discovery of the new interface may come by.
                    *count == 0 || matches!(verdict, Verdict::Multicast | Verdict::LinkLocal | Verdict::NotIp)
                })
        );
    });
}

#[test]
fn generic_mode_knows_what_is_injected() {
    in_new_namespace(|| {
        let socket = listening();
        let mut program = greedy();
        program.attach("inside", ModeChoice::Generic).expect("attaching");
        for round in 1..=3 {
            program
                .handover()
                .inject(&datagram(&[round; 100]), index("inside"), 0)
                .expect("injecting");
            assert_eq!(receive(&socket), [round; 100]);
            assert_eq!(count(&program, Verdict::Injected), u64::from(round));
        }
        assert_eq!(count(&program, Verdict::Redirected), 0);
    });
}

/// By a priority tag, for which the kernel needs no VLAN interface.
#[test]
fn tags_do_not_get_in_the_way() {
    in_new_namespace(|| {
        let socket = listening();
        let mut tagged = datagram(b"tagged");
        tagged.splice(12..12, [0x81, 0x00, 0xe0, 0x00]);
        for mode in [ModeChoice::Native, ModeChoice::Generic] {
            let mut program = greedy();
            program.attach("inside", mode).expect("attaching");
            program
                .handover()
                .inject(&tagged, index("inside"), 0)
                .expect("injecting");
            assert_eq!(receive(&socket), b"tagged");
        }
    });
}

#[test]
fn lengths_and_devices_are_checked() {
    in_new_namespace(|| {
        let socket = listening();
        for mode in [ModeChoice::Native, ModeChoice::Generic] {
            let mut program = greedy();
            program.attach("inside", mode).expect("attaching");
            let ifindex = index("inside");
            let handover = program.handover();
            let header = datagram(b"").len();
            let longest = vec![7; netchannel::xdp::MAX_INJECTED_LENGTH - header];
            handover
                .inject(&datagram(&longest), ifindex, 0)
                .expect("the longest frame");
            assert_eq!(receive(&socket), longest);
            for length in [0, 13, netchannel::xdp::MAX_INJECTED_LENGTH + 1] {
                let error = handover
                    .inject(&vec![0; length], ifindex, 0)
                    .expect_err("a wrong length");
                assert!(matches!(error, XdpError::FrameLength { length: told } if told == length));
            }
            let error = handover
                .inject(&datagram(b""), 4_000_000, 0)
                .expect_err("no such device");
            assert!(matches!(
                error,
                XdpError::Run {
                    ifindex: 4_000_000,
                    ..
                }
            ));
            let error = handover
                .inject(&datagram(b""), ifindex, 99)
                .expect_err("no such queue");
            assert!(matches!(error, XdpError::Run { queue: 99, .. }));
        }
    });
}
