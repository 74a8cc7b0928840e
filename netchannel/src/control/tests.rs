use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::report::{Deleted, Drops, Mapping, Mappings};
use super::*;
use crate::events::{Events, Kind, Kinds, What};

mod streams;

/// Answers from a fixed set of mappings; `Channels` panics, `Drops` fails, `Ports` is long.
struct Fixed {
    mappings: usize,
    /// Bytes of text in the answer to `Ports`.
    length: usize,
}

fn mapping(index: usize) -> Mapping {
    Mapping {
        channel: "internet".to_owned(),
        protocol: "udp".to_owned(),
        inside: format!("10.0.0.2:{index}"),
        external: format!("198.51.100.1:{index}"),
        sessions: 1,
        age_seconds: 5,
        idle_seconds: 1,
        expires_in_seconds: 299,
        state: None,
    }
}

impl Inspect for Fixed {
    fn answer(&self, request: Request) -> Result<Value, ControlError> {
        match request {
            Request::Ports => Ok(json!({ "text": "x".repeat(self.length) })),
            Request::Channels => panic!("the test's handler panics on purpose"),
            Request::Drops => Err(ControlError::new("not now")),
            Request::Mappings(page) => {
                let (end, next) = self.page(&page)?;
                let first = page.after.map_or(0, |after| after.parse().unwrap());
                let mappings = (first..end).map(mapping).collect();
                Ok(serde_json::to_value(Mappings { mappings, next })?)
            }
            Request::DeleteMappings(page) => {
                let (end, next) = self.page(&page)?;
                let deleted = (end - page.after.map_or(0, |after| after.parse().unwrap())) as u64;
                Ok(serde_json::to_value(Deleted { deleted, next })?)
            }
            _ => Err(ControlError::new("not here")),
        }
    }
}

impl Fixed {
    /// Where a page ends, and its `next`.
    fn page(&self, page: &Page) -> Result<(usize, Option<String>), ControlError> {
        let bad = |_| ControlError::new("`after` is not a cursor of this listing");
        let first = page
            .after
            .as_ref()
            .map_or(Ok(0), |after| after.parse::<usize>().map_err(bad))?;
        let end = first.saturating_add(page.limit as usize).min(self.mappings);
        Ok((end, (end < self.mappings).then(|| end.to_string())))
    }
}

struct Fixture {
    directory: TempDir,
    path: PathBuf,
    server: Option<Server>,
}

impl Fixture {
    fn new(limits: Limits) -> Self {
        Fixture::answering(
            Fixed {
                mappings: 1000,
                length: 10,
            },
            limits,
        )
    }

    fn answering(answers: Fixed, limits: Limits) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run/control.sock");
        let server = Server::start_with(&path, Arc::new(answers), limits).unwrap();
        Fixture {
            directory,
            path,
            server: Some(server),
        }
    }

    fn client(&self) -> Client {
        Client::connect(&self.path).unwrap()
    }

    fn raw(&self) -> UnixStream {
        let stream = UnixStream::connect(&self.path).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream
    }

    /// The server answers as ever.
    fn assert_served(&self) {
        assert_eq!(
            self.client().request(&Request::Ports).unwrap()["text"]
                .as_str()
                .map(str::len),
            Some(10)
        );
    }
}

fn short() -> Limits {
    let little = Duration::from_millis(50);
    Limits {
        clients: 3,
        watchers: 2,
        idle: little,
        request: little,
        answer: little,
    }
}

fn start(path: &Path) -> Result<Server, ServerError> {
    Server::start(
        path,
        Arc::new(Fixed {
            mappings: 0,
            length: 10,
        }),
    )
}

/// Everything until the server closes the connection.
fn drain(mut stream: UnixStream) -> String {
    let mut text = Vec::new();
    // A reset after the last answer is a close, too.
    let _ = stream.read_to_end(&mut text);
    String::from_utf8(text).unwrap()
}

