//! Changing what user space asks for.

use std::os::fd::AsFd;

use netchannel::xdp::{ExternalPrefix, Interest, Verdict, XdpError};

use crate::bench::{Bench, interest, logical};
use crate::frames::{udp4, udp4_ports, udp6};
use crate::namespace::{af_xdp_socket, in_new_namespace, ip};

#[test]
fn a_new_interest_replaces_the_old_one() {
    in_new_namespace(|| {
        let mut bench = Bench::new();
        bench.program.set_interest(&interest()).expect("the same again");
        assert_eq!(
            bench.verdict(&udp4("10.1.2.3", "198.51.100.1")),
            Verdict::Redirected
        );

        let mut untagged = logical(1, 0, 0);
        untagged.sources = vec!["172.16.0.0/12".parse().expect("a prefix")];
        let changed = Interest {
            interfaces: vec![untagged],
            external: vec![ExternalPrefix {
                prefix: "192.0.2.1/32".parse().expect("a prefix"),
                ports: vec![2500..=2500],
            }],
            local: vec!["10.0.0.2".parse().expect("an address")],
        };
        bench.program.set_interest(&changed).expect("changing");
        assert_eq!(
            bench.verdict(&udp4("10.1.2.3", "198.51.100.1")),
            Verdict::NotAsked
        );
        assert_eq!(bench.verdict(&udp4("10.1.2.3", "203.0.113.1")), Verdict::NotAsked);
        assert_eq!(
            bench.verdict(&udp6("2001:db8:1::9", "2001:db8:2::9")),
            Verdict::NotAsked
        );
        assert_eq!(
            bench.verdict(&udp4("172.16.2.3", "198.51.100.1")),
            Verdict::Redirected
        );
        assert_eq!(
            bench.verdict(&udp4("172.16.2.3", "10.0.0.1")),
            Verdict::Redirected
        );
        assert_eq!(bench.verdict(&udp4("172.16.2.3", "10.0.0.2")), Verdict::Local);
        assert_eq!(
            bench.verdict(&udp4_ports("198.51.100.1", "192.0.2.1", 443, 2500)),
            Verdict::Redirected
        );
        assert_eq!(
            bench.verdict(&udp4_ports("198.51.100.1", "192.0.2.1", 443, 2501)),
            Verdict::ExternalOther
        );
        assert_eq!(
            bench.verdict(&udp4_ports("198.51.100.1", "192.0.2.8", 443, 0)),
            Verdict::NotAsked
        );

        bench.program.set_interest(&Interest::default()).expect("nothing");
        assert_eq!(
            bench.verdict(&udp4("172.16.2.3", "198.51.100.1")),
            Verdict::OtherInterface
        );
        bench
            .program
            .set_interest(&interest())
            .expect("the first one again");
        assert_eq!(
            bench.verdict(&udp4_ports("198.51.100.1", "192.0.2.1", 443, 2999)),
            Verdict::Redirected
        );
        assert_eq!(bench.verdict(&udp4("172.16.2.3", "10.0.0.1")), Verdict::Local);
    });
}

#[test]
fn sets_of_ports_can_be_replaced_again_and_again() {
    in_new_namespace(|| {
        let mut bench = Bench::new();
        for port in 0..200 {
            let mut changed = interest();
            changed.external[0].ports = vec![port..=port];
            bench.program.set_interest(&changed).expect("changing");
            assert_eq!(
                bench.verdict(&udp4_ports("198.51.100.1", "192.0.2.1", 443, port)),
                Verdict::Redirected
            );
            assert_eq!(
                bench.verdict(&udp4_ports(
                    "198.51.100.1",
                    "192.0.2.1",
                    443,
                    port.wrapping_sub(1)
                )),
                Verdict::ExternalOther
            );
        }
    });
}

#[test]
fn a_refused_interest_changes_nothing() {
    in_new_namespace(|| {
        let mut bench = Bench::new();
        let mut refused = interest();
        refused.interfaces[2].device = "elsewhere".to_owned();
        refused.interfaces[0].sources.clear();
        let error = bench
            .program
            .set_interest(&refused)
            .expect_err("an unknown interface");
        assert!(matches!(error, XdpError::NotAttached { interface } if interface == "elsewhere"));
        assert_eq!(
            bench.verdict(&udp4("10.1.2.3", "198.51.100.1")),
            Verdict::Redirected
        );
    });
}

#[test]
fn interfaces_do_not_share_sockets() {
    in_new_namespace(|| {
        let mut bench = Bench::new();
        ip("link add outside type veth peer name outside-peer");
        let error = bench
            .program
            .remove_socket("outside", 0)
            .expect_err("not known yet");
        assert!(matches!(error, XdpError::NotAttached { .. }));
        let frame = udp4("10.1.2.3", "198.51.100.1");
        let socket = af_xdp_socket();
        bench
            .program
            .register_socket("outside", 0, socket.as_fd())
            .expect("registering");
        let mut both = interest();
        let mut outside = logical(9, 0, 0);
        outside.device = "outside".to_owned();
        both.interfaces.push(outside);
        bench.program.set_interest(&both).expect("both interfaces");
        let outside = crate::namespace::index("outside");
        assert_eq!(bench.verdict_on(outside, 0, &frame), Verdict::Redirected);
        // A closed socket is gone from the map.
        drop(socket);
        assert_eq!(bench.verdict_on(outside, 0, &frame), Verdict::NoSocket);
        assert_eq!(bench.verdict(&frame), Verdict::Redirected);

        bench.program.detach("inside").expect("detaching");
        assert_eq!(bench.verdict(&frame), Verdict::OtherInterface);
        bench
            .program
            .register_socket("inside", 0, af_xdp_socket().as_fd())
            .expect("registering");
        bench.program.set_interest(&both).expect("both interfaces again");
        assert_eq!(bench.verdict(&frame), Verdict::NoSocket);
    });
}

#[test]
fn queue_numbers_are_checked() {
    in_new_namespace(|| {
        let mut bench = Bench::new();
        let socket = af_xdp_socket();
        bench
            .program
            .register_socket("inside", 63, socket.as_fd())
            .expect("the last queue");
        let error = bench
            .program
            .register_socket("inside", 64, socket.as_fd())
            .expect_err("one too many");
        assert!(matches!(error, XdpError::QueueOutOfRange { queue: 64, .. }));
        let error = bench
            .program
            .register_socket("nowhere", 0, socket.as_fd())
            .expect_err("no interface");
        assert!(matches!(error, XdpError::NoSuchInterface { .. }));
        let file = std::fs::File::open("/dev/null").expect("a file");
        let error = bench
            .program
            .register_socket("inside", 0, file.as_fd())
            .expect_err("not a socket");
        assert!(matches!(error, XdpError::Map { .. }));
    });
}
