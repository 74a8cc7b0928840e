use std::sync::atomic::AtomicUsize;

use super::*;

fn start(limits: Limits, gather: impl Fn() -> Result<String, String> + Send + Sync + 'static) -> Server {
    Server::start(
        (std::net::Ipv4Addr::LOCALHOST, 0).into(),
        limits,
        Arc::new(gather),
    )
    .unwrap()
}

fn fixed() -> Server {
    start(Limits::default(), || Ok("metric 1\n".to_owned()))
}

fn connect(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream
}

/// All that the server says to this, as text.
fn ask(server: &Server, request: &[u8]) -> String {
    let mut stream = connect(server);
    // It may close before all of it is written.
    let _ = stream.write_all(request);
    let _ = stream.shutdown(Shutdown::Write);
    read(stream)
}

fn read(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    // A reset after the answer is a close, too.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8(answer).unwrap()
}

const GET: &[u8] = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";

#[test]
fn metrics_are_at_their_path() {
    let server = fixed();
    let answer = ask(&server, GET);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.contains("Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"));
    assert!(head.contains("Content-Length: 9\r\n"));
    assert_eq!(body, "metric 1\n");
    let with_query = ask(&server, b"GET /metrics?x=1 HTTP/1.0\n\n");
    assert!(with_query.ends_with("metric 1\n"), "{with_query}");
    let head = ask(&server, b"HEAD /metrics HTTP/1.1\r\n\r\n");
    assert!(
        head.contains("Content-Length: 9\r\n") && head.ends_with("\r\n\r\n"),
        "{head}"
    );
}

#[test]
fn other_requests_are_told_what_is_wrong() {
    let server = fixed();
    for (request, status) in [
        ("GET /other HTTP/1.1\r\n\r\n", "404 "),
        ("GET / HTTP/1.1\r\n\r\n", "200 "),
        ("POST /metrics HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", "405 "),
        ("GET /metrics HTTP/2\r\n\r\n", "505 "),
        ("GET /metrics\r\n\r\n", "400 "),
        ("\r\n\r\n", "400 "),
        ("\0\u{7f}\r\n\r\n", "400 "),
        ("GET /../metrics HTTP/1.1\r\n\r\n", "404 "),
    ] {
        let answer = ask(&server, request.as_bytes());
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{request:?}: {answer}"
        );
    }
    assert!(ask(&server, b"\xff\xfe\xfd\r\n\r\n").starts_with("HTTP/1.1 400 "));
    let long = [b"GET /metrics HTTP/1.1\r\nX: ".as_slice(), &[b'x'; 1 << 20]].concat();
    assert!(ask(&server, &long).starts_with("HTTP/1.1 431 "));
}

#[test]
fn what_has_no_answer_is_told_so() {
    let asked = AtomicUsize::new(0);
    let server = start(Limits::default(), move || {
        match asked.fetch_add(1, Ordering::Relaxed) {
            0 => Err("the worker is busy".to_owned()),
            1 => panic!("the test's own panic"),
            _ => Ok("metric 1\n".to_owned()),
        }
    });
    let busy = ask(&server, GET);
    assert!(
        busy.starts_with("HTTP/1.1 503 ") && busy.ends_with("the worker is busy\n"),
        "{busy}"
    );
    assert!(ask(&server, GET).starts_with("HTTP/1.1 500 "));
    assert!(ask(&server, GET).ends_with("metric 1\n"));
}

fn short() -> Limits {
    Limits {
        connections: 2,
        request: Duration::from_millis(50),
        answer: Duration::from_millis(50),
    }
}

#[test]
fn silent_and_slow_clients_are_sent_away() {
    let server = start(short(), || Ok("x".repeat(32 << 20)));
    assert_eq!(read(connect(&server)), "");
    let mut dribble = connect(&server);
    while dribble.write_all(b"G").is_ok() {
        thread::yield_now();
    }
    // One that does not read is given up: its place is free for others.
    let mut deaf = connect(&server);
    deaf.write_all(GET).unwrap();
    let mut first = [0];
    deaf.read_exact(&mut first).unwrap();
    while !lock(&server.shared.open).is_empty() {
        thread::yield_now();
    }
    assert!(read(deaf).len() < 32 << 20);
}

#[test]
fn connections_beyond_the_limit_are_refused_and_places_become_free() {
    let limits = Limits {
        connections: 2,
        ..Limits::default()
    };
    let server = start(limits, || Ok("metric 1\n".to_owned()));
    let held = [connect(&server), connect(&server)];
    while lock(&server.shared.open).len() < 2 {
        thread::yield_now();
    }
    assert!(ask(&server, GET).starts_with("HTTP/1.1 503 "));
    drop(held);
    while !ask(&server, GET).ends_with("metric 1\n") {}
}

#[test]
fn stopping_does_not_wait_for_clients() {
    let server = fixed();
    let address = server.address();
    let _silent = connect(&server);
    let mut half = connect(&server);
    half.write_all(b"GET /met").unwrap();
    drop(server);
    // Nobody listens there any more.
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn an_address_that_is_taken_is_told_so() {
    let server = fixed();
    let error = Server::start(
        server.address(),
        Limits::default(),
        Arc::new(|| Ok(String::new())),
    )
    .unwrap_err();
    assert!(
        error.to_string().contains(&server.address().to_string()),
        "{error}"
    );
}
