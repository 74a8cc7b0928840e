//! Checks on made-up facts: what is well, and one thing after the other that is not.

use std::time::Duration;

use super::*;
use crate::config::{Config, FlowOffload, HugePages, Interface, Wait, XdpMode, ZeroCopy};
use crate::doctor::cpu_set::CpuSet;
use crate::doctor::facts::{
    Core, Device, Interrupt, Kernel, KernelTranslation, LinkState, Processors, Program, Translations,
};
use crate::doctor::finding::Level;
use crate::network::ethtool::{CardRings, Offload, QueueLimits, Queues};

const TEXT: &str = r#"
    [workers]
    count = 2
    cpus = "2-3"
    [[interface]]
    name = "lan0"
    role = "inside"
    [[interface]]
    name = "wan0"
    role = "outside"
    [[channel]]
    name = "internet"
    type = "nat"
    external = "wan0"
    [[rule]]
    from = "10.0.0.0/24"
    channel = "internet"
"#;

fn set(list: &str) -> CpuSet {
    CpuSet::parse(list).unwrap()
}

/// A card with two queues, set as it should be.
fn card(name: &str) -> Device {
    let interrupt = |number, queue, processor| Interrupt {
        number,
        name: format!("{name}-TxRx-{queue}"),
        processors: set(processor),
    };
    Device {
        name: name.to_owned(),
        link: Some(LinkState {
            mtu: 1500,
            up: true,
            ..LinkState::default()
        }),
        driver: Some("ice".to_owned()),
        queues: Some(Queues {
            receive: 2,
            transmit: 2,
        }),
        limits: Some(QueueLimits {
            receive: 64,
            transmit: 64,
            combined: true,
        }),
        rings: Some(CardRings {
            receive: 2048,
            most_receive: 8160,
            transmit: 256,
            most_transmit: 8160,
        }),
        indirection: Some(vec![0, 1, 0, 1]),
        hashes_udp_ports: Some(true),
        xdp_features: Some(0b1111),
        node: Some(0),
        interrupts: vec![interrupt(40, 0, "2"), interrupt(41, 1, "3")],
        defer_hard_irqs: Some(0),
        flush_timeout: Some(0),
        rp_filter: Some(0),
        ..Device::default()
    }
}

/// A machine with nothing to change.
fn good() -> Facts {
    let core = Core {
        governor: Some("performance".to_owned()),
        siblings: CpuSet::default(),
        node: Some(0),
        wake_latency: Some(2),
    };
    Facts {
        processors: Processors {
            online: set("0-3"),
            allowed: set("0-3"),
            isolated: set("2-3"),
            tickless: set("2-3"),
            cores: (0..4).map(|cpu| (cpu, core.clone())).collect(),
            clock_source: Some("tsc".to_owned()),
            clock_sources: vec!["tsc".to_owned(), "hpet".to_owned()],
            irqbalance: false,
            halt_poll: None,
        },
        kernel: Kernel {
            release: Some("6.18.1".to_owned()),
            af_xdp: Some(true),
            bpf_jit: Some(1),
            ip_forward: Some(false),
            rp_filter: Some(0),
            tracked: None,
            locked_limit: None,
            huge_pages: Some((64, 64)),
        },
        devices: vec![card("lan0"), card("wan0")],
        translations: Translations {
            rules: Some(Vec::new()),
            legacy: false,
        },
    }
}

fn config() -> Config {
    let mut config = Config::parse(TEXT, "test.toml").unwrap();
    config.memory.huge_pages = HugePages::Wanted;
    config
}

/// What is not as it should be.
fn found(facts: &Facts, config: &Config) -> Vec<Finding> {
    let names: Vec<String> = config.interface_names().into_iter().map(str::to_owned).collect();
    let wanted = Wanted::of(config, &names, &facts.devices, &facts.processors);
    let mut findings = all(facts, Some(&wanted));
    for finding in &findings {
        let explained = finding.why.is_some() && (finding.advice.is_some() || !finding.commands.is_empty());
        assert_eq!(explained, finding.level > Level::Ok, "{finding:?}");
    }
    findings.retain(|finding| finding.level > Level::Ok);
    findings
}

/// The one thing that is not as it should be after `change`: check, level and commands.
#[track_caller]
fn only(change: impl FnOnce(&mut Facts, &mut Config)) -> (String, Level, Vec<String>) {
    let (mut facts, mut config) = (good(), config());
    change(&mut facts, &mut config);
    let mut findings = found(&facts, &config);
    assert_eq!(findings.len(), 1, "{findings:#?}");
    let finding = findings.remove(0);
    (finding.check, finding.level, finding.commands)
}

