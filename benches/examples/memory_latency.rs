//! How long one access to memory takes that no access before it foretells: the bound on a lookup in a table that is larger than the caches.
//!
//! ```text
//! cargo run --release -p netchannel-benches --example memory_latency
//! ```

use std::hint::black_box;
use std::time::Instant;

use netchannel_benches::measure::median;
use netchannel_benches::table::Table;

/// Lines of the tables that are measured, of 64 bytes each.
const LINES: [usize; 7] = [512, 4096, 16_384, 65_536, 100_000, 262_144, 1 << 20];
const ACCESSES: u32 = 1_000_000;
const ROUNDS: usize = 5;

/// A line of memory: it names the one that is read after it.
#[derive(Clone)]
#[repr(align(64))]
struct Line(usize);

fn main() {
    let mut table = Table::new(&["lines", "KiB", "ns an access"]);
    for lines in LINES {
        let cycle = cycle(lines);
        let rounds: Vec<f64> = (0..ROUNDS).map(|_| nanoseconds(&cycle)).collect();
        table.row([
            lines.to_string(),
            (lines / 16).to_string(),
            median(&rounds).map_or_else(String::new, |time| format!("{time:.1}")),
        ]);
    }
    println!("{table}");
}

/// Lines that lead through all of them in random order (Sattolo 1986).
fn cycle(lines: usize) -> Vec<Line> {
    let mut cycle: Vec<Line> = (0..lines).map(Line).collect();
    // xorshift (Marsaglia 2003).
    let mut state = 0x1234_5678_9abc_def1_u64;
    for last in (1..lines).rev() {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        cycle.swap(last, (state % last as u64) as usize);
    }
    cycle
}

/// Of an access, each of which waits for the one before.
fn nanoseconds(cycle: &[Line]) -> f64 {
    let mut place = 0;
    let started = Instant::now();
    for _ in 0..ACCESSES {
        place = cycle[place].0;
    }
    black_box(place);
    started.elapsed().as_secs_f64() * 1e9 / f64::from(ACCESSES)
}
