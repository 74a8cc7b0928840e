//! Settings of interfaces and their drivers.

use netchannel::network::ethtool::{Ethtool, Offload, OffloadChange, Queues};
use netchannel::network::{Network, NetworkError};

use crate::support::Namespace;

#[test]
fn offloads_are_turned_off_and_on() {
    let namespace = Namespace::new();
    namespace.ip("link add left numrxqueues 3 numtxqueues 2 type veth peer name right");
    namespace.run(|| {
        let ethtool = Ethtool::open().unwrap();
        assert_eq!(ethtool.driver("left").unwrap(), "veth");
        assert_eq!(
            ethtool.queues("left").unwrap(),
            Queues {
                receive: 3,
                transmit: 2
            }
        );
        assert_eq!(
            ethtool.queues("lo").unwrap(),
            Queues {
                receive: 1,
                transmit: 1
            }
        );
        for offload in [
            Offload::TransmitChecksum,
            Offload::ReceiveVlan,
            Offload::TransmitVlan,
        ] {
            assert!(ethtool.is_on("left", offload).unwrap(), "{offload:?}");
            assert_eq!(ethtool.turn_off("left", offload).unwrap(), OffloadChange::Changed);
            assert!(!ethtool.is_on("left", offload).unwrap(), "{offload:?}");
            assert_eq!(
                ethtool.turn_off("left", offload).unwrap(),
                OffloadChange::AlreadyOff
            );
            assert!(ethtool.is_on("right", offload).unwrap(), "{offload:?}");
            ethtool.turn_on("left", offload).unwrap();
            assert!(ethtool.is_on("left", offload).unwrap(), "{offload:?}");
        }
        let fixed = ethtool.turn_off("lo", Offload::TransmitChecksum);
        assert!(
            matches!(fixed, Err(NetworkError::OffloadFixed { .. })),
            "{fixed:?}"
        );
        assert!(!Network::read().unwrap().links.by_name("left").unwrap().up);
        ethtool.set_up("left").unwrap();
        assert!(Network::read().unwrap().links.by_name("left").unwrap().up);
    });
}

#[test]
fn settings_of_interfaces_that_are_not_there_are_refused() {
    let namespace = Namespace::new();
    namespace.run(|| {
        let ethtool = Ethtool::open().unwrap();
        for name in ["nothing", "exactly15bytes!"] {
            assert!(
                matches!(ethtool.driver(name), Err(NetworkError::NoSuchInterface { .. })),
                "{name}"
            );
            assert!(
                matches!(ethtool.queues(name), Err(NetworkError::NoSuchInterface { .. })),
                "{name}"
            );
            assert!(
                matches!(ethtool.set_up(name), Err(NetworkError::NoSuchInterface { .. })),
                "{name}"
            );
            let offload = ethtool.turn_off(name, Offload::ReceiveVlan);
            assert!(
                matches!(offload, Err(NetworkError::NoSuchInterface { .. })),
                "{name}"
            );
        }
        for name in ["", "sixteen-bytes-it", "zero\0"] {
            assert!(
                matches!(ethtool.set_up(name), Err(NetworkError::BadInterfaceName { .. })),
                "{name:?}"
            );
        }
    });
}