#[track_caller]
fn check(change: impl FnOnce(&mut Facts, &mut Config), name: &str, level: Level, commands: &[&str]) {
    let seen = only(change);
    let commands = commands.iter().map(|&command| command.to_owned()).collect();
    assert_eq!(seen, (name.to_owned(), level, commands));
}

#[test]
fn nothing_is_found_where_all_is_well() {
    assert_eq!(found(&good(), &config()), []);
    let bare = all(&good(), None);
    assert!(
        bare.iter()
            .all(|finding| finding.level == Level::Ok && finding.subject.is_none()),
        "{bare:?}"
    );
    // Nor where nothing is known.
    let nothing = Facts::default();
    assert!(
        all(&nothing, None)
            .iter()
            .all(|finding| finding.level == Level::Ok)
    );
}

#[test]
fn the_kernel_is_looked_at() {
    use Level::{Advice, Problem, Warning};
    check(
        |it, _| it.kernel.release = Some("5.15.0-91".to_owned()),
        "kernel",
        Problem,
        &[],
    );
    check(|it, _| it.kernel.af_xdp = Some(false), "af-xdp", Problem, &[]);
    check(
        |it, _| it.kernel.bpf_jit = Some(0),
        "bpf-jit",
        Warning,
        &["sysctl -w net.core.bpf_jit_enable=1"],
    );
    check(
        |it, _| it.kernel.locked_limit = Some(8 << 20),
        "memlock",
        Problem,
        &["ulimit -l unlimited"],
    );
    // 16,384 frames of 4 KiB for each of two workers.
    check(
        |it, _| it.kernel.huge_pages = Some((80, 10)),
        "huge-pages",
        Warning,
        &["sysctl -w vm.nr_hugepages=134"],
    );
    check(
        |_, it| it.memory.huge_pages = HugePages::Off,
        "huge-pages",
        Advice,
        &[],
    );
    check(
        |it, _| it.kernel.ip_forward = Some(true),
        "ip-forward",
        Advice,
        &["sysctl -w net.ipv4.ip_forward=0"],
    );
    check(
        |_, it| {
            *it = Config::parse(&TEXT.replace("channel = \"internet\"", "channel = \"pass\""), "x")
                .map(|mut it| {
                    it.memory.huge_pages = HugePages::Wanted;
                    it
                })
                .unwrap()
        },
        "ip-forward",
        Advice,
        &["sysctl -w net.ipv4.ip_forward=1"],
    );
}

#[test]
fn the_kernel_s_translation_matters_on_these_interfaces() {
    let rule = |interfaces: &[&str]| KernelTranslation {
        family: "ip".to_owned(),
        table: "nat".to_owned(),
        chain: "POSTROUTING".to_owned(),
        handle: 7,
        kind: "masquerade".to_owned(),
        interfaces: interfaces.iter().map(|&name| name.to_owned()).collect(),
    };
    let delete = ["nft delete rule ip nat POSTROUTING handle 7"];
    for interfaces in [&["wan0"][..], &["x", "lan0"], &[]] {
        check(
            |it, _| it.translations.rules = Some(vec![rule(interfaces)]),
            "kernel-nat",
            Level::Warning,
            &delete,
        );
    }
    let mut facts = good();
    facts.translations.rules = Some(vec![rule(&["docker0"])]);
    assert_eq!(found(&facts, &config()), []);
    facts.translations.rules = None;
    assert_eq!(found(&facts, &config()), []);
    check(
        |it, _| it.translations.legacy = true,
        "kernel-nat",
        Level::Warning,
        &["iptables-legacy -t nat -F"],
    );
}

#[test]
fn processors_are_looked_at() {
    use Level::{Advice, Problem, Warning};
    check(
        |it, _| it.processors.clock_source = Some("hpet".to_owned()),
        "clock-source",
        Warning,
        &["echo tsc > /sys/devices/system/clocksource/clocksource0/current_clocksource"],
    );
    let slow = |it: &mut Facts, cpu: u32| {
        it.processors.cores.get_mut(&cpu).unwrap().governor = Some("powersave".to_owned());
    };
    check(
        |it, _| (slow(it, 0), slow(it, 3)).1,
        "governor",
        Warning,
        &["echo performance > /sys/devices/system/cpu/cpu3/cpufreq/scaling_governor"],
    );
    check(
        |it, _| {
            for core in it.processors.cores.values_mut() {
                core.wake_latency = Some(170);
            }
        },
        "idle-states",
        Advice,
        &[
            "echo 10 > /sys/devices/system/cpu/cpu2/power/pm_qos_resume_latency_us",
            "echo 10 > /sys/devices/system/cpu/cpu3/power/pm_qos_resume_latency_us",
        ],
    );
    check(
        |it, _| it.processors.halt_poll = Some(0),
        "idle-states",
        Advice,
        &["echo 200000 > /sys/module/haltpoll/parameters/guest_halt_poll_ns"],
    );
    let unpinned =
        |_: &mut Facts, it: &mut Config| (it.workers.count, it.workers.cpus) = (Some(1), Vec::new());
    check(unpinned, "workers", Advice, &[]);
    check(
        |it, _| it.processors.irqbalance = true,
        "irqbalance",
        Warning,
        &["systemctl stop irqbalance"],
    );
    check(
        |it, _| it.processors.isolated = set("3"),
        "isolation",
        Advice,
        &[],
    );
    check(
        |it, _| it.processors.tickless = CpuSet::default(),
        "isolation",
        Advice,
        &[],
    );
    check(
        |it, _| it.processors.cores.get_mut(&2).unwrap().siblings = set("2-3"),
        "hardware-threads",
        Advice,
        &[],
    );
    check(
        |it, _| {
            it.processors.allowed = set("0-2");
            it.processors.isolated = set("2-3");
        },
        "workers",
        Problem,
        &[],
    );
}

