//! Filters, limits and deletion on the command line: what is asked of the daemon, and what is said of its answers.

mod common;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use netchannel::channel::nat::Protocol;
use netchannel::control::report::{
    ByProtocol, Deleted, Limits, Mapping, Mappings, Opener, Pool, PoolAddress, PoolBlocks, PoolPorts, Pools,
    Session, Sessions,
};
use netchannel::control::{ControlError, Filter, Inspect, Page, Request, Server};
use serde_json::{Value, json};
use tempfile::TempDir;

use common::{Ran, netchannel, text};

/// Answers with as many mappings and sessions as it has, in pages of ten, and remembers what it was asked.
struct Fixed {
    entries: usize,
    asked: Arc<Mutex<Vec<Request>>>,
}

/// The numbers of the entries of a page, and its `next`.
fn page(page: &Page, entries: usize) -> (std::ops::Range<usize>, Option<String>) {
    let first: usize = page.after.as_ref().map_or(0, |after| after.parse().unwrap());
    let end = (first + page.limit.min(10) as usize).min(entries);
    (first..end, (end < entries).then(|| end.to_string()))
}

fn mapping(index: usize) -> Mapping {
    Mapping {
        channel: "internet".to_owned(),
        protocol: "udp".to_owned(),
        inside: format!("10.0.0.2:{index}"),
        external: format!("198.51.100.1:{index}"),
        sessions: 1,
        age_seconds: 60,
        idle_seconds: 5,
        expires_in_seconds: 295,
        state: None,
    }
}

fn session(index: usize) -> Session {
    Session {
        channel: "internet".to_owned(),
        protocol: "tcp".to_owned(),
        inside: format!("10.0.0.2:{index}"),
        external: format!("198.51.100.1:{index}"),
        remote: "192.0.2.9:443".to_owned(),
        opened_by: if index == 0 {
            Opener::Inside
        } else {
            Opener::Outside
        },
        mapping_age_seconds: 3_725,
        idle_seconds: 5,
        expires_in_seconds: 7_435,
        state: Some("established".to_owned()),
    }
}

fn some_pools() -> Pools {
    let ports = |used, held| PoolPorts {
        used,
        held,
        free: 31_744 - used - held,
    };
    Pools {
        pools: vec![Pool {
            channel: "internet".to_owned(),
            addresses: 2,
            hosts: 3,
            ports_per_protocol: 63_488,
            ports_held: 40,
            mappings: ByProtocol {
                tcp: 1_000,
                udp: 31_744,
                icmp: 0,
            },
            sessions: 40_000,
            limits: Limits {
                mappings: Some(65_536),
                mappings_of: ByProtocol {
                    tcp: Some(10_000),
                    ..ByProtocol::default()
                },
                sessions: Some(262_144),
                new_mappings_per_second: None,
            },
            host_limits: Limits {
                mappings: Some(4_000),
                ..Limits::default()
            },
            sessions_per_mapping: None,
        }],
        addresses: vec![
            PoolAddress {
                channel: "internet".to_owned(),
                address: "198.51.100.1".to_owned(),
                hosts: 2,
                ports: ByProtocol {
                    tcp: ports(1_000, 0),
                    udp: ports(31_704, 40),
                    icmp: ports(0, 0),
                },
                blocks: None,
            },
            PoolAddress {
                channel: "internet".to_owned(),
                address: "198.51.100.2".to_owned(),
                hosts: 1,
                ports: ByProtocol {
                    tcp: ports(0, 0),
                    udp: ports(1, 0),
                    icmp: ports(0, 0),
                },
                blocks: Some(PoolBlocks { all: 62, given: 5 }),
            },
        ],
        next: None,
    }
}

impl Inspect for Fixed {
    fn answer(&self, request: Request) -> Result<Value, ControlError> {
        self.asked.lock().unwrap().push(request.clone());
        Ok(match request {
            Request::Mappings(asked) => {
                let (entries, next) = page(&asked, self.entries);
                let mappings = entries.map(mapping).collect();
                serde_json::to_value(Mappings { mappings, next })?
            }
            Request::Sessions(asked) => {
                let (entries, next) = page(&asked, self.entries);
                let sessions = entries.map(session).collect();
                serde_json::to_value(Sessions { sessions, next })?
            }
            Request::DeleteMappings(asked) => {
                let (entries, next) = page(&asked, self.entries);
                let deleted = entries.len() as u64;
                serde_json::to_value(Deleted { deleted, next })?
            }
            Request::Pools(_) => serde_json::to_value(some_pools())?,
            _ => return Err(ControlError::new("not here")),
        })
    }
}

