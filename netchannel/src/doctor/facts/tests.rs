//! Readers on made-up trees.

use std::fs;
use std::os::unix::fs::symlink;

use tempfile::TempDir;

use super::*;
use crate::doctor::cpu_set::CpuSet;

/// A directory with these files.
fn tree(files: &[(&str, &str)]) -> (TempDir, Root) {
    let directory = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = directory.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let root = Root::at(directory.path());
    (directory, root)
}

fn set(list: &str) -> CpuSet {
    CpuSet::parse(list).unwrap()
}

#[test]
fn nothing_is_known_of_an_empty_tree() {
    let (_directory, root) = tree(&[]);
    assert_eq!(Processors::read(&root), Processors::default());
    assert_eq!(Kernel::read(&root), Kernel::default());
    let nothing = Device {
        name: "eth0".to_owned(),
        ..Device::default()
    };
    assert_eq!(Device::in_directory(&root, "eth0"), nothing);
}

#[test]
fn files_that_say_nonsense_are_as_if_they_were_not_there() {
    let garbage = "\u{fffd}\0 -17 x,y-";
    let paths = [
        "sys/devices/system/cpu/online",
        "sys/devices/system/cpu/isolated",
        "proc/self/status",
        "proc/self/limits",
        "proc/sys/net/core/bpf_jit_enable",
        "proc/sys/net/ipv4/ip_forward",
        "proc/interrupts",
        "sys/class/net/eth0/queues/rx-0/rps_cpus",
        "sys/class/net/eth0/gro_flush_timeout",
        "sys/class/net/eth0/device/numa_node",
    ];
    let (_directory, root) = tree(&paths.map(|path| (path, garbage)));
    assert_eq!(Processors::read(&root), Processors::default());
    assert_eq!(Kernel::read(&root), Kernel::default());
    let device = Device::in_directory(&root, "eth0");
    assert!(device.interrupts.is_empty() && device.receive_steering.is_empty() && device.node.is_none());
}

#[test]
fn processors_are_read() {
    let (_directory, root) = tree(&[
        ("sys/devices/system/cpu/online", "0-3\n"),
        ("sys/devices/system/cpu/isolated", "2-3\n"),
        ("sys/devices/system/cpu/nohz_full", "3\n"),
        (
            "sys/devices/system/cpu/cpu2/topology/thread_siblings_list",
            "0,2\n",
        ),
        (
            "sys/devices/system/cpu/cpu2/cpufreq/scaling_governor",
            "schedutil\n",
        ),
        ("sys/devices/system/cpu/cpu2/node1/x", ""),
        (
            "sys/devices/system/cpu/cpu2/power/pm_qos_resume_latency_us",
            "100\n",
        ),
        ("sys/devices/system/cpu/cpu2/cpuidle/state0/latency", "0\n"),
        ("sys/devices/system/cpu/cpu2/cpuidle/state1/latency", "50\n"),
        ("sys/devices/system/cpu/cpu2/cpuidle/state2/latency", "90\n"),
        ("sys/devices/system/cpu/cpu2/cpuidle/state2/disable", "1\n"),
        ("sys/devices/system/cpu/cpu2/cpuidle/state3/latency", "170\n"),
        ("sys/devices/system/cpu/cpuidle/current_driver", "haltpoll\n"),
        ("sys/module/haltpoll/parameters/guest_halt_poll_ns", "0\n"),
        (
            "sys/devices/system/clocksource/clocksource0/current_clocksource",
            "hpet\n",
        ),
        (
            "sys/devices/system/clocksource/clocksource0/available_clocksource",
            "tsc hpet \n",
        ),
        (
            "proc/self/status",
            "Name:\tx\nCpus_allowed_list:\t1-2\nCapEff:\t0000000000000000\n",
        ),
        ("proc/17/comm", "bash\n"),
        ("proc/823/comm", "irqbalance\n"),
    ]);
    let seen = Processors::read(&root);
    assert_eq!((&seen.online, &seen.allowed), (&set("0-3"), &set("1-2")));
    assert_eq!((&seen.isolated, &seen.tickless), (&set("2-3"), &set("3")));
    let core = Core {
        governor: Some("schedutil".to_owned()),
        siblings: set("0,2"),
        node: Some(1),
        wake_latency: Some(50),
    };
    assert_eq!((seen.cores.len(), &seen.cores[&2]), (4, &core));
    assert_eq!(
        (seen.clock_source.as_deref(), seen.clock_sources.len()),
        (Some("hpet"), 2)
    );
    assert_eq!((seen.irqbalance, seen.halt_poll), (true, Some(0)));
}

