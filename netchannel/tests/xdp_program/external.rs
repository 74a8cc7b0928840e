//! Frames to a NAT's external addresses.

use etherparse::IpNumber;
use netchannel::xdp::Verdict;

use crate::bench::Bench;
use crate::frames::{ethernet, icmp, ipv4, ports, udp4_ports};
use crate::namespace::in_new_namespace;

const IPV4: u16 = 0x0800;
const SERVER: &str = "198.51.100.1";
const EXTERNAL: &str = "192.0.2.1";

fn to_external(protocol: IpNumber, payload: &[u8]) -> Vec<u8> {
    ethernet(&[], IPV4, &ipv4(SERVER, EXTERNAL, protocol, payload, |_| {}))
}

#[test]
fn the_nats_ports_are_redirected_and_the_boxs_own_pass() {
    in_new_namespace(|| {
        let bench = Bench::new();
        for protocol in [IpNumber::TCP, IpNumber::UDP] {
            for (port, expected) in [
                (22, Verdict::ExternalOther),
                (1999, Verdict::ExternalOther),
                (2000, Verdict::Redirected),
                (2999, Verdict::Redirected),
                (3000, Verdict::ExternalOther),
                (65_535, Verdict::ExternalOther),
            ] {
                assert_eq!(
                    bench.verdict(&to_external(protocol, &ports(443, port))),
                    expected,
                    "port {port}"
                );
            }
        }
        // Another address with other ports, and its neighbours with none.
        for (address, port, expected) in [
            ("192.0.2.8", 0, Verdict::Redirected),
            ("192.0.2.11", 65_535, Verdict::Redirected),
            ("192.0.2.11", 1, Verdict::ExternalOther),
            ("192.0.2.12", 0, Verdict::NotAsked),
            ("192.0.2.7", 0, Verdict::NotAsked),
        ] {
            assert_eq!(
                bench.verdict(&udp4_ports(SERVER, address, 443, port)),
                expected,
                "{address}:{port}"
            );
        }
        // From the inside to the outside address of the NAT, and on a VLAN.
        assert_eq!(
            bench.verdict(&udp4_ports("10.1.2.3", EXTERNAL, 443, 2500)),
            Verdict::Redirected
        );
        assert_eq!(
            bench.verdict(&udp4_ports("10.1.2.3", EXTERNAL, 443, 22)),
            Verdict::ExternalOther
        );
        let packet = ipv4(SERVER, EXTERNAL, IpNumber::UDP, &ports(443, 2500), |_| {});
        assert_eq!(
            bench.verdict(&ethernet(&[(0x8100, 5)], IPV4, &packet)),
            Verdict::Redirected
        );
        // Protocols without ports.
        assert_eq!(
            bench.verdict(&to_external(IpNumber::GRE, &ports(443, 2500))),
            Verdict::ExternalOther
        );
        // Behind options.
        let options = ipv4(SERVER, EXTERNAL, IpNumber::UDP, &ports(443, 2500), |header| {
            header.options = [1; 12].into();
            header.total_len += 12;
        });
        assert_eq!(bench.verdict(&ethernet(&[], IPV4, &options)), Verdict::Redirected);
    });
}

#[test]
fn icmp_queries_go_by_their_identifier() {
    in_new_namespace(|| {
        let bench = Bench::new();
        let verdict =
            |kind, identifier| bench.verdict(&to_external(IpNumber::ICMP, &icmp(kind, identifier, &[])));
        for reply in [0, 14] {
            assert_eq!(verdict(reply, 2500), Verdict::Redirected);
            assert_eq!(verdict(reply, 1000), Verdict::ExternalOther);
        }
        // The box answers for itself.
        for request in [8, 13, 17] {
            assert_eq!(verdict(request, 2500), Verdict::ExternalOther);
        }
    });
}

