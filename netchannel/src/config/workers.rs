//! The table `[workers]`.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use toml::de::DeValue;

use super::error::Source;
use super::schema;
use super::section::{Section, as_integer, describe, refuse};
use super::value;

/// The most workers that there may be.
pub const MAX_WORKERS: u32 = 64;

/// The highest number of a processor that a worker can be pinned to.
pub const HIGHEST_CPU: u32 = 1023;

/// The times that a worker may be told to look for work: from a microsecond to a tenth of a second, after which time passes for channels.
const WAITS: RangeInclusive<Duration> = Duration::from_micros(1)..=Duration::from_millis(100);

/// The longest budget that the kernel takes.
const MOST_BUDGET: u32 = 65_535;

/// The threads that look at packets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workers {
    /// How many there are, 1 to [`MAX_WORKERS`]. `None`: as many as every device has queues, at most the processors that the
    /// process may use.
    pub count: Option<u32>,
    /// The processors that they are pinned to, each at most [`HIGHEST_CPU`], none twice: the first worker to the first, and so on, and
    /// from the front again. Empty: one worker is not pinned, several are to the processors that the process may use.
    pub cpus: Vec<u32>,
    /// What they do when there is no packet.
    pub wait: Wait,
}

/// What a worker does when there is no packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// It sleeps until the kernel wakes it, 50 microseconds after the last packet.
    Interrupt,
    /// It looks for packets for some time before it sleeps.
    Adaptive {
        /// For how long, 1 microsecond to 100 milliseconds.
        spin: Duration,
    },
    /// It never sleeps, and has the kernel work on the queues when it asks for packets, in place of interrupts.
    BusyPoll {
        /// Packets that the kernel takes from a queue at a time (`SO_BUSY_POLL_BUDGET`), 1 to 65,535.
        budget: u32,
        /// How long the kernel may look for packets each time (`SO_BUSY_POLL`), 1 microsecond to 100 milliseconds.
        time: Duration,
    },
}

/// The words for `wait`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Interrupt,
    Adaptive,
    BusyPoll,
}

const KINDS: [(&str, Kind); 3] = [
    ("interrupt", Kind::Interrupt),
    ("adaptive", Kind::Adaptive),
    ("busy-poll", Kind::BusyPoll),
];

impl Default for Workers {
    fn default() -> Self {
        Self {
            count: Some(1),
            cpus: Vec::new(),
            wait: Wait::Interrupt,
        }
    }
}

pub(super) fn read(file: &Section<'_, '_>, source: &mut Source<'_>) -> Workers {
    let mut workers = Workers::default();
    let Some(table) = file.table("workers", &schema::WORKERS, source) else {
        return workers;
    };
    workers.count = count(&table, workers.count, source);
    workers.cpus = cpus(&table, source);
    workers.wait = wait(&table, source);
    workers
}

fn count(table: &Section<'_, '_>, default: Option<u32>, source: &mut Source<'_>) -> Option<u32> {
    let Some(value) = table.value("count") else {
        return default;
    };
    if value.get_ref().as_str() == Some("auto") {
        return None;
    }
    let number = as_integer(value.get_ref()).and_then(|number| u32::try_from(number).ok());
    let number = number.filter(|number| (1..=MAX_WORKERS).contains(number));
    if number.is_none() {
        let expected = format!("\"auto\", or a whole number from 1 to {MAX_WORKERS}");
        refuse(value, "count", &expected, source);
    }
    number.or(default)
}

fn cpus(table: &Section<'_, '_>, source: &mut Source<'_>) -> Vec<u32> {
    const EXPECTED: &str =
        "numbers of processors, 0 to 1023: a list such as [2, 3], or text such as \"2-3,6\"";
    let Some(parts) = table.list("cpus", EXPECTED, source, |value| {
        processors(value).ok_or_else(|| format!("found {}; expected {EXPECTED}", describe(value)))
    }) else {
        return Vec::new();
    };
    let mut known = BTreeSet::new();
    let mut all = Vec::new();
    for part in &parts {
        for &cpu in part.get_ref() {
            if !known.insert(cpu) {
                let message = format!("processor {cpu} is given twice; expected each once");
                source.error(&part.span(), "cpus", message);
                return all;
            }
            all.push(cpu);
        }
    }
    all
}

