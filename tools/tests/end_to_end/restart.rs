//! What outlives the daemon: connections, flows and forwarded ports across a restart.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;

use netchannel::channel::nat::state::Saved;
use netchannel::channel::nat::worker_of;
use netchannel_benches::daemon::{Daemon, Launch};
use netchannel_benches::namespace::scratch_directory;
use netchannel_benches::topology::{BOX_INSIDE, BOX_OUTSIDE, INSIDE, Options, SERVER};
use nix::mount::{MsFlags, mount, umount};
use nix::sys::signal::Signal;

use crate::offload::{ENOUGH, Talk, poll_at_the_ends};
use crate::site::{
    ON_ITS_WAY, Site, TRANSLATE_ALL, TRANSLATOR, at, check_echo, check_traffic, eventually, has_program, lab,
    launch, let_the_kernel_forward,
};

const FORWARD: &str = r#"
[[channel.forward]]
protocol = "tcp"
ports = "8080"
to = "10.77.0.2"
"#;

/// A site whose daemon keeps its state, in a directory that outlives it.
struct Lasting {
    // Dropped in this order.
    site: Option<Site>,
    _pins: BpfFileSystem,
    directory: tempfile::TempDir,
}

impl Lasting {
    /// The box's kernel would forward what it gets, and answer it.
    fn new(state: &str) -> Self {
        Self::with(&Options::default(), state)
    }

    fn with(options: &Options, state: &str) -> Self {
        let lab = lab(options);
        let_the_kernel_forward(&lab);
        let directory = scratch_directory().expect("a directory");
        let pins = BpfFileSystem::below(directory.path());
        let launch = configured(&directory, state);
        let daemon = Daemon::start(&lab.middle, &launch).expect("it gets ready");
        Self {
            site: Some(Site { daemon, lab }),
            _pins: pins,
            directory,
        }
    }

    fn site(&self) -> &Site {
        self.site.as_ref().expect("between restarts it is there")
    }

    fn state_file(&self) -> PathBuf {
        self.directory.path().join("state/internet.nat-state")
    }

    /// Ends the daemon by a signal, as `systemctl stop` does.
    fn stop(&mut self) -> String {
        let site = self.site.as_mut().expect("between restarts it is there");
        let process = site.daemon.process();
        process.signal(Signal::SIGTERM).expect("it runs");
        let status = process.wait(ON_ITS_WAY).expect("it ends");
        let log = site.daemon.log();
        assert_eq!(status.code(), Some(0), "{log}");
        assert!(!log.contains("panicked"), "{log}");
        log
    }

    fn start(&mut self, state: &str) -> String {
        let launch = configured(&self.directory, state);
        let site = self.site.as_mut().expect("between restarts it is there");
        site.daemon = Daemon::start(&site.lab.middle, &launch).expect("it gets ready");
        site.daemon.log()
    }

    /// Checks the account and ends it all.
    fn finish(mut self) {
        // This time the kernel has its packets at once.
        self.stop();
        self.start("takeover = 0");
        if let Some(site) = self.site.take() {
            site.finish();
        }
    }
}

/// A BPF file system of its own: what is pinned in it goes with it. The daemon has a `/sys` of its own here, and what is mounted below
/// that ends with it.
struct BpfFileSystem(PathBuf);

impl BpfFileSystem {
    fn below(directory: &Path) -> Self {
        let path = directory.join("bpf");
        fs::create_dir(&path).expect("a directory");
        mount(Some("bpf"), &path, Some("bpf"), MsFlags::empty(), None::<&str>).expect("root");
        Self(path)
    }
}

impl Drop for BpfFileSystem {
    fn drop(&mut self) {
        if let Err(error) = umount(&self.0) {
            eprintln!("{} stays mounted: {error}", self.0.display());
        }
    }
}

fn configured(directory: &tempfile::TempDir, state: &str) -> Launch {
    let kept = directory.path().join("state");
    let pins = directory.path().join("bpf/pins");
    let state = format!(
        "[state]\ndirectory = \"{}\"\npins = \"{}\"\n{state}\n",
        kept.display(),
        pins.display()
    );
    Launch {
        directory: Some(directory.path().to_owned()),
        ..launch(&[&state, TRANSLATOR, FORWARD, TRANSLATE_ALL].concat())
    }
}

/// Bytes that say where in the stream they are.
fn content(length: usize) -> Vec<u8> {
    (0..length as u32 / 4)
        .flat_map(|word| word.wrapping_mul(0x9e37_79b9).to_be_bytes())
        .collect()
}

/// A listener in the server's namespace and its address.
fn server(site: &Site) -> (TcpListener, SocketAddr) {
    let listener = at(&site.lab.server, || {
        TcpListener::bind((SERVER, 0)).expect("a port")
    });
    let address = listener.local_addr().expect("bound");
    (listener, address)
}

