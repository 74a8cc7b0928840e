//! What becomes of which frame.

use etherparse::IpNumber;
use netchannel::xdp::{PassedFlow, Verdict};

use crate::bench::{Bench, MAX_FRAME_LENGTH};
use crate::frames::{ethernet, extension, fragment, icmp, ipv4, ipv6, ports, udp4, udp4_ports, udp6};
use crate::namespace::{in_new_namespace, index};

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const VLAN: u16 = 0x8100;
const SERVICE_VLAN: u16 = 0x88a8;

#[test]
fn what_is_asked_for_is_redirected() {
    in_new_namespace(|| {
        let bench = Bench::new();
        assert_eq!(
            bench.verdict(&udp4("10.1.2.3", "198.51.100.1")),
            Verdict::Redirected
        );
        assert_eq!(
            bench.verdict(&udp4("198.51.100.1", "203.0.113.77")),
            Verdict::Redirected
        );
        assert_eq!(
            bench.verdict(&udp4("11.1.2.3", "198.51.100.1")),
            Verdict::NotAsked
        );
        assert_eq!(
            bench.verdict(&udp4("198.51.100.1", "203.0.114.77")),
            Verdict::NotAsked
        );
        assert_eq!(
            bench.verdict(&udp6("2001:db8:1::9", "2001:db8:99::1")),
            Verdict::Redirected
        );
        assert_eq!(
            bench.verdict(&udp6("2001:db8:99::1", "2001:db8:2::9")),
            Verdict::Redirected
        );
        assert_eq!(
            bench.verdict(&udp6("2001:db8:99::1", "2001:db8:3::9")),
            Verdict::NotAsked
        );
        // Whatever the protocol is.
        let sctp = ipv4("10.1.2.3", "198.51.100.1", IpNumber::SCTP, &ports(1, 2), |_| {});
        assert_eq!(bench.verdict(&ethernet(&[], IPV4, &sctp)), Verdict::Redirected);
    });
}

#[test]
fn vlans_are_interfaces_of_their_own() {
    in_new_namespace(|| {
        let bench = Bench::new();
        let from_ten = ipv4("10.1.2.3", "198.51.100.1", IpNumber::UDP, &ports(1, 2), |_| {});
        let from_seventeen = ipv4("172.16.2.3", "198.51.100.1", IpNumber::UDP, &ports(1, 2), |_| {});
        let verdict = |tags: &[_], packet| bench.verdict(&ethernet(tags, IPV4, packet));
        for outer in [VLAN, SERVICE_VLAN] {
            assert_eq!(verdict(&[(outer, 5)], &from_ten), Verdict::Redirected);
            assert_eq!(verdict(&[(outer, 5)], &from_seventeen), Verdict::NotAsked);
            assert_eq!(verdict(&[(outer, 6)], &from_ten), Verdict::OtherInterface);
            assert_eq!(
                verdict(&[(outer, 5), (VLAN, 7)], &from_seventeen),
                Verdict::Redirected
            );
            assert_eq!(verdict(&[(outer, 5), (VLAN, 7)], &from_ten), Verdict::NotAsked);
            assert_eq!(
                verdict(&[(outer, 5), (VLAN, 8)], &from_seventeen),
                Verdict::OtherInterface
            );
            assert_eq!(
                verdict(&[(outer, 7), (VLAN, 5)], &from_seventeen),
                Verdict::OtherInterface
            );
        }
        // A priority tag does not make a VLAN.
        assert_eq!(verdict(&[(VLAN, 0)], &from_ten), Verdict::Redirected);
        assert_eq!(verdict(&[(VLAN, 0), (VLAN, 5)], &from_ten), Verdict::Redirected);
        assert_eq!(
            verdict(&[(VLAN, 0), (VLAN, 6)], &from_ten),
            Verdict::OtherInterface
        );
        assert_eq!(verdict(&[(VLAN, 5), (VLAN, 0)], &from_ten), Verdict::Redirected);
        // What a third tag hides is not looked at.
        assert_eq!(
            verdict(&[(VLAN, 5), (VLAN, 7), (VLAN, 9)], &from_seventeen),
            Verdict::NotIp
        );
        assert_eq!(
            bench.verdict_on(index("lo"), 0, &udp4("10.1.2.3", "198.51.100.1")),
            Verdict::OtherInterface
        );
    });
}

