//! The screen without a terminal.

use std::time::{Duration, Instant};

use netchannel::control::report::{
    Channel, Channels, CopyMode, DropReason, Drops, Flow, FlowTranslation, Flows, Frames, KernelStatistics,
    LinkState, Memory, Pool, Pools, Port, Ports, Rings, Runs, Table, Traffic, Work, Worker, Workers, XdpMode,
};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::style::Color;

use super::app::App;
use super::draw::{Theme, draw};
use super::sample::Sample;

/// A sample after so many seconds of traffic that does not change.
fn sample(start: Instant, seconds: u64) -> Sample {
    let port = |interface: &str, packets: u64| Port {
        interface: interface.to_owned(),
        device: interface.to_owned(),
        vlan: None,
        link: LinkState::Up,
        driver: None,
        xdp_mode: XdpMode::Native,
        copy_mode: CopyMode::Copy,
        queues: 1,
        rings: Rings::default(),
        received: Traffic {
            packets: packets * seconds,
            bytes: 1000 * packets * seconds,
        },
        transmitted: Traffic::default(),
        dropped: 0,
        kernel: KernelStatistics::default(),
    };
    let flow = |host: u8, port: u16, bytes: u64| Flow {
        interface: "lan".to_owned(),
        protocol: "udp".to_owned(),
        source: [10, 0, 0, host].into(),
        destination: [192, 0, 2, 1].into(),
        source_port: port,
        destination_port: 53,
        icmp: None,
        fragment: None,
        channel: "internet".to_owned(),
        rule: Some(0),
        packets: 10 * seconds,
        bytes: bytes * seconds,
        idle_seconds: 0,
        runs: Runs::UserSpace,
        translation: Some(FlowTranslation {
            inside: format!("10.0.0.{host}:{port}").parse().unwrap(),
            external: "198.51.100.1:2000".parse().unwrap(),
            remote: "192.0.2.1:53".parse().unwrap(),
        }),
    };
    Sample {
        at: start + Duration::from_secs(seconds),
        ports: Ports {
            ports: vec![port("lan", 2_000), port("wan", 30_000)],
            verdicts: Vec::new(),
        },
        channels: Channels {
            channels: vec![Channel {
                name: "internet".to_owned(),
                kind: "nat".to_owned(),
                packets: 32_000 * seconds,
                bytes: 32_000_000 * seconds,
                flows: 5 * seconds,
                details: Default::default(),
            }],
        },
        drops: Drops {
            reasons: vec![
                DropReason {
                    reason: "ttl-expired".to_owned(),
                    packets: 100 + 7 * seconds,
                    explanation: "The time to live ran out.".to_owned(),
                },
                DropReason {
                    reason: "no-route".to_owned(),
                    packets: 5_000,
                    explanation: "There is no route.".to_owned(),
                },
            ],
            ..Drops::default()
        },
        workers: Workers {
            workers: vec![Worker {
                name: "packets".to_owned(),
                cpu: Some(1),
                last_second: Work {
                    packets: 32_000,
                    busy_seconds: 0.25,
                    asleep_seconds: 0.75,
                    ..Work::default()
                },
                ..Worker::default()
            }],
        },
        memory: Memory {
            frames: Frames::default(),
            tables: vec![
                Table {
                    owner: "flow table".to_owned(),
                    name: "ipv4".to_owned(),
                    entries: Some(131_072),
                    capacity: Some(262_144),
                    bytes: None,
                },
                Table {
                    owner: "channel internet".to_owned(),
                    name: "mappings".to_owned(),
                    entries: Some(655),
                    capacity: Some(65_536),
                    bytes: None,
                },
            ],
            ..Memory::default()
        },
        pools: Pools {
            pools: vec![Pool {
                channel: "internet".to_owned(),
                hosts: 2,
                addresses: 1,
                ..Pool::default()
            }],
            ..Pools::default()
        },
        flows: Flows {
            flows: vec![flow(2, 5000, 100), flow(2, 5001, 300), flow(3, 5000, 250)],
            next: None,
        },
    }
}

struct Screen {
    app: App,
    terminal: Terminal<TestBackend>,
    start: Instant,
}