#[test]
fn icmp_errors_go_by_the_packet_they_carry() {
    in_new_namespace(|| {
        let bench = Bench::new();
        let verdict =
            |kind, embedded: &[u8]| bench.verdict(&to_external(IpNumber::ICMP, &icmp(kind, 0, embedded)));
        let sent = |source, protocol, payload: &[u8]| ipv4(source, SERVER, protocol, payload, |_| {});
        for kind in [3, 4, 11, 12] {
            for protocol in [IpNumber::TCP, IpNumber::UDP] {
                let translated = sent(EXTERNAL, protocol, &ports(2500, 443));
                assert_eq!(verdict(kind, &translated), Verdict::Redirected);
                let own = sent(EXTERNAL, protocol, &ports(1000, 2500));
                assert_eq!(verdict(kind, &own), Verdict::ExternalOther);
                // Not from here, whatever the outer header says.
                let foreign = sent("10.1.2.3", protocol, &ports(2500, 443));
                assert_eq!(verdict(kind, &foreign), Verdict::ExternalOther);
            }
            // The ports of the address that sent it count, not those of the address it came back to.
            let other = sent("192.0.2.9", IpNumber::UDP, &ports(65_535, 443));
            assert_eq!(verdict(kind, &other), Verdict::Redirected);
            let echo = sent(EXTERNAL, IpNumber::ICMP, &icmp(8, 2500, &[]));
            assert_eq!(verdict(kind, &echo), Verdict::Redirected);
            let own_echo = sent(EXTERNAL, IpNumber::ICMP, &icmp(8, 1000, &[]));
            assert_eq!(verdict(kind, &own_echo), Verdict::ExternalOther);
            let error = sent(EXTERNAL, IpNumber::ICMP, &icmp(3, 2500, &[]));
            assert_eq!(verdict(kind, &error), Verdict::ExternalOther);
            let gre = sent(EXTERNAL, IpNumber::GRE, &ports(2500, 443));
            assert_eq!(verdict(kind, &gre), Verdict::ExternalOther);
            let later = ipv4(EXTERNAL, SERVER, IpNumber::UDP, &ports(2500, 443), |header| {
                header.fragment_offset = 5.try_into().expect("an offset");
            });
            assert_eq!(verdict(kind, &later), Verdict::ExternalOther);
            let options = ipv4(EXTERNAL, SERVER, IpNumber::UDP, &ports(2500, 443), |header| {
                header.options = [1; 40].into();
                header.total_len += 40;
            });
            assert_eq!(verdict(kind, &options), Verdict::Redirected);
            assert_eq!(verdict(kind, &[0x45; 12]), Verdict::Malformed);
        }
        // A redirect is for the box.
        assert_eq!(
            verdict(5, &sent(EXTERNAL, IpNumber::UDP, &ports(2500, 443))),
            Verdict::ExternalOther
        );
    });
}

#[test]
fn later_fragments_follow_the_first() {
    in_new_namespace(|| {
        let bench = Bench::new();
        let verdict = |identification, offset: u16, more, protocol, payload: &[u8]| {
            let packet = ipv4(SERVER, EXTERNAL, protocol, payload, |header| {
                header.identification = identification;
                header.fragment_offset = offset.try_into().expect("an offset");
                header.more_fragments = more;
            });
            bench.verdict(&ethernet(&[], IPV4, &packet))
        };
        // What would be ports in a first fragment says nothing in a later one. Without the first, user space gets it.
        let data = ports(443, 2500);
        assert_eq!(verdict(1, 100, false, IpNumber::UDP, &data), Verdict::Redirected);
        assert_eq!(
            verdict(1, 0, true, IpNumber::UDP, &ports(443, 2500)),
            Verdict::Redirected
        );
        assert_eq!(
            verdict(2, 0, true, IpNumber::UDP, &ports(443, 53)),
            Verdict::ExternalOther
        );
        assert_eq!(verdict(1, 100, true, IpNumber::UDP, &data), Verdict::Redirected);
        assert_eq!(
            verdict(1, 200, false, IpNumber::UDP, &[0; 8]),
            Verdict::Redirected
        );
        assert_eq!(
            verdict(2, 100, false, IpNumber::UDP, &data),
            Verdict::ExternalOther
        );
        // Another datagram, another protocol.
        assert_eq!(verdict(3, 100, false, IpNumber::UDP, &data), Verdict::Redirected);
        assert_eq!(verdict(1, 100, false, IpNumber::TCP, &data), Verdict::Redirected);
        // The identification comes round again: the newest first fragment counts.
        assert_eq!(
            verdict(1, 0, true, IpNumber::UDP, &ports(443, 53)),
            Verdict::ExternalOther
        );
        assert_eq!(
            verdict(1, 100, false, IpNumber::UDP, &data),
            Verdict::ExternalOther
        );
        assert_eq!(
            verdict(4, 0, true, IpNumber::ICMP, &icmp(0, 2500, &[])),
            Verdict::Redirected
        );
        assert_eq!(verdict(4, 100, false, IpNumber::ICMP, &data), Verdict::Redirected);
    });
}