#[test]
fn workers_that_never_sleep_need_processors_of_their_own() {
    let poll = |config: &mut Config| {
        config.workers.wait = Wait::BusyPoll {
            budget: 64,
            time: Duration::from_micros(20),
        };
    };
    let defer = |facts: &mut Facts| {
        for device in &mut facts.devices {
            (device.defer_hard_irqs, device.flush_timeout) = (Some(2), Some(200_000));
        }
    };
    let (mut facts, mut config) = (good(), config());
    poll(&mut config);
    defer(&mut facts);
    assert_eq!(found(&facts, &config), []);
    facts.devices[1].defer_hard_irqs = Some(0);
    let warning = &found(&facts, &config)[0];
    assert_eq!(
        (warning.check.as_str(), warning.subject.as_deref()),
        ("interrupt-deferral", Some("wan0"))
    );
    assert_eq!(
        warning.commands,
        [
            "echo 2 > /sys/class/net/wan0/napi_defer_hard_irqs",
            "echo 200000 > /sys/class/net/wan0/gro_flush_timeout"
        ]
    );
    let share = |facts: &mut Facts, config: &mut Config| {
        poll(config);
        defer(facts);
        config.workers.cpus = vec![2];
        for interrupt in facts.devices.iter_mut().flat_map(|device| &mut device.interrupts) {
            interrupt.processors = set("2");
        }
    };
    check(share, "workers", Level::Problem, &[]);
    let all_of_them = |facts: &mut Facts, config: &mut Config| {
        poll(config);
        defer(facts);
        facts.processors.online = set("2-3");
        facts.processors.allowed = set("2-3");
    };
    check(all_of_them, "workers", Level::Warning, &[]);
}

#[test]
fn interfaces_are_looked_at() {
    use Level::{Advice, Problem, Warning};
    let lan = |change: fn(&mut Device)| move |it: &mut Facts, _: &mut Config| change(&mut it.devices[0]);
    let link = |change: fn(&mut LinkState)| {
        move |it: &mut Facts, _: &mut Config| change(it.devices[0].link.as_mut().unwrap())
    };
    check(lan(|it| it.link = None), "link", Problem, &[]);
    check(
        link(|it| it.up = false),
        "link",
        Warning,
        &["ip link set dev lan0 up"],
    );
    check(
        link(|it| it.mtu = 65_535),
        "mtu",
        Problem,
        &["ip link set dev lan0 mtu 61418"],
    );
    check(
        |it, _| {
            it.kernel.release = Some("6.5.0-1-amd64".to_owned());
            it.devices[0].link.as_mut().unwrap().mtu = 9000;
        },
        "mtu",
        Problem,
        &["ip link set dev lan0 mtu 3818"],
    );
    let program = Program {
        description: "number 7, named \"other\"".to_owned(),
        own: false,
    };
    check(
        |it, _| it.devices[0].program = Some(program),
        "xdp-program",
        Problem,
        &["ip link set dev lan0 xdp off"],
    );
    check(
        lan(|it| it.offloads = vec![Offload::ReceiveVlan]),
        "offloads",
        Advice,
        &["ethtool -K lan0 rxvlan off rx-vlan-stag-hw-parse off"],
    );
    check(
        lan(|it| it.offloads = vec![Offload::ReceiveMerging, Offload::TransmitChecksum]),
        "offloads",
        Advice,
        &["ethtool -K lan0 lro off rx-gro-hw off"],
    );
    let peer = |it: &mut LinkState| {
        (it.veth, it.peer, it.peer_leaves_checksums) = (true, Some("peer0".to_owned()), true);
    };
    check(link(peer), "peer-checksums", Advice, &["ethtool -K peer0 tx off"]);
    check(
        |it, _| it.devices[1].rp_filter = Some(1),
        "rp-filter",
        Advice,
        &["sysctl -w net.ipv4.conf.wan0.rp_filter=2"],
    );
}