struct Served {
    _directory: TempDir,
    _server: Server,
    socket: PathBuf,
    asked: Arc<Mutex<Vec<Request>>>,
}

impl Served {
    fn new(entries: usize) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("control.sock");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let answers = Fixed {
            entries,
            asked: Arc::clone(&asked),
        };
        Self {
            _server: Server::start(&socket, Arc::new(answers)).unwrap(),
            _directory: directory,
            socket,
            asked,
        }
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        netchannel(&[arguments, &["--socket", text(&self.socket)]].concat())
    }

    fn out(&self, arguments: &[&str]) -> String {
        let ran = self.run(arguments);
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{arguments:?}");
        ran.out
    }

    /// What was asked since the last call.
    fn asked(&self) -> Vec<Request> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }
}

#[test]
fn filters_are_handed_on() {
    let served = Served::new(1);
    let options = [
        "--channel",
        "internet",
        "--protocol",
        "udp",
        "--inside",
        "10.0.0.0/24",
        "--external",
        "198.51.100.1:2000",
        "--min-age",
        "5m",
        "--max-age",
        "1d",
    ];
    let expected = Filter {
        channel: Some("internet".to_owned()),
        protocol: Some(Protocol::Udp),
        inside: Some("10.0.0.0/24".parse().unwrap()),
        external: Some("198.51.100.1:2000".parse().unwrap()),
        remote: None,
        min_age_seconds: Some(300),
        max_age_seconds: Some(86_400),
    };
    served.out(&[&["show", "mappings"][..], &options].concat());
    served.out(&[&["nat", "delete"][..], &options].concat());
    served.out(&[&["show", "sessions", "--remote", ":443"][..], &options].concat());
    let asked = served.asked();
    let [
        Request::Mappings(mappings),
        Request::DeleteMappings(deletion),
        Request::Sessions(sessions),
    ] = &asked[..]
    else {
        panic!("{asked:?}");
    };
    assert_eq!((&mappings.filter, &deletion.filter), (&expected, &expected));
    let with_remote = Filter {
        remote: Some(":443".parse().unwrap()),
        ..expected
    };
    assert_eq!(sessions.filter, with_remote);
    served.out(&[
        "show",
        "pools",
        "--channel",
        "internet",
        "--external",
        "198.51.100.0/28",
    ]);
    let asked = served.asked();
    assert!(
        matches!(&asked[..], [Request::Pools(page)] if page.filter.external.is_some()),
        "{asked:?}"
    );
}

#[test]
fn wrong_filters_are_told_what_is_expected() {
    for (arguments, expected) in [
        (
            &["show", "mappings", "--inside", "10.0.0.300"][..],
            "expected an IPv4 address or prefix",
        ),
        (
            &["show", "mappings", "--external", ":x"],
            "expected an IPv4 address or prefix",
        ),
        (
            &["show", "mappings", "--protocol", "sctp"],
            "expected \"tcp\", \"udp\" or \"icmp\"",
        ),
        (&["show", "mappings", "--min-age", "soon"], "\"90s\", \"5m\""),
        (&["show", "mappings", "--limit", "some"], "--limit"),
        (&["show", "mappings", "--remote", "192.0.2.1"], "--remote"),
        (&["show", "ports", "--inside", "10.0.0.1"], "--inside"),
        (&["nat", "delete"], "expected an option that says which"),
        (
            &["nat", "delete", "--all", "--inside", "10.0.0.1"],
            "cannot be used with",
        ),
    ] {
        let ran = netchannel(arguments);
        assert_eq!(
            (ran.code, ran.out.as_str()),
            (2, ""),
            "{arguments:?}: {}",
            ran.err
        );
        assert!(
            ran.err.starts_with("netchannel: ") && ran.err.contains(expected),
            "{}",
            ran.err
        );
    }
    let served = Served::new(1);
    // What only the daemon knows is told by it.
    let ran = served.run(&["show", "pools", "--external", ":80"]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("without a port"), "{}", ran.err);
}