#[test]
fn the_kernel_keeps_arp_multicast_and_neighbour_discovery() {
    in_new_namespace(|| {
        let bench = Bench::new();
        assert_eq!(bench.verdict(&ethernet(&[], 0x0806, &[0; 28])), Verdict::NotIp);
        assert_eq!(
            bench.verdict(&ethernet(&[(VLAN, 5)], 0x0806, &[0; 28])),
            Verdict::NotIp
        );
        assert_eq!(bench.verdict(&ethernet(&[], 0x88cc, &[0; 28])), Verdict::NotIp);

        let mut to_group = udp4("10.1.2.3", "198.51.100.1");
        to_group[0] |= 1;
        assert_eq!(bench.verdict(&to_group), Verdict::Multicast);
        for destination in ["224.0.0.1", "239.255.255.250", "255.255.255.255"] {
            assert_eq!(bench.verdict(&udp4("10.1.2.3", destination)), Verdict::Multicast);
        }
        assert_eq!(
            bench.verdict(&udp6("2001:db8:1::9", "ff02::1")),
            Verdict::Multicast
        );
        assert_eq!(
            bench.verdict(&udp4("10.1.2.3", "223.255.255.255")),
            Verdict::Redirected
        );

        assert_eq!(
            bench.verdict(&udp6("fe80::1", "2001:db8:2::9")),
            Verdict::LinkLocal
        );
        assert_eq!(
            bench.verdict(&udp6("2001:db8:1::9", "febf::1")),
            Verdict::LinkLocal
        );
        assert_eq!(
            bench.verdict(&udp6("2001:db8:1::9", "fec0::1")),
            Verdict::Redirected
        );

        for kind in 128..=140 {
            let message = icmp(kind, 0, &[0; 24]);
            let plain = ipv6("2001:db8:1::9", "2001:db8:2::9", 58, &message);
            let hidden = ipv6(
                "2001:db8:1::9",
                "2001:db8:2::9",
                0,
                &extension(60, 1, &extension(58, 3, &message)),
            );
            let expected = if (133..=137).contains(&kind) {
                Verdict::NeighbourDiscovery
            } else {
                Verdict::Redirected
            };
            assert_eq!(
                bench.verdict(&ethernet(&[], IPV6, &plain)),
                expected,
                "type {kind}"
            );
            assert_eq!(
                bench.verdict(&ethernet(&[], IPV6, &hidden)),
                expected,
                "type {kind}"
            );
        }
    });
}

#[test]
fn the_box_keeps_its_own_services() {
    in_new_namespace(|| {
        let bench = Bench::new();
        let ssh = ipv4("10.1.2.3", "10.0.0.1", IpNumber::TCP, &ports(50_000, 22), |_| {});
        assert_eq!(bench.verdict(&ethernet(&[], IPV4, &ssh)), Verdict::Local);
        assert_eq!(bench.verdict(&ethernet(&[(VLAN, 5)], IPV4, &ssh)), Verdict::Local);
        assert_eq!(bench.verdict(&udp4("10.1.2.3", "10.255.255.255")), Verdict::Local);
        assert_eq!(
            bench.verdict(&udp6("2001:db8:1::9", "2001:db8:1::1")),
            Verdict::Local
        );
        assert_eq!(bench.verdict(&udp4("10.1.2.3", "10.0.0.2")), Verdict::Redirected);
    });
}

#[test]
fn malformed_frames_go_to_the_kernel() {
    in_new_namespace(|| {
        let bench = Bench::new();
        let malformed_ipv4 = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut packet = ipv4("10.1.2.3", "198.51.100.1", IpNumber::UDP, &ports(1, 2), |_| {});
            change(&mut packet);
            bench.verdict(&ethernet(&[], IPV4, &packet))
        };
        assert_eq!(malformed_ipv4(&|_| {}), Verdict::Redirected);
        assert_eq!(malformed_ipv4(&|packet| packet[0] = 0x65), Verdict::Malformed);
        assert_eq!(malformed_ipv4(&|packet| packet[0] = 0x44), Verdict::Malformed);
        assert_eq!(malformed_ipv4(&|packet| packet[2..4].fill(0)), Verdict::Malformed);
        assert_eq!(
            malformed_ipv4(&|packet| packet[2..4].copy_from_slice(&[0, 19])),
            Verdict::Malformed
        );

        let mut packet = ipv6("2001:db8:1::9", "2001:db8:2::9", 17, &ports(1, 2));
        packet[0] = 0x45;
        assert_eq!(bench.verdict(&ethernet(&[], IPV6, &packet)), Verdict::Malformed);
    });
}