#[test]
fn the_kernel_s_settings_are_read() {
    let status = "CapEff:\t0000000000001000\n";
    let limits =
        "Limit  Soft Limit  Hard Limit  Units\nMax locked memory         8388608   8388608   bytes\n";
    let files = [
        ("proc/sys/kernel/osrelease", "6.1.0-18-amd64\n"),
        (
            "proc/net/protocols",
            "protocol  size sockets\nXDP       1088      0\nTCP 1\n",
        ),
        ("proc/sys/net/core/bpf_jit_enable", "1\n"),
        ("proc/sys/net/ipv4/ip_forward", "0\n"),
        ("proc/sys/net/ipv4/conf/all/rp_filter", "2\n"),
        ("proc/sys/net/netfilter/nf_conntrack_count", "77\n"),
        ("sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", "64\n"),
        ("sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "32\n"),
        ("proc/self/status", status),
        ("proc/self/limits", limits),
    ];
    let (directory, root) = tree(&files);
    let seen = Kernel::read(&root);
    assert_eq!(seen.version(), Some((6, 1)));
    assert_eq!(
        (seen.af_xdp, seen.bpf_jit, seen.ip_forward),
        (Some(true), Some(1), Some(false))
    );
    assert_eq!((seen.rp_filter, seen.tracked), (Some(2), Some(77)));
    assert_eq!(
        (seen.locked_limit, seen.huge_pages),
        (Some(8_388_608), Some((64, 32)))
    );
    // CAP_IPC_LOCK.
    fs::write(
        directory.path().join("proc/self/status"),
        "CapEff:\t0000000000004000\n",
    )
    .unwrap();
    assert_eq!(Kernel::read(&root).locked_limit, None);
    fs::write(directory.path().join("proc/self/status"), status).unwrap();
    fs::write(
        directory.path().join("proc/self/limits"),
        "Max locked memory unlimited unlimited bytes\n",
    )
    .unwrap();
    assert_eq!(Kernel::read(&root).locked_limit, None);
}

#[test]
fn a_device_s_interrupts_are_found_by_bus_and_by_name() {
    let interrupts = "           CPU0       CPU1\n  24:   1   0  PCI-MSI 1-edge  eth0-TxRx-0\n  25:   1   0  PCI-MSI 2-edge  other-TxRx-0\n \
                      26:   0   0  PCI-MSI 3-edge  mlx5_comp1@pci:0000:01:00.0\n  27: 0 0 x virtio2-input.3\n  28: 0 0 x virtio21-input.0\n NMI: 0 0 Non-maskable interrupts\n";
    let (directory, root) = tree(&[
        ("proc/interrupts", interrupts),
        ("proc/irq/24/smp_affinity_list", "0\n"),
        ("proc/irq/25/smp_affinity_list", "0\n"),
        ("proc/irq/26/smp_affinity_list", "0-1\n"),
        ("proc/irq/27/smp_affinity_list", "1\n"),
        ("proc/irq/28/smp_affinity_list", "1\n"),
        ("devices/virtio2/msi_irqs/26", ""),
        ("devices/virtio2/numa_node", "1\n"),
        ("sys/class/net/eth0/queues/rx-0/rps_cpus", "00000000\n"),
        ("sys/class/net/eth0/queues/rx-10/rps_cpus", "3\n"),
        ("sys/class/net/eth0/queues/rx-2/rps_cpus", "1\n"),
        ("sys/class/net/eth0/queues/tx-0/xps_cpus", "3\n"),
        ("sys/class/net/eth0/napi_defer_hard_irqs", "2\n"),
        ("sys/class/net/eth0/gro_flush_timeout", "200000\n"),
    ]);
    symlink(
        "../../../../devices/virtio2",
        directory.path().join("sys/class/net/eth0/device"),
    )
    .unwrap();
    let seen = Device::in_directory(&root, "eth0");
    let found: Vec<_> = seen
        .interrupts
        .iter()
        .map(|it| (it.number, it.queue(), it.processors.to_string()))
        .collect();
    assert_eq!(
        found,
        [
            (24, Some(0), "0".to_owned()),
            (26, Some(1), "0-1".to_owned()),
            (27, Some(3), "1".to_owned())
        ]
    );
    assert_eq!(seen.receive_steering, [(2, set("0")), (10, set("0-1"))]);
    assert_eq!(
        (seen.node, seen.defer_hard_irqs, seen.flush_timeout),
        (Some(1), Some(2), Some(200_000))
    );
}

#[test]
fn names_of_interrupts_tell_of_queues() {
    for (name, queue) in [
        ("ens1f0-TxRx-12", Some(12)),
        ("ice-ens1f0-TxRx-3", Some(3)),
        ("mlx5_comp7@pci:0000:c1:00.0", Some(7)),
        ("virtio0-input.1", Some(1)),
        ("virtio0-output.1", None),
        ("virtio0-config", None),
        ("mlx5_async0@pci:0000:c1:00.0", None),
        ("eth0", None),
        ("eth0-rx-99999999999", None),
        ("", None),
    ] {
        let interrupt = Interrupt {
            name: name.to_owned(),
            ..Interrupt::default()
        };
        assert_eq!(interrupt.queue(), queue, "{name}");
    }
}

#[test]
fn the_kernel_s_translation_is_found_among_its_rules() {
    let json = r#"{"nftables": [{"metainfo": {"version": "1.0.6"}},
        {"chain": {"family": "ip", "table": "nat", "name": "POSTROUTING", "type": "nat"}},
        {"rule": {"family": "ip", "table": "nat", "chain": "POSTROUTING", "handle": 4, "expr": [
            {"match": {"op": "==", "left": {"meta": {"key": "oifname"}}, "right": "wan0"}},
            {"counter": {"packets": 0, "bytes": 0}}, {"masquerade": null}]}},
        {"rule": {"family": "inet", "table": "t", "chain": "pre", "handle": 9, "expr": [
            {"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": {"set": ["a", "b"]}}},
            {"dnat": {"addr": "10.0.0.1"}}]}},
        {"rule": {"family": "ip", "table": "nat", "chain": "POSTROUTING", "handle": 5, "expr": [
            {"match": {"op": "!=", "left": {"meta": {"key": "oifname"}}, "right": "lo"}},
            {"xt": {"type": "target", "name": "MASQUERADE"}}]}},
        {"rule": {"family": "ip", "table": "filter", "chain": "FORWARD", "handle": 2, "expr": [{"accept": null}]}}]}"#;
    let rules = Translations::parse(json).unwrap();
    let seen: Vec<_> = rules
        .iter()
        .map(|rule| (rule.handle, rule.kind.as_str(), rule.interfaces.join(" ")))
        .collect();
    assert_eq!(
        seen,
        [
            (4, "masquerade", "wan0".to_owned()),
            (9, "dnat", "a b".to_owned()),
            (5, "masquerade", String::new())
        ]
    );
    for wrong in ["", "[]", "{}", "{\"nftables\": 1}", "nft: command not found"] {
        assert_eq!(Translations::parse(wrong), None, "{wrong}");
    }
    assert_eq!(
        Translations::parse("{\"nftables\": [{\"rule\": {\"expr\": [{\"snat\": 1}]}}]}"),
        Some(vec![])
    );
}