#[test]
fn the_socket_has_its_mode_and_goes_with_the_server() {
    let mut fixture = Fixture::new(Limits::default());
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&fixture.path), 0o660);
    assert_eq!(mode(fixture.path.parent().unwrap()) & 0o755, 0o755);
    fixture.assert_served();
    let mut client = fixture.client();
    client.request(&Request::Ports).unwrap();
    fixture.server.take().unwrap().stop();
    assert!(!fixture.path.exists());
    assert!(matches!(
        client.request(&Request::Ports),
        Err(ClientError::Ended { .. })
    ));
    assert!(matches!(
        Client::connect(&fixture.path),
        Err(ClientError::NotRunning { .. })
    ));
}

#[test]
fn a_live_socket_is_refused_and_stays() {
    let fixture = Fixture::new(Limits::default());
    let error = start(&fixture.path).unwrap_err();
    assert!(matches!(error, ServerError::AlreadyServing { .. }), "{error}");
    assert!(error.to_string().starts_with("another instance is serving "));
    fixture.assert_served();
}

#[test]
fn a_dead_process_s_socket_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("control.sock");
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let server = start(&path).unwrap();
    assert!(Client::connect(&path).unwrap().request(&Request::Ports).is_ok());
    server.stop();
    assert!(!path.exists());
}

#[test]
fn what_is_no_socket_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notes");
    std::fs::write(&path, "precious").unwrap();
    assert!(matches!(start(&path), Err(ServerError::NotASocket { .. })));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    // A file in place of a directory.
    assert!(matches!(
        start(&path.join("x/control.sock")),
        Err(ServerError::Io { .. })
    ));
}

#[test]
fn a_socket_that_took_the_place_is_not_removed() {
    let mut fixture = Fixture::new(Limits::default());
    std::fs::remove_file(&fixture.path).unwrap();
    let other = UnixListener::bind(&fixture.path).unwrap();
    fixture.server.take().unwrap().stop();
    assert!(fixture.path.exists());
    drop(other);
}

#[test]
fn of_servers_that_start_at_once_one_wins() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("control.sock");
    drop(UnixListener::bind(&path).unwrap());
    let results: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| start(&path))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    assert!(Client::connect(&path).unwrap().request(&Request::Ports).is_ok());
}

#[test]
fn pages_are_followed_to_the_end() {
    let fixture = Fixture::new(Limits::default());
    let mut client = fixture.client();
    for limit in [1, 7, 256, 1000, 5000] {
        let all: Vec<Mapping> = client
            .mappings(Filter::default())
            .by(limit)
            .collect::<Result<_, _>>()
            .unwrap();
        assert_eq!(all, (0..1000).map(mapping).collect::<Vec<_>>(), "{limit}");
    }
    let none = Fixture::answering(
        Fixed {
            mappings: 0,
            length: 10,
        },
        Limits::default(),
    );
    assert_eq!(none.client().mappings(Filter::default()).count(), 0);
}

#[test]
fn a_deletion_is_followed_to_the_end() {
    let fixture = Fixture::new(Limits::default());
    let all = fixture.client().delete_mappings(Filter::default());
    assert_eq!(all.unwrap(), 1000);
}

/// Whatever comes, each line gets one answer, and the server goes on.
#[test]
fn any_request_gets_an_answer() {
    use proptest::prelude::*;
    use proptest::test_runner::{Config, TestRunner};

    let fixture = Fixture::new(Limits::default());
    let word = prop_oneof![
        Just("show"),
        Just("delete"),
        Just("mappings"),
        Just("sessions"),
        Just("pools"),
        Just("filter"),
        Just("inside"),
        Just("external"),
        Just("after"),
        Just("limit"),
        Just("all"),
        Just("true"),
        Just("10.0.0.0/24"),
        Just("0"),
        Just("\""),
        Just("{"),
        Just("}"),
        Just(":"),
        Just(","),
        Just("["),
        Just("\\u0000"),
    ];
    let pieces = prop_oneof![
        3 => word.prop_map(|word| word.as_bytes().to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 0..5),
    ];
    let line = proptest::collection::vec(pieces, 0..40).prop_map(|pieces| {
        let mut line = pieces.concat();
        line.retain(|byte| *byte != b'\n');
        line.push(b'\n');
        line
    });
    let config = Config {
        cases: 300,
        failure_persistence: None,
        ..Config::default()
    };
    let stream = fixture.raw();
    let answers = std::cell::RefCell::new(BufReader::new(stream.try_clone().unwrap()).lines());
    let result = TestRunner::new(config).run(&line, |line| {
        (&stream).write_all(&line).unwrap();
        let answer: Value = serde_json::from_str(&answers.borrow_mut().next().unwrap().unwrap()).unwrap();
        prop_assert!(
            answer["ok"].is_object() || answer["error"]["message"].is_string(),
            "{answer}"
        );
        Ok(())
    });
    result.unwrap();
    fixture.assert_served();
}