/// A frame cut at any length is told from a whole one as soon as the decision needs what is missing.
#[test]
fn cut_frames_go_to_the_kernel() {
    in_new_namespace(|| {
        let bench = Bench::new();
        let datagram = ports(4000, 2500);
        let embedded = ipv4("192.0.2.1", "10.9.9.9", IpNumber::UDP, &ports(2500, 53), |_| {});
        let frames = [
            // As long as the addresses are: nothing else is needed.
            (udp4("10.1.2.3", "198.51.100.1"), 14 + 20),
            (udp6("2001:db8:1::9", "2001:db8:99::1"), 14 + 40),
            // Up to the ports.
            (udp4_ports("198.51.100.1", "192.0.2.1", 4000, 2500), 14 + 20 + 4),
            (
                ethernet(
                    &[(VLAN, 5), (VLAN, 0)],
                    IPV4,
                    &ipv4("10.1.2.3", "198.51.100.1", IpNumber::UDP, &datagram, |_| {}),
                ),
                14 + 8 + 20 + 4,
            ),
            (
                ethernet(
                    &[],
                    IPV4,
                    &ipv4(
                        "198.51.100.1",
                        "192.0.2.1",
                        IpNumber::ICMP,
                        &icmp(3, 0, &embedded),
                        |_| {},
                    ),
                ),
                14 + 20 + 8 + 20 + 4,
            ),
            (
                ethernet(
                    &[],
                    IPV6,
                    &ipv6(
                        "2001:db8:1::9",
                        "2001:db8:2::9",
                        0,
                        &extension(58, 2, &icmp(128, 0, &[])),
                    ),
                ),
                14 + 40 + 16 + 1,
            ),
        ];
        for (frame, needed) in frames {
            for length in 14..=frame.len() {
                let expected = if length < needed {
                    Verdict::Malformed
                } else {
                    Verdict::Redirected
                };
                assert_eq!(
                    bench.verdict(&frame[..length]),
                    expected,
                    "{length} of {frame:02x?}"
                );
            }
        }
    });
}

#[test]
fn a_queue_without_a_socket_is_the_kernels() {
    in_new_namespace(|| {
        let mut bench = Bench::new();
        let frame = udp4("10.1.2.3", "198.51.100.1");
        assert_eq!(bench.verdict_on(bench.ifindex, 1, &frame), Verdict::NoSocket);
        bench.program.remove_socket("inside", 0).expect("removing");
        assert_eq!(bench.verdict(&frame), Verdict::NoSocket);
        bench
            .program
            .remove_socket("inside", 0)
            .expect("removing again is no error");
    });
}

#[test]
fn frames_longer_than_a_buffer_are_the_kernels() {
    in_new_namespace(|| {
        let bench = Bench::new();
        for (length, expected) in [
            (MAX_FRAME_LENGTH as usize, Verdict::Redirected),
            (MAX_FRAME_LENGTH as usize + 1, Verdict::TooLong),
            // Several buffers.
            (9000, Verdict::TooLong),
        ] {
            let mut frame = udp4("10.1.2.3", "198.51.100.1");
            frame.resize(length, 0);
            assert_eq!(bench.verdict(&frame), expected, "{length} bytes");
        }
    });
}

