//! Clients that watch, and what bad ones can do.

use super::*;

/// Streams events of a hub.
struct Hub(Events);

impl Inspect for Hub {
    fn answer(&self, _: Request) -> Result<Value, ControlError> {
        Ok(json!({ "watched": self.0.wanted().all().iter().count() }))
    }

    fn watch(&self, watch: Watch) -> Result<Box<dyn Watched>, ControlError> {
        let Watch::Events(kinds) = watch else {
            return Err(ControlError::new("only events are told here"));
        };
        if kinds == Kinds::NONE {
            return Err(ControlError::new("nothing is asked for"));
        }
        Ok(Box::new(self.0.subscribe(kinds)))
    }
}

struct Streaming {
    events: Events,
    path: PathBuf,
    _server: Server,
    _directory: TempDir,
}

impl Streaming {
    fn new(limits: Limits) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control.sock");
        let events = Events::new();
        let server = Server::start_with(&path, Arc::new(Hub(events.clone())), limits).unwrap();
        Self {
            events,
            path,
            _server: server,
            _directory: directory,
        }
    }

    fn client(&self) -> Client {
        Client::connect(&self.path).unwrap()
    }

    fn watch(&self) -> Watching {
        self.client().watch(&Watch::Events(Kinds::ALL)).unwrap()
    }

    /// A connection that watches, by hand.
    fn raw(&self) -> BufReader<UnixStream> {
        let mut stream = UnixStream::connect(&self.path).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream.write_all(b"{\"watch\":\"events\"}\n").unwrap();
        let mut stream = BufReader::new(stream);
        assert_eq!(line(&mut stream), r#"{"ok":{},"version":1}"#);
        stream
    }

    /// Waits until nobody watches.
    fn wait_until_unwatched(&self) {
        while self.events.wanted().all() != Kinds::NONE {
            std::thread::yield_now();
        }
    }

    fn assert_served(&self) {
        assert!(self.client().request(&Request::Ports).is_ok());
    }
}

fn line(stream: &mut BufReader<UnixStream>) -> String {
    let mut line = String::new();
    stream.read_line(&mut line).unwrap();
    line.trim_end().to_owned()
}

fn event(told: Option<Result<Told, ClientError>>) -> String {
    match told {
        Some(Ok(Told::Event(event))) => event["event"].as_str().unwrap().to_owned(),
        other => panic!("{other:?}"),
    }
}

fn rules(number: u64) -> What {
    What::RulesLoaded(crate::events::Rules {
        rules: number,
        cause: "a test".to_owned(),
    })
}