#[test]
fn a_download_survives_a_restart() {
    let mut lasting = Lasting::new("");
    let (listener, address) = server(lasting.site());
    let expected = content(40_000_000);
    let mut inside = at(&lasting.site().lab.inside, || {
        TcpStream::connect_timeout(&address, ON_ITS_WAY).expect("the server listens")
    });
    inside.set_read_timeout(Some(ON_ITS_WAY)).expect("a timeout");
    let (mut outside, peer) = listener.accept().expect("a connection");
    thread::scope(|scope| {
        scope.spawn(|| {
            outside.write_all(&expected).expect("the connection holds");
            outside.shutdown(Shutdown::Write).expect("half closed");
        });
        let mut received = vec![0; 2_000_000];
        inside.read_exact(&mut received).expect("the beginning");

        let log = lasting.stop();
        assert!(log.contains("saved"), "{log}");
        for interface in ["lan", "wan"] {
            assert!(has_program(&lasting.site().lab, interface));
        }
        // What is the kernel's is still the kernel's.
        check_echo(&lasting.site().lab.inside, BOX_INSIDE);
        // All that is on its way or waits to be read comes; the rest is sent in vain, and again later.
        let mode = fs::metadata(lasting.state_file()).expect("a file").mode();
        assert_eq!(mode & 0o777, 0o600);

        let log = lasting.start("");
        assert!(log.contains("1 mappings with 1 sessions taken up again"), "{log}");
        assert!(
            !lasting.state_file().exists(),
            "it would be too old after a crash"
        );
        inside.read_to_end(&mut received).expect("the rest");
        assert!(received == expected, "{} bytes", received.len());
    });
    assert_eq!(
        lasting.site().external("tcp"),
        [peer].into(),
        "the same mapping goes on"
    );
    lasting.finish();
}

#[test]
fn flows_and_forwarded_ports_survive_a_restart() {
    let mut lasting = Lasting::new("interval = 0");
    // An inside host has asked; the answer comes later.
    let outside = at(&lasting.site().lab.server, || {
        UdpSocket::bind((SERVER, 0)).expect("a port")
    });
    let inside = at(&lasting.site().lab.inside, || {
        UdpSocket::bind((INSIDE, 0)).expect("a port")
    });
    for socket in [&outside, &inside] {
        socket.set_read_timeout(Some(ON_ITS_WAY)).expect("a timeout");
    }
    let server = outside.local_addr().expect("bound");
    inside.send_to(b"question", server).expect("sent");
    let mut buffer = [0; 64];
    let (_, external) = outside.recv_from(&mut buffer).expect("it comes");
    assert_eq!(external.ip(), BOX_OUTSIDE);
    // An outside host uses a forwarded port.
    let listener = at(&lasting.site().lab.inside, || {
        TcpListener::bind((INSIDE, 8080)).expect("a port")
    });
    let mut visitor = at(&lasting.site().lab.server, || {
        TcpStream::connect((BOX_OUTSIDE, 8080)).expect("it is forwarded")
    });
    let (mut visited, _) = listener.accept().expect("a connection");

    lasting.stop();
    // Meanwhile both sides go on: the kernel neither forwards nor answers.
    inside.send_to(b"in vain", server).expect("sent");
    outside.send_to(b"in vain", external).expect("sent");
    visitor.write_all(b"from outside, ").expect("sent");
    visited.write_all(b"from inside, ").expect("sent");
    check_echo(&lasting.site().lab.inside, BOX_INSIDE);
    let log = lasting.start("interval = 0");
    assert!(log.contains("2 mappings with 2 sessions taken up again"), "{log}");

    outside.send_to(b"answer", external).expect("sent");
    let (length, from) = inside.recv_from(&mut buffer).expect("the answer");
    assert_eq!((&buffer[..length], from), (&b"answer"[..], server));
    inside.send_to(b"thanks", server).expect("sent");
    let (length, from) = outside.recv_from(&mut buffer).expect("it comes");
    assert_eq!((&buffer[..length], from), (&b"thanks"[..], external));
    for (mut from, mut to, said) in [
        (&visitor, &visited, "from outside, and later"),
        (&visited, &visitor, "from inside, and later"),
    ] {
        from.write_all(b"and later").expect("sent");
        from.shutdown(Shutdown::Write).expect("half closed");
        let mut heard = String::new();
        to.set_read_timeout(Some(ON_ITS_WAY)).expect("a timeout");
        to.read_to_string(&mut heard).expect("up to the end");
        assert_eq!(heard, said);
    }
    check_traffic(&lasting.site().lab);
    lasting.finish();
}