#[test]
fn a_limit_ends_the_listing() {
    let served = Served::new(35);
    let shown = served.out(&["show", "mappings", "--limit", "12"]);
    assert_eq!(shown.lines().count(), 14, "{shown}");
    assert!(shown.ends_with("12 mappings, and there are more\n"), "{shown}");
    let shown = served.out(&["show", "mappings", "--limit", "35"]);
    assert!(shown.ends_with("35 mappings\n"), "{shown}");
    let shown = served.out(&["show", "mappings", "--limit", "0"]);
    assert!(shown.ends_with("no mappings, and there are more\n"), "{shown}");
    let asked = served.asked().len();
    let json: Value =
        serde_json::from_str(&served.out(&["show", "sessions", "-j", "--limit", "12"])).unwrap();
    assert_eq!(json["sessions"].as_array().map(Vec::len), Some(12));
    assert!(
        asked > 0 && served.asked().len() == 2,
        "no more pages than are needed"
    );
}

#[test]
fn sessions_stand_in_columns() {
    let served = Served::new(2);
    assert_eq!(
        served.out(&["show", "sessions"]),
        "\
CHANNEL   PROTOCOL  INSIDE      EXTERNAL        REMOTE         OPENED BY  MAPPING AGE  IDLE  EXPIRES IN  STATE
internet  tcp       10.0.0.2:0  198.51.100.1:0  192.0.2.9:443  inside            1h2m    5s        2h3m  established
internet  tcp       10.0.0.2:1  198.51.100.1:1  192.0.2.9:443  outside           1h2m    5s        2h3m  established
2 sessions
"
    );
    let json: Value = serde_json::from_str(&served.out(&["show", "sessions", "-j"])).unwrap();
    assert_eq!(
        json["sessions"][1],
        json!({
            "channel": "internet",
            "protocol": "tcp",
            "inside": "10.0.0.2:1",
            "external": "198.51.100.1:1",
            "remote": "192.0.2.9:443",
            "opened_by": "outside",
            "mapping_age_seconds": 3_725,
            "idle_seconds": 5,
            "expires_in_seconds": 7_435,
            "state": "established",
        })
    );
}

#[test]
fn pools_stand_in_columns() {
    let served = Served::new(0);
    assert_eq!(
        served.out(&["show", "pools"]),
        "\
CHANNEL   ADDRESSES  HOSTS  WHAT           THERE ARE  AT MOST   SHARE  AT MOST OF A HOST
internet          2      3  mappings          32,744   65,536  50.0 %              4,000
                            tcp mappings       1,000   10,000  10.0 %                  -
                            udp mappings      31,744   63,488  50.0 %                  -
                            icmp mappings          0   63,488   0.0 %                  -
                            sessions          40,000  262,144  15.3 %                  -

CHANNEL   ADDRESS       HOSTS  TCP USED    FREE  HELD  UDP USED    FREE  HELD  ICMP USED    FREE  HELD   IN USE  BLOCKS GIVEN  OF
internet  198.51.100.1      2     1,000  30,744     0    31,704       0    40          0  31,744     0  100.0 %             -   -
internet  198.51.100.2      1         0  31,744     0         1  31,743     0          0  31,744     0    0.1 %             5  62
"
    );
    let json: Pools = serde_json::from_str(&served.out(&["show", "pools", "-j"])).unwrap();
    assert_eq!(json, some_pools());
}

#[test]
fn a_deletion_says_how_many_and_a_dry_run_lists_them() {
    let served = Served::new(25);
    assert_eq!(
        served.out(&["nat", "delete", "--inside", "10.0.0.2"]),
        "25 mappings deleted\n"
    );
    assert_eq!(
        served.out(&["nat", "delete", "--all", "-j"]),
        "{\"deleted\":25}\n"
    );
    assert_eq!(served.asked().len(), 6);
    let listed = served.out(&["nat", "delete", "--inside", "10.0.0.2", "--dry-run"]);
    assert!(listed.ends_with("25 mappings\n"), "{listed}");
    let asked = served.asked();
    assert!(
        asked
            .iter()
            .all(|request| matches!(request, Request::Mappings(_))),
        "{asked:?}"
    );
    assert_eq!(
        Served::new(1).out(&["nat", "delete", "--all"]),
        "1 mapping deleted\n"
    );
    assert_eq!(
        Served::new(0).out(&["nat", "delete", "--all"]),
        "0 mappings deleted\n"
    );
}
