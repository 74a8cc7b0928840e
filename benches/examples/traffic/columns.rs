//! What is measured, and how it is written.

use std::fmt;

use clap::ValueEnum;
use netchannel_benches::chart::grouped;

/// What is measured together, in one set of namespaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Group {
    /// 64-byte packets/s of 1, 1,000 and 100,000 flows from a sender that costs next to nothing (XDP live frames)
    Packets,
    /// The same from AF_PACKET senders, on one processor and on each; CPU time per packet
    Sockets,
    /// TCP throughput of 1 and 8 streams
    Tcp,
    /// Round trip at idle and beside 70 % of the packets/s that the subject carries
    Latency,
    /// New flows/s: each packet is the first of its flow
    NewFlows,
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Packets => "packets, XDP sender",
            Self::Sockets => "packets, AF_PACKET senders",
            Self::Tcp => "TCP",
            Self::Latency => "round trips",
            Self::NewFlows => "new flows",
        })
    }
}

/// What a figure counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// In a second.
    Rate,
    /// Bits in a second.
    Bits,
    /// Microseconds.
    Microseconds,
    /// 0 to 1.
    Part,
}

impl Unit {
    /// Three digits, more or less; the unit is in the column's title.
    pub(crate) fn write(self, figure: f64) -> String {
        match self {
            Self::Rate => {
                let step = 10_f64.powf((figure.max(1.0).log10().floor() - 2.0).max(0.0));
                grouped(((figure / step).round() * step) as u64)
            }
            Self::Bits => format!("{:.2}", figure / 1e9),
            Self::Microseconds if figure < 9.995 => format!("{figure:.2}"),
            Self::Microseconds if figure < 999.95 => format!("{figure:.1}"),
            Self::Microseconds => grouped(figure.round() as u64),
            Self::Part => format!("{:.2} %", figure * 100.0),
        }
    }
}

/// One figure of each subject.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Column {
    /// Its name in the file of figures.
    pub(crate) key: &'static str,
    pub(crate) title: &'static str,
    pub(crate) unit: Unit,
    /// Whether it is in the picture.
    pub(crate) drawn: bool,
}

const fn drawn(key: &'static str, unit: Unit, title: &'static str) -> Column {
    Column {
        key,
        title,
        unit,
        drawn: true,
    }
}

const fn written(key: &'static str, unit: Unit, title: &'static str) -> Column {
    Column {
        drawn: false,
        ..drawn(key, unit, title)
    }
}

/// All columns, in the order of the report. What is measured of a subject has these keys.
pub(crate) const COLUMNS: [Column; 19] = {
    use Unit::{Bits, Microseconds, Part, Rate};
    [
        drawn("packets_1", Rate, "packets/s, XDP sender, 1 flow"),
        written("packets_1000", Rate, "packets/s, XDP sender, 1,000 flows"),
        drawn("packets_100000", Rate, "packets/s, XDP sender, 100,000 flows"),
        drawn("one_socket_1", Rate, "packets/s, one AF_PACKET sender, 1 flow"),
        written(
            "one_socket_100000",
            Rate,
            "packets/s, one AF_PACKET sender, 100,000 flows",
        ),
        drawn(
            "processor_time_us",
            Microseconds,
            "CPU time per packet, one AF_PACKET sender, us",
        ),
        drawn(
            "sockets_1",
            Rate,
            "packets/s, AF_PACKET senders on all CPUs, 1 flow each",
        ),
        written(
            "sockets_1000",
            Rate,
            "packets/s, AF_PACKET senders on all CPUs, 1,000 flows",
        ),
        drawn(
            "sockets_100000",
            Rate,
            "packets/s, AF_PACKET senders on all CPUs, 100,000 flows",
        ),
        drawn("tcp_1", Bits, "TCP, 1 stream, Gbit/s"),
        drawn("tcp_8", Bits, "TCP, 8 streams, Gbit/s"),
        written("round_trip_p50_us", Microseconds, "round trip at idle, p50, us"),
        drawn("round_trip_p99_us", Microseconds, "round trip at idle, p99, us"),
        written(
            "round_trip_p999_us",
            Microseconds,
            "round trip at idle, p99.9, us",
        ),
        written(
            "loaded_round_trip_p50_us",
            Microseconds,
            "round trip at 70 % load, p50, us",
        ),
        drawn(
            "loaded_round_trip_p99_us",
            Microseconds,
            "round trip at 70 % load, p99, us",
        ),
        written(
            "loaded_round_trip_p999_us",
            Microseconds,
            "round trip at 70 % load, p99.9, us",
        ),
        written("loaded_loss", Part, "probes lost at 70 % load"),
        drawn("new_flows", Rate, "new flows/s, XDP sender"),
    ]
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits() {
        for (unit, figure, text) in [
            (Unit::Rate, 1_234_567.0, "1,230,000"),
            (Unit::Rate, 999_600.0, "1,000,000"),
            (Unit::Rate, 12.4, "12"),
            (Unit::Rate, 0.0, "0"),
            (Unit::Bits, 2.634e9, "2.63"),
            (Unit::Microseconds, 2.468, "2.47"),
            (Unit::Microseconds, 19.64, "19.6"),
            (Unit::Microseconds, 1_234.5, "1,235"),
            (Unit::Part, 0.0123, "1.23 %"),
        ] {
            assert_eq!(unit.write(figure), text);
        }
    }

    #[test]
    fn no_key_stands_for_two_columns() {
        let keys: std::collections::HashSet<_> = COLUMNS.iter().map(|column| column.key).collect();
        assert_eq!(keys.len(), COLUMNS.len());
    }
}
