//! What translators have of everything.

use std::io::{self, Write};

use netchannel::control::report::{Pool, PoolAddress, PoolPorts, Pools};

use super::NONE;
use crate::table::Side::{Left, Right};
use crate::table::Table;
use crate::units::{count, percent};

pub(crate) fn pools(report: &Pools, out: &mut impl Write) -> io::Result<()> {
    if report.pools.is_empty() {
        return writeln!(out, "no channels that translate");
    }
    let columns = [
        ("CHANNEL", Left),
        ("ADDRESSES", Right),
        ("HOSTS", Right),
        ("WHAT", Left),
        ("THERE ARE", Right),
        ("AT MOST", Right),
        ("SHARE", Right),
        ("AT MOST OF A HOST", Right),
    ];
    let rows: Vec<Vec<String>> = report.pools.iter().flat_map(of_pool).collect();
    Table::new(&columns).write(&rows, out)?;
    writeln!(out)?;
    if report.addresses.is_empty() {
        return writeln!(out, "no addresses");
    }
    let mut columns = vec![
        ("CHANNEL", Left),
        ("ADDRESS", Left),
        ("HOSTS", Right),
        ("TCP USED", Right),
        ("FREE", Right),
        ("HELD", Right),
        ("UDP USED", Right),
        ("FREE", Right),
        ("HELD", Right),
        ("ICMP USED", Right),
        ("FREE", Right),
        ("HELD", Right),
        ("IN USE", Right),
    ];
    if report.addresses.iter().any(|address| address.blocks.is_some()) {
        columns.extend([("BLOCKS GIVEN", Right), ("OF", Right)]);
    }
    let rows: Vec<Vec<String>> = report.addresses.iter().map(address).collect();
    Table::new(&columns).write(&rows, out)
}

/// A thing that there may be a limit on.
struct Bounded {
    what: &'static str,
    used: u64,
    most: Option<u64>,
    most_of_host: Option<u32>,
}

/// A line for each of them.
fn of_pool(pool: &Pool) -> Vec<Vec<String>> {
    let (limits, of_host) = (&pool.limits, &pool.host_limits);
    let ports = pool.ports_per_protocol;
    let of_protocol = |what, used, limit: Option<u32>, most_of_host| Bounded {
        what,
        used,
        most: Some(limit.map_or(ports, |limit| ports.min(limit.into()))),
        most_of_host,
    };
    let (mappings, most, most_of_host) = (&pool.mappings, &limits.mappings_of, &of_host.mappings_of);
    let all = [
        Bounded {
            what: "mappings",
            used: mappings.tcp + mappings.udp + mappings.icmp,
            most: limits.mappings.map(u64::from),
            most_of_host: of_host.mappings,
        },
        of_protocol("tcp mappings", mappings.tcp, most.tcp, most_of_host.tcp),
        of_protocol("udp mappings", mappings.udp, most.udp, most_of_host.udp),
        of_protocol("icmp mappings", mappings.icmp, most.icmp, most_of_host.icmp),
        Bounded {
            what: "sessions",
            used: pool.sessions,
            most: limits.sessions.map(u64::from),
            most_of_host: of_host.sessions,
        },
    ];
    let or_none = |number: Option<u64>| number.map_or(NONE.to_owned(), count);
    let row = |(number, line): (usize, &Bounded)| {
        let once = |text: String| if number == 0 { text } else { String::new() };
        vec![
            once(pool.channel.clone()),
            once(count(pool.addresses)),
            once(count(pool.hosts)),
            line.what.to_owned(),
            count(line.used),
            or_none(line.most),
            line.most.map_or(NONE.to_owned(), |most| percent(line.used, most)),
            or_none(line.most_of_host.map(u64::from)),
        ]
    };
    all.iter().enumerate().map(row).collect()
}

fn address(address: &PoolAddress) -> Vec<String> {
    let protocols = [&address.ports.tcp, &address.ports.udp, &address.ports.icmp];
    let taken = |ports: &PoolPorts| ports.used + ports.held;
    let fullest = protocols.into_iter().max_by_key(|ports| taken(ports));
    let mut row = vec![
        address.channel.clone(),
        address.address.clone(),
        count(address.hosts),
    ];
    for ports in protocols {
        row.extend([ports.used, ports.free, ports.held].map(count));
    }
    let blocks = address
        .blocks
        .map_or([NONE.to_owned(), NONE.to_owned()], |blocks| {
            [count(blocks.given), count(blocks.all)]
        });
    row.push(fullest.map_or(NONE.to_owned(), |ports| {
        percent(taken(ports), taken(ports) + ports.free)
    }));
    row.extend(blocks);
    row
}
