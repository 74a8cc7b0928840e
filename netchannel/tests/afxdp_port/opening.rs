//! Opening ports: modes, and errors that say what is wrong.

use std::time::Duration;

use netchannel::port::PacketIo;
use netchannel::port::afxdp::{
    self, AfXdpError, AfXdpPort, BusyPoll, PortOptions, Umem, UmemOptions, ZeroCopy, queues_of,
};

use crate::namespace::{in_namespace, pair};
use crate::wire::become_nobody;
use crate::{assert_accounted, open, port_on, small};

#[test]
fn a_second_socket_on_a_queue_is_refused_by_name() {
    in_namespace(|| {
        pair("inner", "outer", 1);
        let (umem, [_port]) = open(["inner"]);
        let error = afxdp::open(&small(), &[port_on("inner", 1)]).unwrap_err();
        assert!(matches!(&error, AfXdpError::QueueBusy { queue: 0, .. }));
        assert!(
            error
                .to_string()
                .starts_with("another AF_XDP socket holds queue 0 of inner"),
            "{error}"
        );
        // On the same UMEM too.
        let error = AfXdpPort::open(&umem, &port_on("inner", 1)).unwrap_err();
        assert!(matches!(error, AfXdpError::QueueBusy { queue: 0, .. }));
    });
}

#[test]
fn a_port_opens_right_after_another_closed() {
    in_namespace(|| {
        pair("inner", "outer", 1);
        for _ in 0..3 {
            let (umem, [port]) = open(["inner"]);
            assert_accounted(&umem, &[&port], 0);
        }
    });
}

#[test]
fn zero_copy_is_refused_where_the_driver_cannot_and_otherwise_replaced_by_copies() {
    in_namespace(|| {
        pair("inner", "outer", 1);
        let with = |zero_copy| {
            let umem = UmemOptions { zero_copy, ..small() };
            afxdp::open(&umem, &[port_on("inner", 1)])
        };
        let error = with(ZeroCopy::On).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("zero-copy is demanded, but inner can't do it on queue 0"),
            "{error}"
        );
        let (_umem, ports) = with(ZeroCopy::Auto).unwrap();
        assert!(!ports[0].is_zero_copy());
        drop((_umem, ports));
        let (_umem, ports) = with(ZeroCopy::Off).unwrap();
        assert!(!ports[0].is_zero_copy());
    });
}

#[test]
fn interfaces_and_queues_that_do_not_exist_are_named() {
    in_namespace(|| {
        pair("inner", "outer", 3);
        assert_eq!(queues_of("inner").unwrap(), 3);
        assert_eq!(queues_of("lo").unwrap(), 1);
        for name in ["nowhere", "a-name-that-is-too-long", "", "in\0ner"] {
            assert!(matches!(
                queues_of(name),
                Err(AfXdpError::NoSuchInterface { interface }) if interface == name
            ));
            assert!(matches!(
                afxdp::open(&small(), &[port_on(name, 1)]),
                Err(AfXdpError::NoSuchInterface { interface }) if interface == name
            ));
        }
        let umem = Umem::new(&small()).unwrap();
        let queues = PortOptions {
            queues: (2..5).collect(),
            ..port_on("inner", 1)
        };
        let error = AfXdpPort::open(&umem, &queues).unwrap_err();
        assert_eq!(error.to_string(), "inner has 3 queues, so it has no queue 3");
    });
}

#[test]
fn frames_must_suffice_for_all_sockets() {
    in_namespace(|| {
        pair("inner", "outer", 4);
        let error = afxdp::open(&small(), &[port_on("inner", 4)]).unwrap_err();
        assert!(matches!(
            error,
            AfXdpError::TooFewFrames {
                frames: 1024,
                sockets: 4,
                needed: 1088
            }
        ));
    });
}

#[test]
fn chunks_may_be_half_a_page_and_huge_pages_are_a_wish() {
    in_namespace(|| {
        pair("inner", "outer", 1);
        let options = UmemOptions {
            chunk_size: 2048,
            huge_pages: true,
            ..small()
        };
        let (umem, ports) = afxdp::open(&options, &[port_on("inner", 1)]).unwrap();
        assert_eq!(umem.pool().frame_capacity(), 2048 - 256);
        assert!(umem.pool().count() >= 1024);
        assert_eq!(umem.options().frames as usize, umem.pool().count());
        if !umem.uses_huge_pages() {
            assert_eq!(umem.pool().count(), 1024);
        }
        assert_eq!(ports[0].held(), 256);
    });
}

/// Huge pages set aside besides those that there are; given back when it is dropped.
struct HugePages {
    before: String,
}

impl HugePages {
    const FILE: &str = "/proc/sys/vm/nr_hugepages";

    fn set_aside(more: u32) -> Self {
        let before = std::fs::read_to_string(Self::FILE).expect("a number");
        let there_are: u32 = before.trim().parse().expect("a number");
        std::fs::write(Self::FILE, (there_are + more).to_string()).expect("root");
        Self { before }
    }
}

impl Drop for HugePages {
    fn drop(&mut self) {
        let _ = std::fs::write(Self::FILE, &self.before);
    }
}

#[test]
fn packet_memory_lies_in_huge_pages_if_there_are_some() {
    in_namespace(|| {
        pair("inner", "outer", 1);
        let _pages = HugePages::set_aside(8);
        let options = UmemOptions {
            huge_pages: true,
            ..small()
        };
        let (umem, [port]) = {
            let (umem, ports) = afxdp::open(&options, &[port_on("inner", 1)]).unwrap();
            (umem, <[AfXdpPort; 1]>::try_from(ports).unwrap())
        };
        assert!(umem.uses_huge_pages());
        assert_accounted(&umem, &[&port], 0);
    });
}

#[test]
fn busy_polling_is_asked_of_the_kernel_and_its_refusal_told() {
    in_namespace(|| {
        pair("inner", "outer", 1);
        let with = |budget| {
            let options = PortOptions {
                busy_poll: Some(BusyPoll {
                    budget,
                    time: Duration::from_micros(20),
                }),
                ..port_on("inner", 1)
            };
            afxdp::open(&small(), &[options])
        };
        let (umem, ports) = with(8).unwrap();
        assert_accounted(&umem, &[&ports[0]], 0);
        drop((ports, umem));
        let error = with(65_536).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("the kernel refuses SO_BUSY_POLL_BUDGET = 65536 on queue 0 of inner"),
            "{error}"
        );
    });
}

#[test]
fn an_ordinary_user_is_told_what_is_missing() {
    in_namespace(|| {
        pair("inner", "outer", 1);
        become_nobody();
        let error = afxdp::open(&small(), &[port_on("inner", 1)]).unwrap_err();
        assert!(error.to_string().contains("CAP_NET_RAW"), "{error}");
    });
}
