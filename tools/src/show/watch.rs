//! The same again and again: in its place on a terminal, else one after the other.

use std::io::{IsTerminal, Write, stdout};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crate::failure::Failure;
use crate::signals;

/// Shows what `write` writes, once each `interval`, until a signal ends the program. JSON has no lines about the time between.
pub(super) fn watch(
    interval: Duration,
    is_json: bool,
    mut write: impl FnMut(&mut Vec<u8>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    signals::end_on_stop()?;
    let in_place = stdout().is_terminal() && !is_json;
    let mut next = Instant::now();
    let mut is_first = true;
    loop {
        let mut text = Vec::new();
        if !is_json {
            let now = humantime::format_rfc3339_seconds(SystemTime::now());
            writeln!(text, "{now}")?;
        }
        write(&mut text)?;
        if in_place {
            text = drawn(&text, is_first, ratatui::crossterm::terminal::size().ok());
        } else if !is_json {
            text.push(b'\n');
        }
        // Locked only for this: a signal ends the program between two writings.
        let mut out = stdout().lock();
        out.write_all(&text)?;
        out.flush()?;
        drop(out);
        is_first = false;
        next += interval;
        let now = Instant::now();
        // What was late does not come in a row.
        next = next.max(now);
        thread::sleep(next - now);
    }
}

/// The text with the control sequences (ECMA-48) that put it over what was there before, and no more of it than a terminal of this size,
/// columns and rows, shows.
fn drawn(text: &[u8], is_first: bool, size: Option<(u16, u16)>) -> Vec<u8> {
    const HOME: &[u8] = b"\x1b[H";
    const CLEAR_ALL: &[u8] = b"\x1b[2J";
    const CLEAR_TO_END_OF_LINE: &[u8] = b"\x1b[K";
    const CLEAR_BELOW: &[u8] = b"\x1b[J";
    let (columns, rows) = size.unwrap_or((80, 24));
    let mut drawn = Vec::with_capacity(text.len() + 256);
    if is_first {
        drawn.extend_from_slice(CLEAR_ALL);
    }
    drawn.extend_from_slice(HOME);
    let text = String::from_utf8_lossy(text);
    // The last row stays free for the cursor.
    for line in text.lines().take(usize::from(rows.saturating_sub(1))) {
        let shown: String = line.chars().take(columns.into()).collect();
        drawn.extend_from_slice(shown.as_bytes());
        drawn.extend_from_slice(CLEAR_TO_END_OF_LINE);
        drawn.extend_from_slice(b"\r\n");
    }
    drawn.extend_from_slice(CLEAR_BELOW);
    drawn
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_drawn_fits_the_terminal() {
        let text = b"123456789\nabc\nnever seen\n";
        let drawn = String::from_utf8(drawn(text, true, Some((5, 3)))).unwrap();
        assert_eq!(drawn, "\x1b[2J\x1b[H12345\x1b[K\r\nabc\x1b[K\r\n\x1b[J");
    }
}