#[test]
fn queues_are_looked_at() {
    use Level::{Advice, Problem, Warning};
    let queues = |number| {
        move |it: &mut Facts, _: &mut Config| {
            it.devices[0].queues = Some(Queues {
                receive: number,
                transmit: number,
            });
            it.devices[0].indirection = None;
        }
    };
    check(queues(1), "queues", Problem, &["ethtool -L lan0 combined 2"]);
    check(queues(3), "queues", Advice, &["ethtool -L lan0 combined 2"]);
    check(
        |it, config| {
            queues(65)(it, config);
            config.rings.fill = 64;
            config.rings.transmit = 64;
        },
        "queues",
        Warning,
        &["ethtool -L lan0 combined 2"],
    );
    let limited = |it: &mut Facts, config: &mut Config| {
        queues(1)(it, config);
        it.devices[0].limits = None;
    };
    check(limited, "queues", Problem, &[]);
    let lan = |change: fn(&mut Device)| move |it: &mut Facts, _: &mut Config| change(&mut it.devices[0]);
    check(
        lan(|it| it.rings.as_mut().unwrap().receive = 512),
        "card-rings",
        Advice,
        &["ethtool -G lan0 rx 2048"],
    );
    check(
        lan(|it| it.indirection = Some(vec![0, 0, 0, 0])),
        "rss",
        Advice,
        &["ethtool -X lan0 equal 2"],
    );
    check(
        lan(|it| it.hashes_udp_ports = Some(false)),
        "rss",
        Advice,
        &["ethtool -N lan0 rx-flow-hash udp4 sdfn"],
    );
    check(
        lan(|it| it.interrupts[1].processors = set("0-3")),
        "irq-affinity",
        Warning,
        &["echo 3 > /proc/irq/41/smp_affinity_list"],
    );
    check(
        lan(|it| it.receive_steering = vec![(1, set("0-2"))]),
        "rps",
        Advice,
        &["echo 0 > /sys/class/net/lan0/queues/rx-1/rps_cpus"],
    );
    check(
        lan(|it| (it.defer_hard_irqs, it.flush_timeout) = (Some(2), Some(200_000))),
        "interrupt-deferral",
        Advice,
        &[
            "echo 0 > /sys/class/net/lan0/napi_defer_hard_irqs",
            "echo 0 > /sys/class/net/lan0/gro_flush_timeout",
        ],
    );
    check(lan(|it| it.node = Some(1)), "numa", Warning, &[]);
}

#[test]
fn what_the_driver_can_is_compared_with_what_is_asked_of_it() {
    use Level::{Advice, Problem, Warning};
    let lan = |features| move |it: &mut Facts, _: &mut Config| it.devices[0].xdp_features = Some(features);
    check(lan(0b1110), "xdp-mode", Warning, &[]);
    let asks = |change: fn(&mut Interface), features| {
        move |it: &mut Facts, config: &mut Config| {
            it.devices[0].xdp_features = Some(features);
            change(&mut config.interfaces[0]);
        }
    };
    check(
        asks(|it| it.mode = XdpMode::Native, 0b1110),
        "xdp-mode",
        Problem,
        &[],
    );
    check(
        asks(|it| it.mode = XdpMode::Generic, 0b1111),
        "xdp-mode",
        Advice,
        &[],
    );
    check(
        asks(|it| it.zero_copy = ZeroCopy::On, 0b0111),
        "zero-copy",
        Problem,
        &[],
    );
    check(
        asks(|it| it.zero_copy = ZeroCopy::Off, 0b1111),
        "zero-copy",
        Advice,
        &[],
    );
    // A card takes redirected frames once it has a program, a veth if its peer is set so.
    let mut facts = good();
    facts.devices[0].xdp_features = Some(0b0011);
    assert_eq!(found(&facts, &config()), []);
    let veth = |it: &mut Facts, _: &mut Config| {
        it.devices[0].xdp_features = Some(0b0011);
        let link = it.devices[0].link.as_mut().unwrap();
        (link.veth, link.peer) = (true, Some("peer0".to_owned()));
    };
    check(veth, "redirect-target", Warning, &["ethtool -K peer0 gro on"]);
    let without = |it: &mut Facts, config: &mut Config| {
        veth(it, config);
        config.flow_table.offload = FlowOffload::Off;
        it.devices[1].xdp_features = None;
    };
    let (mut facts, mut config) = (good(), config());
    without(&mut facts, &mut config);
    assert_eq!(found(&facts, &config), []);
}