impl Screen {
    fn new(width: u16, height: u16) -> Self {
        Self {
            app: App::new("/run/netchannel/control.sock".to_owned()),
            terminal: Terminal::new(TestBackend::new(width, height)).unwrap(),
            start: Instant::now(),
        }
    }

    /// With two samples, a second apart.
    fn with_traffic(width: u16, height: u16) -> Self {
        let mut screen = Self::new(width, height);
        screen.take(10);
        screen.take(11);
        screen
    }

    fn take(&mut self, seconds: u64) {
        self.app.take(Ok(sample(self.start, seconds)));
    }

    fn lines(&mut self) -> Vec<String> {
        let app = &mut self.app;
        self.terminal
            .draw(|frame| draw(app, Theme::of_environment(), frame))
            .unwrap();
        let buffer = self.terminal.backend().buffer();
        let width = usize::from(buffer.area.width);
        let rows = buffer.content.chunks(width);
        rows.map(|row| {
            let text: String = row.iter().map(|cell| cell.symbol()).collect();
            text.trim_end().to_owned()
        })
        .collect()
    }

    /// The words of the line that starts with this one.
    fn line(&mut self, first: &str) -> String {
        let lines = self.lines();
        let line = lines.iter().find(|line| line.trim_start().starts_with(first));
        let line = line.unwrap_or_else(|| panic!("no {first} in\n{}", lines.join("\n")));
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    fn press(&mut self, keys: &str) -> bool {
        keys.chars().any(|key| {
            let key = KeyEvent::new(KeyCode::Char(key), KeyModifiers::NONE);
            self.app.press(key).is_break()
        })
    }

    fn press_code(&mut self, code: KeyCode) -> bool {
        self.app.press(KeyEvent::new(code, KeyModifiers::NONE)).is_break()
    }
}

#[test]
fn the_overview_has_it_all_on_a_small_screen() {
    let mut screen = Screen::with_traffic(80, 24);
    assert_eq!(screen.lines().len(), 24);
    assert_eq!(screen.line("lan "), "lan up 2.00 k 16.0 M 0 0 0 0");
    assert_eq!(screen.line("wan "), "wan up 30.0 k 240 M 0 0 0 0");
    assert!(screen.line("worker packets").ends_with("25.0 % 32.0 k packets/s"));
    assert!(
        screen
            .line("flow table ipv4")
            .ends_with("50.0 % 131,072 of 262,144")
    );
    assert!(screen.line("internet mappings").ends_with("1.0 % 655 of 65,536"));
    assert!(
        screen
            .line("internet  ")
            .contains("2 inside hosts, 1 external address")
    );
    assert!(screen.line("ttl-expired").starts_with("ttl-expired 7.0 177"));
    let text = screen.lines().join("\n");
    assert!(
        text.contains("most 30.0 k") && text.contains("1 Overview") && text.contains("q quit"),
        "{text}"
    );
}

#[test]
fn each_pane_has_its_number() {
    let mut screen = Screen::with_traffic(80, 24);
    for (key, header) in [
        ("2", "INTERFACE*"),
        ("3", "PROTO"),
        ("4", "INSIDE HOST"),
        ("5", "CHANNEL"),
        ("6", "REASON"),
        ("1", "INTERFACE*"),
        ("9", "INTERFACE*"),
    ] {
        assert!(!screen.press(key));
        screen.line(header);
    }
    screen.press_code(KeyCode::Tab);
    screen.press_code(KeyCode::Tab);
    screen.line("PROTO");
    screen.press_code(KeyCode::BackTab);
    screen.line("INTERFACE*");
}

#[test]
fn flows_and_subscribers_are_sorted_by_their_rates() {
    let mut screen = Screen::with_traffic(80, 24);
    screen.press("3");
    let order = |screen: &mut Screen| -> Vec<String> {
        let lines = screen.lines();
        let flows = lines.iter().filter(|line| line.starts_with("udp"));
        flows
            .map(|line| line.split_whitespace().nth(1).unwrap().to_owned())
            .collect()
    };
    assert_eq!(
        order(&mut screen),
        ["10.0.0.2:5001", "10.0.0.3:5000", "10.0.0.2:5000"]
    );
    screen.press("r");
    assert_eq!(
        order(&mut screen),
        ["10.0.0.2:5000", "10.0.0.3:5000", "10.0.0.2:5001"]
    );
    assert!(screen.line("PROTO").ends_with("BIT/S^"));
    // From the last column on to the first, and back by one more.
    screen.press("rs");
    assert!(screen.line("PROTO").starts_with("PROTO*"));
    screen.press_code(KeyCode::Left);
    assert!(screen.line("PROTO").ends_with("BIT/S*"));
    screen.press("4");
    assert_eq!(screen.line("10.0.0.2"), "10.0.0.2 2 20 3.20 k");
    assert_eq!(screen.line("10.0.0.3"), "10.0.0.3 1 10 2.00 k");
}

#[test]
fn what_is_shown_stays_while_it_is_paused() {
    let mut screen = Screen::with_traffic(80, 24);
    screen.press("6");
    assert!(screen.line("ttl-expired").contains(" 177 "));
    screen.press("p");
    screen.take(12);
    assert!(screen.line("ttl-expired").contains(" 177 ") && screen.lines()[0].contains("PAUSED"));
    screen.app.take(Err("gone".to_owned()));
    assert!(screen.line("ttl-expired").contains(" 177 "));
    screen.press("p");
    assert!(screen.line("Waiting for").contains("gone"));
    screen.take(13);
    assert!(screen.line("ttl-expired").contains(" 191 "));
}

#[test]
fn a_daemon_that_is_gone_is_waited_for() {
    let mut screen = Screen::new(80, 24);
    screen.line("Asking...");
    screen.app.take(Err("no netchannel is running".to_owned()));
    assert!(
        screen
            .line("Waiting for the netchannel at")
            .contains("/run/netchannel/control.sock")
    );
    // The new one counts from the start: no rate is made of what the old one counted.
    screen.take(100);
    screen.app.take(Err("ended".to_owned()));
    screen.take(1);
    assert_eq!(screen.line("lan "), "lan up - - - - 0 0");
    screen.take(2);
    assert_eq!(screen.line("lan "), "lan up 2.00 k 16.0 M 0 0 0 0");
}

#[test]
fn keys_help_and_quit() {
    let mut screen = Screen::with_traffic(80, 24);
    screen.press("?");
    assert!(screen.lines().join("\n").contains("q Esc Ctrl-C   quit"));
    assert!(!screen.press("x"));
    assert!(!screen.lines().join("\n").contains("q Esc Ctrl-C   quit"));
    assert!(screen.press("q"));
    assert!(Screen::new(80, 24).press_code(KeyCode::Esc));
    let control_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    let mut helped = Screen::new(80, 24);
    helped.press("?");
    assert!(helped.app.press(control_c).is_break());
}

/// Nothing panics, however small the screen and whatever is pressed.
#[test]
fn any_size_will_do() {
    for (width, height) in [(1, 1), (2, 3), (10, 4), (40, 10), (79, 23), (200, 60), (500, 2)] {
        let mut screen = Screen::with_traffic(width, height);
        for key in "123456?x".chars() {
            screen.press(&key.to_string());
            screen.lines();
            for code in [
                KeyCode::Down,
                KeyCode::PageDown,
                KeyCode::Up,
                KeyCode::PageUp,
                KeyCode::Home,
            ] {
                screen.press_code(code);
                screen.lines();
            }
        }
        screen.terminal.backend_mut().resize(width + 5, height + 2);
        screen.lines();
    }
}

#[test]
fn without_colours_there_are_none() {
    let mut screen = Screen::with_traffic(80, 24);
    for (theme, expected) in [(Theme::plain(), false), (Theme::coloured(), true)] {
        let app = &mut screen.app;
        screen.terminal.draw(|frame| draw(app, theme, frame)).unwrap();
        let cells = &screen.terminal.backend().buffer().content;
        let has_colours = cells
            .iter()
            .any(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset);
        assert_eq!(has_colours, expected);
    }
}
