//! `netchannel top`: a live view of the whole screen.

mod app;
mod draw;
mod grid;
mod panes;
mod sample;
#[cfg(test)]
mod tests;

use std::io::{IsTerminal, stdin, stdout};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::TryRecvError;
use std::thread;
use std::time::Duration;

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::arguments::Top;
use crate::failure::Failure;
use app::App;
use draw::Theme;

/// How soon a signal, or a sample, is seen.
const TURN: Duration = Duration::from_millis(50);

/// Shows what a netchannel does until the user or a signal ends it.
pub(crate) fn top(arguments: &Top) -> Result<(), Failure> {
    if !stdin().is_terminal() || !stdout().is_terminal() {
        return Err(Failure::Usage(
            "top needs a terminal; for a file or a pipe: netchannel show ports --watch, or -j for programs"
                .to_owned(),
        ));
    }
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    end_on_hangup()?;
    // From here to `restore` the terminal is this program's; a panic restores it, too.
    let mut terminal = ratatui::try_init()?;
    let shown = show(&mut terminal, arguments, &stop);
    ratatui::try_restore()?;
    shown
}

/// Ends the program when its terminal is gone. To wait for keys of such a terminal would not come back to look at a flag.
fn end_on_hangup() -> std::io::Result<()> {
    let mut signals = Signals::new([SIGHUP])?;
    thread::Builder::new().name("hangup".to_owned()).spawn(move || {
        if signals.forever().next().is_some() {
            // It may be there still: somebody sent the signal.
            let _ = ratatui::try_restore();
            std::process::exit(0);
        }
    })?;
    Ok(())
}

fn show(terminal: &mut DefaultTerminal, arguments: &Top, stop: &AtomicBool) -> Result<(), Failure> {
    let samples = sample::start(arguments.socket.clone(), arguments.interval)?;
    let theme = Theme::of_environment();
    let mut app = App::new(arguments.socket.display().to_string());
    let mut is_stale = true;
    while !stop.load(Ordering::Relaxed) {
        loop {
            match samples.try_recv() {
                Ok(sample) => app.take(sample),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => {
                    return Err(
                        anyhow::anyhow!("the thread that asks the netchannel ended unexpectedly").into(),
                    );
                }
            }
            is_stale = true;
        }
        if is_stale {
            terminal.draw(|frame| draw::draw(&mut app, theme, frame))?;
            is_stale = false;
        }
        if !event::poll(TURN)? {
            continue;
        }
        match event::read()? {
            Event::Key(key) if key.kind != KeyEventKind::Release => {
                if app.press(key).is_break() {
                    return Ok(());
                }
                is_stale = true;
            }
            Event::Resize(..) => is_stale = true,
            _ => {}
        }
    }
    Ok(())
}