/// One processor, or as the kernel writes several: numbers and ranges with commas between.
fn processors(value: &DeValue<'_>) -> Option<Vec<u32>> {
    let known = |cpu: u32| Some(cpu).filter(|cpu| *cpu <= HIGHEST_CPU);
    let number = |text: &str| {
        let text = text.trim();
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| text.parse().ok()).flatten().and_then(known)
    };
    let Some(text) = value.as_str() else {
        let cpu = as_integer(value).and_then(|cpu| u32::try_from(cpu).ok());
        return cpu.and_then(known).map(|cpu| vec![cpu]);
    };
    let mut all = Vec::new();
    for part in text.split(',') {
        let (first, last) = match part.split_once('-') {
            Some((first, last)) => (number(first)?, number(last)?),
            None => (number(part)?, number(part)?),
        };
        if first > last {
            return None;
        }
        all.extend(first..=last);
    }
    Some(all)
}

fn wait(table: &Section<'_, '_>, source: &mut Source<'_>) -> Wait {
    let kind = table.choice("wait", &KINDS, source);
    let spin = time(table, "spin", Duration::from_millis(1), source);
    let budget = table.number("busy_poll_budget", 64, 1..=MOST_BUDGET, source);
    let busy = time(table, "busy_poll_time", Duration::from_micros(20), source);
    let kind = kind.unwrap_or(Kind::Interrupt);
    for (key, of, word) in [
        ("spin", Kind::Adaptive, "adaptive"),
        ("busy_poll_budget", Kind::BusyPoll, "busy-poll"),
        ("busy_poll_time", Kind::BusyPoll, "busy-poll"),
    ] {
        if let Some(value) = table.value(key)
            && kind != of
        {
            let message = format!("it does nothing; expected wait = \"{word}\" beside it");
            source.warning(&value.span(), key, message);
        }
    }
    match kind {
        Kind::Interrupt => Wait::Interrupt,
        Kind::Adaptive => Wait::Adaptive { spin },
        Kind::BusyPoll => Wait::BusyPoll { budget, time: busy },
    }
}

