//! The long test: random changes and lookups in 1 to 5 dimensions, of sets up to millions of rules.
//!
//! Rounds follow each other until the time is over. Each makes structures, changes and asks them, compares their
//! answers with each other's and with those of a list of the rules, and takes all out again; then all
//! memory must be as it was before. What a round does is a function of its seed, so that a round that failed can be
//! repeated: only where the time ends it is not.
//!
//! `SOAK_MINUTES` says how long (1 if it is not set), `SOAK_SEED` with which seed to start (that of a round is
//! printed when it starts).

mod allocated;
mod contest;
mod draw;
mod readers;

use std::env;
use std::fmt;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use classifier::live::Mirrored;
use classifier::trie::Trie;
use classifier::tuple::Tuple;
use classifier::{Ipv4FiveTuple, Ipv6FiveTuple, Key, Rule, Schema, Word};

use allocated::allocated;

macro_rules! schema {
    ($name:ident, $word:ty, $dimensions:literal, $widths:expr) => {
        #[derive(Debug, Clone, Copy)]
        struct $name;
        impl Schema<$dimensions> for $name {
            type Word = $word;
            const WIDTHS: [u32; $dimensions] = $widths;
        }
    };
}

schema!(One, u32, 1, [32]);
schema!(Two, u32, 2, [32, 16]);
schema!(TwoWide, u128, 2, [128, 48]);
schema!(Three, u32, 3, [32, 16, 8]);
schema!(FourWide, u128, 4, [64, 16, 128, 8]);

/// What a kind of round is called, and does.
type Kind = (&'static str, fn(&Round));

/// They take turns.
const ROUNDS: [Kind; 11] = [
    ("millions of rules", |round| {
        contest::large::<Ipv4FiveTuple, 5>(round, 1_000_000..3_000_000);
    }),
    ("tuple under readers", |round| {
        readers::run(round, Tuple::<Ipv4FiveTuple, u32, 5>::new());
    }),
    ("all structures", contest::all::<Ipv4FiveTuple, 5>),
    ("trie under readers", |round| {
        readers::run(round, Mirrored::new(Trie::<Ipv4FiveTuple, u32, 5>::new()));
    }),
    ("many rules", |round| {
        contest::large::<One, 1>(round, 50_000..500_000)
    }),
    ("all structures", contest::all::<One, 1>),
    ("many rules", |round| {
        contest::large::<TwoWide, 2>(round, 20_000..200_000)
    }),
    ("all structures", contest::all::<Two, 2>),
    ("all structures", contest::all::<Three, 3>),
    ("many rules", |round| {
        contest::large::<FourWide, 4>(round, 20_000..200_000)
    }),
    ("many rules", |round| {
        contest::large::<Ipv6FiveTuple, 5>(round, 20_000..200_000)
    }),
];

/// The seed of the round that runs.
static SEED: AtomicU64 = AtomicU64::new(0);
static PASSED: AtomicU64 = AtomicU64::new(0);

/// What a round has to know.
pub(crate) struct Round {
    pub(crate) seed: u64,
    /// Then it stops changing, and takes all out.
    end: Instant,
}

impl Round {
    pub(crate) fn is_over(&self) -> bool {
        Instant::now() >= self.end
    }

    /// One of these, which take turns from one round of a kind to the next.
    pub(crate) fn pick<T: Copy>(&self, values: &[T]) -> T {
        values[(self.seed / ROUNDS.len() as u64 % values.len() as u64) as usize]
    }

    /// Reports on standard error.
    pub(crate) fn say(&self, what: fmt::Arguments<'_>) {
        eprintln!(
            "soak {}: {what} ({:.1} MB allocated)",
            self.seed,
            allocated() as f64 / 1e6
        );
    }
}

/// Whether the rule accepts the key.
pub(crate) fn matches<W: Word, const D: usize, A>(rule: &Rule<W, D, A>, key: &Key<W, D>) -> bool {
    let mut pairs = rule.ranges.iter().zip(key.values());
    pairs.all(|(range, value)| range.low() <= *value && *value <= range.high())
}

/// A number from the environment.
fn setting<T: std::str::FromStr>(name: &str) -> Result<Option<T>, String> {
    match env::var(name) {
        Ok(text) => match text.parse() {
            Ok(number) => Ok(Some(number)),
            Err(_) => Err(format!("{name} is \"{text}\": give a number")),
        },
        Err(env::VarError::NotPresent) => Ok(None),
        Err(error) => Err(format!("{name}: {error}")),
    }
}

fn settings() -> Result<(Duration, u64), String> {
    let minutes = setting::<f64>("SOAK_MINUTES")?.unwrap_or(1.0);
    let duration = Duration::try_from_secs_f64(minutes * 60.0)
        .map_err(|error| format!("SOAK_MINUTES is {minutes}: {error}"))?;
    let seed = setting::<u64>("SOAK_SEED")?.unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = now.map_or(0, |now| now.as_secs());
        // From the first kind of round on.
        now - now % ROUNDS.len() as u64
    });
    Ok((duration, seed))
}

fn main() -> ExitCode {
    let (duration, first) = match settings() {
        Ok(settings) => settings,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        let seed = SEED.load(Ordering::Relaxed);
        eprintln!("repeat the round that failed: make soak SEED={seed}");
    }));
    // What the standard library allocates once is not a round's.
    std::thread::spawn(move || eprintln!("soak: {duration:?}, from seed {first}"))
        .join()
        .expect("it only prints");

    let start = Instant::now();
    let end = start + duration;
    for seed in first.. {
        let now = Instant::now();
        if now >= end {
            break;
        }
        SEED.store(seed, Ordering::Relaxed);
        let (name, run) = ROUNDS[(seed % ROUNDS.len() as u64) as usize];
        let round = Round {
            seed,
            // So that a short run gets to most kinds.
            end: end.min(now + duration / 3),
        };
        let before = allocated();
        round.say(format_args!("{name}"));
        run(&round);
        assert_eq!(allocated(), before, "bytes allocated after and before the round");
        PASSED.fetch_add(1, Ordering::Relaxed);
        round.say(format_args!("done in {:.1} s", now.elapsed().as_secs_f64()));
    }
    // As other tests do, for those who count them.
    let passed = PASSED.load(Ordering::Relaxed);
    println!(
        "test result: ok. {passed} passed; 0 failed; rounds in {:.1} s",
        start.elapsed().as_secs_f64()
    );
    ExitCode::SUCCESS
}
