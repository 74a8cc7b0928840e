//! The traffic benchmark as a user runs it, and its peers. Needs root, and what `cargo build --all-targets` builds.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use netchannel_benches::Error;
use netchannel_benches::measure::hardware_address;
use netchannel_benches::process::usable_processors;
use netchannel_benches::service::PATIENCE;
use netchannel_benches::stop::wait_until;
use netchannel_benches::subject::{Running, Subject};
use netchannel_benches::topology::{INSIDE, Lab, Options, SERVER};
use netchannel_benches::traffic::Live;
use netchannel_benches::traffic::ping::{Ping, ping};
use netchannel_benches::traffic::raw::RawSocket;
use netchannel_benches::traffic::udp::{EchoServer, echo_many};
use serde_json::Value;
use tempfile::tempdir;

/// `target/<profile>/examples/traffic`, beside the directory of this test.
fn program() -> PathBuf {
    let this = std::env::current_exe().expect("the path of this program");
    let profile = this.ancestors().nth(2).expect("a directory of the profile");
    let program = profile.join("examples/traffic");
    assert!(
        program.exists() && profile.join("netchannel").exists(),
        "{} and the command netchannel are not built: cargo build --workspace --all-targets",
        program.display()
    );
    program
}

fn traffic(arguments: &[&str], directory: &Path) -> Output {
    Command::new(program())
        .args(arguments)
        .current_dir(directory)
        .output()
        .expect("the program can be started")
}

#[test]
fn every_column_of_every_subject_has_a_figure() {
    let directory = tempdir().expect("a directory");
    let output = traffic(
        &["--quick", "--json", "f.json", "--output", "."],
        directory.path(),
    );
    let (said, errors) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{errors}");
    let file = |name: &str| fs::read_to_string(directory.path().join(name)).expect("it was written");
    let run: Value = serde_json::from_str(&file("f.json")).expect("JSON");
    let subjects = run["subjects"].as_array().expect("a list");
    assert_eq!(subjects.len(), 7);
    for subject in subjects {
        let (name, figures) = (&subject["subject"], &subject["figures"]);
        if let Some(why) = subject["unavailable"].as_str() {
            assert_eq!((name.as_str(), why.is_empty()), (Some("flowtable"), false));
            assert!(said.contains(why), "{said}");
            continue;
        }
        let figures = figures.as_object().expect("figures by column");
        let keeps_flows =
            !["forwarding", "bare-xdp", "bare-af-xdp"].contains(&name.as_str().unwrap_or_default());
        assert_eq!(
            figures.len(),
            if keeps_flows { 19 } else { 18 },
            "{name}: {figures:?}"
        );
        for (column, figure) in figures {
            let median = figure["median"].as_f64().expect("a number");
            assert!(
                median > 0.0 || column == "loaded_loss",
                "{name}: {column}: {median}"
            );
        }
    }
    for text in [said.as_ref(), file("traffic.md").as_str()] {
        for part in [
            "packets/s, XDP sender, 1 flow",
            "TCP, 8 streams",
            "new flows/s",
            "(>= 2",
        ] {
            assert!(text.contains(part), "{part:?} is not in\n{text}");
        }
    }
    assert!(file("traffic.svg").ends_with("</svg>\n"));

    // The same report once more, from the file.
    let again = traffic(&["--figures", "f.json"], directory.path());
    assert_eq!(
        (String::from_utf8_lossy(&again.stdout), again.status),
        (said, output.status),
        "{}",
        String::from_utf8_lossy(&again.stderr)
    );
}

#[test]
fn what_is_asked_for_is_measured_and_no_more() {
    let directory = tempdir().expect("a directory");
    let output = traffic(
        &[
            "--subjects",
            "bare-xdp,masquerade",
            "--columns",
            "tcp",
            "--rounds",
            "2",
            "--seconds",
            "0.05",
            "--json",
            "new/f.json",
        ],
        directory.path(),
    );
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = fs::read(directory.path().join("new/f.json")).expect("it was written");
    let run: Value = serde_json::from_slice(&text).expect("JSON");
    let subjects: Vec<_> = run["subjects"].as_array().expect("a list").iter().collect();
    let names: Vec<_> = subjects.iter().map(|subject| &subject["subject"]).collect();
    assert_eq!(names, ["masquerade", "bare-xdp"]);
    for subject in subjects {
        let figures = subject["figures"].as_object().expect("figures by column");
        assert_eq!(figures.keys().collect::<Vec<_>>(), ["tcp_1", "tcp_8"]);
        assert_eq!(figures["tcp_1"]["rounds"].as_array().map(Vec::len), Some(2));
    }
}