fn time(table: &Section<'_, '_>, key: &str, default: Duration, source: &mut Source<'_>) -> Duration {
    let Some(found) = table.value(key) else {
        return default;
    };
    let time = value::short_duration(found.get_ref()).filter(|time| WAITS.contains(time));
    if time.is_none() {
        refuse(
            found,
            key,
            "a time such as \"50us\" or \"1ms\", 1us to 100ms",
            source,
        );
    }
    time.unwrap_or(default)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, ConfigError};

    fn parse(lines: &str) -> Result<Config, ConfigError> {
        let text = format!(
            "[workers]\n{lines}\n[[interface]]\nname = \"lan0\"\nrole = \"inside\"\n[[rule]]\nchannel = \"pass\"\n"
        );
        Config::parse(&text, "test.toml")
    }

    fn workers(lines: &str) -> Workers {
        let config = parse(lines).unwrap_or_else(|error| panic!("{lines}: {error}"));
        assert_eq!(config.warnings, [], "{lines}");
        config.workers
    }

    #[test]
    fn without_the_table_there_is_one_that_sleeps() {
        let config = Config::parse("[[interface]]\nname = \"a\"\nrole = \"inside\"\n", "x").unwrap();
        assert_eq!(config.workers, Workers::default());
        assert_eq!(workers(""), Workers::default());
        assert_eq!(workers("").wait, Wait::Interrupt);
    }

    #[test]
    fn they_are_counted() {
        assert_eq!(workers("count = 1").count, Some(1));
        assert_eq!(workers("count = 64").count, Some(64));
        assert_eq!(workers("count = \"auto\"").count, None);
        for wrong in ["0", "65", "-1", "\"all\"", "\"2\"", "2.0", "[2]", "true"] {
            let error = parse(&format!("count = {wrong}")).unwrap_err().to_string();
            let expected = "expected \"auto\", or a whole number from 1 to 64";
            assert!(error.contains(expected), "{wrong}: {error}");
        }
    }

    #[test]
    fn processors_are_written_as_a_list_or_as_the_kernel_does() {
        for (text, cpus) in [
            ("[2, 3]", &[2, 3][..]),
            ("3", &[3]),
            ("\"3\"", &[3]),
            ("\"2-3,6\"", &[2, 3, 6]),
            ("[\"4-5\", 0, \"1023\"]", &[4, 5, 0, 1023]),
            ("\" 1 - 2 , 7\"", &[1, 2, 7]),
        ] {
            assert_eq!(workers(&format!("cpus = {text}")).cpus, cpus, "{text}");
        }
        for wrong in [
            "[]",
            "\"\"",
            "1024",
            "-1",
            "\"3-2\"",
            "\"1,\"",
            "\"+1\"",
            "\"1-2-3\"",
            "\"a\"",
            "[[1]]",
            "1.5",
            "[2, 2]",
            "\"1-3,2\"",
            "\"0-4294967296\"",
            "\"\u{663}\"",
        ] {
            let error = parse(&format!("cpus = {wrong}")).unwrap_err().to_string();
            assert!(error.contains("expected"), "{wrong}: {error}");
        }
    }

    #[test]
    fn they_wait_in_three_ways() {
        let micros = Duration::from_micros;
        for (lines, wait) in [
            ("wait = \"interrupt\"", Wait::Interrupt),
            ("wait = \"adaptive\"", Wait::Adaptive { spin: micros(1000) }),
            (
                "wait = \"adaptive\"\nspin = \"100ms\"",
                Wait::Adaptive {
                    spin: micros(100_000),
                },
            ),
            (
                "wait = \"busy-poll\"",
                Wait::BusyPoll {
                    budget: 64,
                    time: micros(20),
                },
            ),
            (
                "wait = \"busy-poll\"\nbusy_poll_budget = 8\nbusy_poll_time = \"1us\"",
                Wait::BusyPoll {
                    budget: 8,
                    time: micros(1),
                },
            ),
        ] {
            assert_eq!(workers(lines).wait, wait, "{lines}");
        }
        for (lines, expected) in [
            (
                "wait = \"poll\"",
                "expected \"interrupt\", \"adaptive\" or \"busy-poll\"",
            ),
            ("wait = 1", "expected"),
            ("spin = \"0us\"", "1us to 100ms"),
            ("spin = \"101ms\"", "1us to 100ms"),
            ("spin = \"1s\"", "1us to 100ms"),
            ("spin = 50", "1us to 100ms"),
            ("spin = \"us\"", "1us to 100ms"),
            ("busy_poll_time = \"99999999999999999999us\"", "1us to 100ms"),
            ("busy_poll_budget = 0", "from 1 to 65535"),
            ("busy_poll_budget = 65536", "from 1 to 65535"),
            ("cpu = 1", "did you mean `cpus`?"),
        ] {
            let error = parse(lines).unwrap_err().to_string();
            assert!(error.contains(expected), "{lines}: {error}");
        }
    }

    #[test]
    fn what_another_way_to_wait_does_not_use_is_warned_of() {
        for (lines, word) in [
            ("spin = \"50us\"", "adaptive"),
            ("wait = \"busy-poll\"\nspin = \"50us\"", "adaptive"),
            ("wait = \"adaptive\"\nbusy_poll_budget = 64", "busy-poll"),
            ("busy_poll_time = \"20us\"", "busy-poll"),
        ] {
            let warnings = parse(lines).unwrap().warnings;
            assert_eq!(warnings.len(), 1, "{lines}");
            assert!(
                warnings[0].to_string().contains(&format!("wait = \"{word}\"")),
                "{}",
                warnings[0]
            );
        }
    }
}