#[test]
fn a_damaged_state_is_refused_and_kept_aside() {
    let mut lasting = Lasting::new("takeover = 0");
    check_traffic(&lasting.site().lab);
    lasting.stop();
    for interface in ["lan", "wan"] {
        assert!(!has_program(&lasting.site().lab, interface));
    }
    let file = lasting.state_file();
    let mut state = fs::read(&file).expect("a file");
    let middle = state.len() / 2;
    state[middle] ^= 4;
    fs::write(&file, &state).expect("writing");
    let log = lasting.start("takeover = 0");
    assert!(
        log.contains("channel internet starts without mappings") && log.contains("checksum"),
        "{log}"
    );
    assert_eq!(lasting.site().mappings().len(), 0);
    let aside = file.with_extension("nat-state.refused");
    assert_eq!(fs::read(aside).expect("a file"), state);
    assert!(!file.exists());
    check_traffic(&lasting.site().lab);
    lasting.finish();
}

#[test]
fn state_saved_at_intervals_survives_a_kill() {
    let mut lasting = Lasting::new("interval = 1");
    let outside = at(&lasting.site().lab.server, || {
        UdpSocket::bind((SERVER, 0)).expect("a port")
    });
    let inside = at(&lasting.site().lab.inside, || {
        UdpSocket::bind((INSIDE, 0)).expect("a port")
    });
    inside
        .send_to(b"question", outside.local_addr().expect("bound"))
        .expect("sent");
    outside.set_read_timeout(Some(ON_ITS_WAY)).expect("a timeout");
    let (_, external) = outside.recv_from(&mut [0; 64]).expect("it comes");
    eventually("the state to be saved", || {
        let file = fs::read(lasting.state_file()).unwrap_or_default();
        Saved::read(&file, "internet").is_ok_and(|saved| saved.len() == 1)
    });
    let site = lasting.site.as_mut().expect("it is there");
    site.daemon.process().kill();
    for interface in ["lan", "wan"] {
        eventually("the XDP program is gone", || !has_program(&site.lab, interface));
    }
    let log = lasting.start("");
    assert!(log.contains("1 mappings with 1 sessions taken up again"), "{log}");
    assert_eq!(lasting.site().external("udp"), [external].into());
    lasting.finish();
}

/// What is carried when the daemon stops goes on without it.
#[test]
fn carried_flows_go_on_while_there_is_no_daemon() {
    let mut lasting = Lasting::new("takeover = 600");
    poll_at_the_ends(&lasting.site().lab);
    let talk = Talk::new(&lasting.site().lab);
    eventually("both directions are carried", || {
        talk.exchange(ENOUGH);
        lasting.site().verdict("offloaded") >= 2 * ENOUGH as u64
    });
    lasting.stop();
    talk.exchange(100);
    lasting.start("takeover = 600");
    talk.exchange(3 * ENOUGH);
    assert!(lasting.site().verdict("offloaded") > 0, "it was taken up");
    assert_eq!(lasting.site().mappings().len(), 1, "the session is the same");
    lasting.finish();
}

/// Sessions come back to the workers that they belong to, however many of them there are.
#[test]
fn what_several_workers_saved_is_taken_up_by_as_many_or_one() {
    const TWO: &str = "interval = 0\n[workers]\ncount = 2";
    const ONE: &str = "interval = 0\n[workers]\ncount = 1";
    let options = Options {
        queues: 2,
        ..Options::default()
    };
    let mut lasting = Lasting::with(&options, TWO);
    let outside = at(&lasting.site().lab.server, || {
        UdpSocket::bind((SERVER, 0)).expect("a port")
    });
    outside.set_read_timeout(Some(ON_ITS_WAY)).expect("a timeout");
    let server = outside.local_addr().expect("bound");
    let mut buffer = [0; 64];
    let mut known = Vec::new();
    for host in (20..32).map(|last| Ipv4Addr::new(10, 77, 0, last)) {
        lasting.site().lab.add_inside_address(host).expect("an address");
        let inside = at(&lasting.site().lab.inside, || {
            UdpSocket::bind((host, 0)).expect("a port")
        });
        inside.set_read_timeout(Some(ON_ITS_WAY)).expect("a timeout");
        inside.send_to(b"question", server).expect("sent");
        let (_, external) = outside.recv_from(&mut buffer).expect("it comes");
        known.push((inside, external));
    }
    let of_first = (20..32).filter(|&last| worker_of(Ipv4Addr::new(10, 77, 0, last), 2) == 0);
    assert!((1..12).contains(&of_first.count()), "both workers have hosts");
    for state in [TWO, ONE, TWO] {
        let log = lasting.stop();
        assert!(log.contains("12 sessions and held ports saved"), "{log}");
        let log = lasting.start(state);
        let told = "12 mappings with 12 sessions taken up again, 0 ports held back; 0 sessions left out";
        assert!(log.contains(told), "{log}");
        for (inside, external) in &known {
            outside.send_to(b"answer", external).expect("sent");
            let (length, from) = inside.recv_from(&mut buffer).expect("the answer");
            assert_eq!((&buffer[..length], from), (&b"answer"[..], server));
            inside.send_to(b"thanks", server).expect("sent");
            let (_, from) = outside.recv_from(&mut buffer).expect("it comes");
            assert_eq!(from, *external);
        }
    }
    lasting.finish();
}