#[test]
fn wrong_options_are_refused_before_anything_is_made() {
    let directory = tempdir().expect("a directory");
    let damaged = directory.path().join("damaged");
    fs::write(&damaged, "{}").expect("a file");
    let missing = usize::MAX.to_string();
    let usable = usable_processors().expect("the kernel tells")[0].to_string();
    let twice = format!("{usable},{usable}");
    for (arguments, said, status) in [
        (&["--rounds", "0"][..], "--rounds", 2),
        (&["--rounds", "1001"], "--rounds", 2),
        (&["--seconds", "nan"], "expected 0.05 to 60", 2),
        (&["--seconds=-1"], "expected 0.05 to 60", 2),
        (&["--seconds", "1e300"], "expected 0.05 to 60", 2),
        (&["--subjects", "nobody"], "netchannel-off", 2),
        (&["--subjects", ""], "--subjects", 2),
        (&["--columns", "tcp,,"], "--columns", 2),
        (&["--processors", "first"], "--processors", 2),
        (&["--processors", &missing], "there is no processor", 1),
        (&["--processors", &twice], "named twice", 1),
        (
            &["--binary", "nowhere/netchannel"],
            "there is no nowhere/netchannel",
            1,
        ),
        (&["--output", "nowhere"], "nowhere", 1),
        (
            &["--json", "/proc/traffic.json"],
            "can not write /proc/traffic.json",
            1,
        ),
        (&["--figures", "nowhere"], "can not read nowhere", 1),
        (&["--figures", "damaged"], "does not have the figures of a run", 1),
        (&["--figures", "damaged", "--quick"], "--quick", 2),
        (&["everything"], "everything", 2),
    ] {
        let output = traffic(arguments, directory.path());
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{arguments:?}: {errors}");
        assert!(errors.contains(said), "{arguments:?}: {errors}");
    }
    let left: Vec<_> = fs::read_dir(directory.path()).expect("it is there").collect();
    assert!(left.iter().all(|entry| entry.as_ref().is_ok_and(|entry| {
        ["damaged", "target"].contains(&entry.file_name().to_string_lossy().as_ref())
    })));
}

#[test]
fn help_has_examples() {
    let directory = tempdir().expect("a directory");
    let output = traffic(&["--help"], directory.path());
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("Examples:") && text.contains("make bench-traffic"),
        "{text}"
    );
}

fn laboratory() -> Lab {
    let lab = Lab::new(&Options::default()).expect("root");
    for host in [&lab.inside, &lab.server] {
        host.command("ethtool -K eth0 gro on").expect("ethtool");
    }
    lab
}

#[test]
fn a_bare_redirect_replaces_addresses_both_ways() {
    let lab = laboratory();
    let _running = Subject::Redirect.start(&lab).expect("native XDP");
    let some = Ping {
        count: 3,
        interval: Duration::ZERO,
        ..Ping::default()
    };
    let outcome = lab.inside.run(|| ping(SERVER, &some, &Live::default()));
    assert!(outcome.expect("a raw socket").outcome.intact());

    let echo = EchoServer::start(&lab.server, (SERVER, 53).into()).expect("port 53");
    let ends = [(&lab.server, "wan"), (&lab.inside, "lan")];
    let sockets = ends.map(|(host, _)| host.run(|| RawSocket::open("eth0")).expect("a packet socket"));
    let echoed = lab
        .inside
        .run(|| echo_many(INSIDE, echo.address(), 2, 2, &Live::default()));
    assert!(echoed.expect("sockets").intact());
    for ((host, from), socket) in ends.iter().zip(&sockets) {
        let wanted = [
            hardware_address(host, "eth0").expect("an address"),
            hardware_address(&lab.middle, from).expect("an address"),
        ]
        .concat();
        let udp = |frame: &[u8]| {
            (frame.get(12..14) == Some(&[8, 0]) && frame.get(23) == Some(&17)).then(|| frame[..12].to_vec())
        };
        let addresses = socket.receive(PATIENCE, udp).expect("frames");
        assert_eq!(addresses, Some(wanted), "{from}");
    }
    // Untranslated.
    let peers: Vec<_> = echo.peers().into_iter().map(|peer| peer.ip()).collect();
    assert!(peers.iter().all(|peer| *peer == INSIDE), "{peers:?}");
}

/// Packets that took the kernel's forwarding, by the counter that `rule` adds to its chain.
fn forwarded(lab: &Lab) -> u64 {
    let chain = lab
        .middle
        .command("nft list chain ip netchannel_lab forward")
        .expect("nft");
    let count = chain
        .split_once("counter packets ")
        .and_then(|(_, rest)| rest.split(' ').next()?.parse().ok());
    count.unwrap_or_else(|| panic!("no counter in {chain}"))
}

#[test]
fn a_flowtable_carries_known_flows_or_the_kernel_has_none() {
    const ROUNDS: usize = 200;
    let lab = laboratory();
    let running: Result<Running<'_>, Error> = Subject::Flowtable.start(&lab);
    let _running = match running {
        Ok(running) => running,
        Err(error) => {
            // The kernel itself must say so.
            let configuration = lab.middle.command("nft add table ip other").and_then(|_| {
                lab.middle.command(
                    "nft add flowtable ip other ft { hook ingress priority 0 ; devices = { lan } ; }",
                )
            });
            assert!(
                matches!(error, Error::Unsupported(_)) && configuration.is_err(),
                "{error}"
            );
            return;
        }
    };
    lab.middle
        .command("nft insert rule ip netchannel_lab forward counter")
        .expect("a counter");
    let echo = EchoServer::start(&lab.server, (SERVER, 53).into()).expect("port 53");
    let echoed = lab
        .inside
        .run(|| echo_many(INSIDE, echo.address(), 1, ROUNDS, &Live::default()));
    assert!(echoed.expect("sockets").intact());
    let few = || Ok((forwarded(&lab) < ROUNDS as u64 / 2).then_some(()));
    wait_until("the counter", PATIENCE, few).expect("most took the flowtable");
}