#[test]
fn events_come_as_they_happen_until_the_end() {
    let site = Streaming::new(Limits::default());
    let mut watching = site.watch();
    let mut of_rules = site
        .client()
        .watch(&Watch::Events(Kinds::from_iter([Kind::Rules])))
        .unwrap();
    for number in 0..100 {
        site.events.publish(Kind::Rules, || rules(number));
    }
    site.events.publish(Kind::Daemon, || What::Stopping);
    site.events.end(Duration::from_secs(30));
    for number in 0..100 {
        for watching in [&mut watching, &mut of_rules] {
            match watching.next() {
                Some(Ok(Told::Event(event))) => assert_eq!(event["rules"], number),
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!(event(watching.next()), "stopping");
    assert!(watching.next().is_none() && of_rules.next().is_none());
    // Who comes after that is told at once.
    assert!(site.watch().next().is_none());
}

#[test]
fn the_lines_of_a_stream_are_as_documented() {
    let site = Streaming::new(Limits::default());
    let mut stream = site.raw();
    site.events.publish_at(
        Kind::Daemon,
        || std::time::SystemTime::UNIX_EPOCH,
        || What::Stopping,
    );
    site.events.lose(Kind::Links, 3);
    site.events.end(Duration::from_secs(30));
    assert_eq!(
        line(&mut stream),
        r#"{"event":{"event":"stopping","time":"1970-01-01T00:00:00.000Z"},"version":1}"#
    );
    assert_eq!(line(&mut stream), r#"{"lost":3,"version":1}"#);
    assert_eq!(line(&mut stream), r#"{"end":true,"version":1}"#);
    // It takes requests again.
    stream.get_mut().write_all(b"{\"show\":\"ports\"}\n").unwrap();
    assert_eq!(line(&mut stream), r#"{"ok":{"watched":0},"version":1}"#);
}

#[test]
fn what_can_not_be_watched_costs_one_answer() {
    let site = Streaming::new(Limits::default());
    let nothing = Watch::Events(Kinds::NONE);
    let refused = site.client().watch(&nothing).unwrap_err().to_string();
    assert_eq!(refused, "nothing is asked for");
    // A server that has nothing to watch.
    let fixture = Fixture::new(Limits::default());
    let refused = fixture.client().watch(&nothing).unwrap_err().to_string();
    assert_eq!(refused, "there is nothing to watch here");
    let mut stream = UnixStream::connect(&site.path).unwrap();
    stream
        .write_all(b"{\"watch\":\"events\",\"kinds\":[]}\n{\"show\":\"ports\"}\n")
        .unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let answers = drain(stream);
    assert!(
        answers.contains("nothing is asked for") && answers.contains("\"ok\""),
        "{answers}"
    );
}

/// It writes no more than its end of the connection and the queue hold, and is then told what it missed.
#[test]
fn who_does_not_read_loses_events_and_is_told_how_many() {
    // However long publishing takes, nobody is sent away for it.
    let site = Streaming::new(Limits {
        answer: Duration::from_secs(600),
        ..Limits::default()
    });
    let mut stream = site.raw();
    let mut fast = site.watch();
    let published: u64 = 20_000;
    for number in 0..published {
        site.events.publish(Kind::Rules, || rules(number));
        assert_eq!(event(fast.next()), "rules-loaded");
    }
    let (mut seen, mut lost) = (0, 0);
    while seen + lost < published {
        let told: Value = serde_json::from_str(&line(&mut stream)).unwrap();
        match told["lost"].as_u64() {
            Some(count) => lost += count,
            None => {
                assert_eq!(
                    told["event"]["rules"],
                    seen + lost,
                    "in order, with the gap in its place"
                );
                seen += 1;
            }
        }
    }
    assert!(lost > 0);
    assert_eq!(seen + lost, published);
}

#[test]
fn who_never_reads_is_sent_away() {
    let site = Streaming::new(short());
    let stream = site.raw();
    while site.events.wants(Kind::Rules) {
        site.events.publish(Kind::Rules, || rules(0));
    }
    site.assert_served();
    assert!(drain(stream.into_inner()).len() < 16 << 20);
}

#[test]
fn who_leaves_in_the_middle_of_a_stream_is_forgotten() {
    let site = Streaming::new(Limits::default());
    // In silence, under load, and with half a line written.
    drop(site.raw());
    site.wait_until_unwatched();
    let loaded = site.raw();
    site.events.publish(Kind::Rules, || rules(0));
    drop(loaded);
    site.wait_until_unwatched();
    let mut half = site.raw();
    half.get_mut().write_all(b"{\"show\":").unwrap();
    drop(half);
    site.wait_until_unwatched();
    site.assert_served();
}

/// What a watching client writes is not read: it neither hurts nor ends the stream. Nor does the end of what it writes.
#[test]
fn what_a_watching_client_writes_is_not_read() {
    let site = Streaming::new(Limits::default());
    let mut stream = site.raw();
    let noise = stream.get_ref().try_clone().unwrap();
    noise.set_nonblocking(true).unwrap();
    while (&noise).write(&[b'x'; 4096]).is_ok() {}
    noise.set_nonblocking(false).unwrap();
    noise.shutdown(std::net::Shutdown::Write).unwrap();
    site.events.publish(Kind::Rules, || rules(7));
    assert!(line(&mut stream).contains("\"rules\":7"));
    site.assert_served();
}

#[test]
fn who_watches_leaves_room_for_who_asks() {
    let limits = Limits {
        clients: 4,
        watchers: 2,
        ..Limits::default()
    };
    let site = Streaming::new(limits);
    let watching = [site.watch(), site.watch()];
    let mut third = UnixStream::connect(&site.path).unwrap();
    third
        .write_all(b"{\"watch\":\"events\"}\n{\"show\":\"ports\"}\n")
        .unwrap();
    let mut third = BufReader::new(third);
    assert_eq!(
        line(&mut third),
        r#"{"error":{"message":"2 clients watch already; try again when one has left"},"version":1}"#
    );
    assert!(line(&mut third).contains("\"ok\""), "it may still ask");
    site.assert_served();
    drop(watching);
    site.wait_until_unwatched();
    // The places are free again, however often they were refused.
    while site.client().watch(&Watch::Events(Kinds::ALL)).is_err() {}
}

#[test]
fn stopping_does_not_wait_for_who_watches() {
    let Streaming {
        events: _events,
        path: _,
        _server: server,
        _directory,
    } = {
        let site = Streaming::new(Limits::default());
        let _deaf = std::mem::ManuallyDrop::new(site.raw());
        let mut watching = site.watch();
        for number in 0..10_000 {
            site.events.publish(Kind::Rules, || rules(number));
        }
        assert_eq!(event(watching.next()), "rules-loaded");
        site
    };
    // With the default limits the deaf one could stay for seconds: the test's own time limit would tell.
    server.stop();
}