#[test]
fn flows_left_to_the_kernel_stay_there_until_forgotten() {
    in_new_namespace(|| {
        let mut bench = Bench::new();
        let tagged = |packet: &[u8]| ethernet(&[(VLAN, 5)], IPV4, packet);
        let tcp = |source_port| {
            ipv4(
                "10.1.2.3",
                "198.51.100.1",
                IpNumber::TCP,
                &ports(source_port, 80),
                |_| {},
            )
        };
        let echo = |identifier| {
            ipv4(
                "10.1.2.3",
                "198.51.100.1",
                IpNumber::ICMP,
                &icmp(8, identifier, &[]),
                |_| {},
            )
        };
        let six = ethernet(
            &[(VLAN, 5)],
            IPV6,
            &ipv6(
                "2001:db8:1::9",
                "2001:db8:99::1",
                60,
                &extension(17, 1, &ports(7, 8)),
            ),
        );
        let flow = PassedFlow {
            logical: 2,
            source: [10, 1, 2, 3].into(),
            destination: [198, 51, 100, 1].into(),
            protocol: 6,
            source_port: 4000,
            destination_port: 80,
        };
        let flows = [
            flow,
            PassedFlow {
                protocol: 1,
                source_port: 77,
                destination_port: 0,
                ..flow
            },
            PassedFlow {
                source: "2001:db8:1::9".parse().expect("an address"),
                destination: "2001:db8:99::1".parse().expect("an address"),
                protocol: 17,
                source_port: 7,
                destination_port: 8,
                ..flow
            },
            // On an interface that passes no flows, where it has no effect.
            PassedFlow { logical: 1, ..flow },
        ];
        assert_eq!(bench.verdict(&tagged(&tcp(4000))), Verdict::Redirected);
        for flow in &flows {
            bench.program.handover().pass_flow(flow).expect("passing");
        }
        assert_eq!(bench.verdict(&tagged(&tcp(4000))), Verdict::PassedFlow);
        assert_eq!(bench.verdict(&tagged(&tcp(4001))), Verdict::Redirected);
        assert_eq!(
            bench.verdict(&ethernet(&[], IPV4, &tcp(4000))),
            Verdict::Redirected
        );
        assert_eq!(bench.verdict(&tagged(&echo(77))), Verdict::PassedFlow);
        assert_eq!(bench.verdict(&tagged(&echo(78))), Verdict::Redirected);
        assert_eq!(bench.verdict(&six), Verdict::PassedFlow);

        bench.program.handover().forget_flows().expect("forgetting");
        assert_eq!(bench.verdict(&tagged(&tcp(4000))), Verdict::Redirected);
        assert_eq!(bench.verdict(&six), Verdict::Redirected);
    });
}

#[test]
fn fragments_of_passed_flows_follow_the_first() {
    in_new_namespace(|| {
        let mut bench = Bench::new();
        let four = |identification, offset: u16, more| {
            let packet = ipv4(
                "10.1.2.3",
                "198.51.100.1",
                IpNumber::UDP,
                &ports(4000, 5000),
                |header| {
                    header.identification = identification;
                    header.fragment_offset = offset.try_into().expect("an offset");
                    header.more_fragments = more;
                },
            );
            ethernet(&[(VLAN, 5)], IPV4, &packet)
        };
        let six = |identification, offset, more| {
            let packet = fragment(17, offset, more, identification, &ports(4000, 5000));
            ethernet(
                &[(VLAN, 5)],
                IPV6,
                &ipv6("2001:db8:1::9", "2001:db8:99::1", 44, &packet),
            )
        };
        let flow = PassedFlow {
            logical: 2,
            source: [10, 1, 2, 3].into(),
            destination: [198, 51, 100, 1].into(),
            protocol: 17,
            source_port: 4000,
            destination_port: 5000,
        };
        let flow6 = PassedFlow {
            source: "2001:db8:1::9".parse().expect("an address"),
            destination: "2001:db8:99::1".parse().expect("an address"),
            ..flow
        };
        assert_eq!(bench.verdict(&four(1, 0, true)), Verdict::Redirected);
        assert_eq!(bench.verdict(&six(1, 0, true)), Verdict::Redirected);
        bench.program.handover().pass_flow(&flow).expect("passing");
        bench.program.handover().pass_flow(&flow6).expect("passing");
        assert_eq!(bench.verdict(&four(2, 0, true)), Verdict::PassedFlow);
        assert_eq!(bench.verdict(&six(2, 0, true)), Verdict::PassedFlow);
        // Each datagram as its first fragment; without a first fragment, to user space.
        for (identification, expected) in [
            (1, Verdict::Redirected),
            (2, Verdict::PassedFlow),
            (3, Verdict::Redirected),
        ] {
            assert_eq!(bench.verdict(&four(identification as u16, 3, false)), expected);
            assert_eq!(bench.verdict(&six(identification, 3, false)), expected);
        }
    });
}

/// Only user space may send frames past the program.
#[test]
fn forged_markers_get_nowhere() {
    in_new_namespace(|| {
        let bench = Bench::new();
        let inner = udp4("10.1.2.3", "198.51.100.1");
        for cookie in [[0; 8], [0xff; 8]] {
            let marked = ethernet(&[], 0x88b5, &[&cookie[..], &inner].concat());
            assert_eq!(bench.verdict(&marked), Verdict::NotIp);
        }
        assert_eq!(bench.verdict(&ethernet(&[], 0x88b5, &[])), Verdict::NotIp);
    });
}