#[test]
fn a_listing_that_does_not_advance_ends() {
    struct Stuck;
    impl Inspect for Stuck {
        fn answer(&self, _: Request) -> Result<Value, ControlError> {
            Ok(serde_json::to_value(Mappings {
                mappings: vec![mapping(1)],
                next: Some("1".to_owned()),
            })?)
        }
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("control.sock");
    let _server = Server::start(&path, Arc::new(Stuck)).unwrap();
    let mut client = Client::connect(&path).unwrap();
    let results: Vec<_> = client.mappings(Filter::default()).collect();
    assert_eq!(results.len(), 2);
    assert!(matches!(results[1], Err(ClientError::Protocol { .. })));
}

#[test]
fn errors_and_panics_cost_one_answer() {
    let fixture = Fixture::new(Limits::default());
    let mut client = fixture.client();
    let refused = |result: Result<Drops, ClientError>| match result {
        Err(ClientError::Refused { message }) => message,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(client.drops()), "not now");
    assert!(matches!(client.channels(), Err(ClientError::Refused { .. })));
    let strange = Request::Mappings(Page {
        after: Some("x".to_owned()),
        ..Page::first(Filter::default())
    });
    assert!(matches!(
        client.request(&strange),
        Err(ClientError::Refused { .. })
    ));
    assert!(client.request(&Request::Ports).is_ok());
    // An answer that is not the report that was asked for.
    assert!(matches!(client.ports(), Err(ClientError::Protocol { .. })));
}

#[test]
fn the_lines_are_as_documented() {
    let fixture = Fixture::new(Limits::default());
    let mut stream = fixture.raw();
    stream.write_all(b"{\"show\":\"drops\"}\n{\"version\":1,\"show\":\"ports\"}\nrubbish\n{\"version\":9,\"show\":\"ports\"}\n").unwrap();
    let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
    assert_eq!(
        lines.next().unwrap(),
        r#"{"error":{"message":"not now"},"version":1}"#
    );
    assert_eq!(
        lines.next().unwrap(),
        r#"{"ok":{"text":"xxxxxxxxxx"},"version":1}"#
    );
    assert!(
        lines
            .next()
            .unwrap()
            .starts_with(r#"{"error":{"message":"not a request"#)
    );
    assert!(lines.next().unwrap().contains("expected version 1"));
}

#[test]
fn bytes_that_are_no_text_get_an_error() {
    let fixture = Fixture::new(Limits::default());
    let mut stream = fixture.raw();
    stream.write_all(b"\xff\xfe\0\n").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert!(drain(stream).contains("not a request"));
    fixture.assert_served();
}

#[test]
fn a_line_without_end_is_cut_off() {
    let fixture = Fixture::new(Limits::default());
    let mut stream = fixture.raw();
    // The server may close before all of it is written.
    let _ = stream.write_all(&vec![b'x'; MAX_REQUEST * 4]);
    assert!(drain(stream).contains("longer than 65536 bytes"));
    let mut stream = fixture.raw();
    let mut line = vec![b' '; MAX_REQUEST - 17];
    line.extend_from_slice(b"{\"show\":\"ports\"}\n");
    assert_eq!(line.len(), MAX_REQUEST);
    stream.write_all(&line).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert!(drain(stream).contains("\"ok\""));
}

#[test]
fn silent_and_slow_clients_are_sent_away() {
    let fixture = Fixture::new(short());
    let silent = fixture.raw();
    assert!(drain(silent).contains("nothing came"));
    let mut slow = fixture.raw();
    slow.write_all(b"{\"show\":").unwrap();
    assert!(drain(slow).contains("nothing came"));
    // A byte now and then does not make the time start again: the server ends it while the bytes still come.
    let mut dribble = fixture.raw();
    while dribble.write_all(b" ").is_ok() {
        std::thread::yield_now();
    }
    fixture.assert_served();
}

#[test]
fn a_client_that_does_not_read_is_sent_away() {
    let one = Limits {
        clients: 1,
        ..short()
    };
    let fixture = Fixture::answering(
        Fixed {
            mappings: 0,
            length: 8 << 20,
        },
        one,
    );
    let mut stream = fixture.raw();
    stream.write_all(b"{\"show\":\"ports\"}\n").unwrap();
    let mut first = [0];
    stream.read_exact(&mut first).unwrap();
    // There is one place: that another client is served shows that this one has lost it.
    let is_served = |answer: Result<Value, ClientError>| answer.is_err_and(|e| e.to_string() == "not now");
    while !is_served(fixture.client().request(&Request::Drops)) {}
    // Not the whole answer was written: the server gave up.
    assert!(drain(stream).len() < 8 << 20);
}

#[test]
fn a_client_that_dies_hurts_nobody() {
    let fixture = Fixture::answering(
        Fixed {
            mappings: 0,
            length: 1 << 20,
        },
        Limits::default(),
    );
    for _ in 0..100 {
        let mut stream = fixture.raw();
        stream.write_all(b"{\"show\":\"ports\"}\n{\"show\":").unwrap();
    }
    // Places become free as the server sees each of them go.
    let served =
        std::iter::repeat_with(|| fixture.client().request(&Request::Ports)).find(|answer| match answer {
            Ok(_) => true,
            Err(ClientError::Refused { .. }) => false,
            Err(other) => panic!("{other}"),
        });
    assert!(served.is_some());
}

#[test]
fn clients_beyond_the_limit_are_told() {
    let limits = Limits {
        clients: 2,
        ..Limits::default()
    };
    let fixture = Fixture::new(limits);
    let mut clients: Vec<Client> = (0..2).map(|_| fixture.client()).collect();
    for client in &mut clients {
        client.request(&Request::Ports).unwrap();
    }
    match fixture.client().request(&Request::Ports) {
        Err(ClientError::Refused { message }) => {
            assert_eq!(
                message,
                "2 clients are connected already; try again when one has left"
            );
        }
        other => panic!("{other:?}"),
    }
    for client in &mut clients {
        client.request(&Request::Ports).unwrap();
    }
}

#[test]
fn who_asks_where_nobody_serves_is_told_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("control.sock");
    let message = Client::connect(&path).unwrap_err().to_string();
    assert!(
        message.contains("no netchannel is running at") && message.contains("netchannel run"),
        "{message}"
    );
    drop(UnixListener::bind(&path).unwrap());
    assert!(matches!(
        Client::connect(&path),
        Err(ClientError::NotRunning { .. })
    ));
}

#[test]
fn stopping_does_not_wait_for_clients_that_stall() {
    let mut fixture = Fixture::answering(
        Fixed {
            mappings: 0,
            length: 8 << 20,
        },
        Limits::default(),
    );
    let mut half = fixture.raw();
    half.write_all(b"{\"show\"").unwrap();
    let mut deaf = fixture.raw();
    deaf.write_all(b"{\"show\":\"ports\"}\n").unwrap();
    let mut first = [0];
    deaf.read_exact(&mut first).unwrap();
    // With the default limits these two could stay for seconds: the test's own time limit would tell.
    fixture.server.take().unwrap().stop();
    assert!(!fixture.path.exists());
    drop((half, deaf, fixture.directory));
}
