//! What the user has chosen, and what there is to show.

use std::collections::{HashMap, VecDeque};
use std::ops::ControlFlow;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::grid::{Grid, Sort};
use super::panes::{Pair, Pane};
use super::sample::Sample;

/// Samples of which an interface's rates are kept.
const HISTORY: usize = 512;

pub(super) struct App {
    /// The socket that is asked.
    pub(super) socket: String,
    pub(super) pane: Pane,
    sorts: [Sort; Pane::ALL.len()],
    /// Rows of the pane that are above the screen.
    pub(super) scrolled: usize,
    pub(super) is_paused: bool,
    pub(super) shows_help: bool,
    /// The last sample and the one before; what is shown stays while it is paused.
    samples: [Option<Sample>; 2],
    paused: Option<[Option<Sample>; 2]>,
    /// Packets in a second of each interface, both ways.
    history: HashMap<String, VecDeque<u64>>,
    /// Why there is no sample now.
    pub(super) trouble: Option<String>,
}

impl App {
    pub(super) fn new(socket: String) -> Self {
        Self {
            socket,
            pane: Pane::Overview,
            sorts: Pane::ALL.map(|pane| Sort {
                column: pane.first_column(),
                is_reversed: false,
            }),
            scrolled: 0,
            is_paused: false,
            shows_help: false,
            samples: [None, None],
            paused: None,
            history: HashMap::new(),
            trouble: None,
        }
    }

    /// Takes a sample, or why there is none.
    pub(super) fn take(&mut self, sample: Result<Sample, String>) {
        match sample {
            Ok(sample) => {
                self.trouble = None;
                let before = self.samples[0].take();
                self.samples = [Some(sample), before];
                self.remember();
            }
            Err(trouble) => {
                // What comes next may count from the start: no rates across the gap.
                self.trouble = Some(trouble);
                self.samples[1] = None;
                self.samples[0] = None;
            }
        }
    }

    fn remember(&mut self) {
        let [Some(now), before] = &self.samples else {
            return;
        };
        let pair = Pair {
            now,
            before: before.as_ref(),
        };
        let rates: Vec<(String, u64)> = now
            .ports
            .ports
            .iter()
            .filter_map(|port| {
                let [received, _, sent, _] = pair.of_port(&port.interface);
                Some((port.interface.clone(), (received? + sent?) as u64))
            })
            .collect();
        for (interface, rate) in rates {
            let history = self.history.entry(interface).or_default();
            history.push_front(rate);
            history.truncate(HISTORY);
        }
    }

    /// The samples to be shown.
    pub(super) fn pair(&self) -> Option<Pair<'_>> {
        let [now, before] = self.paused.as_ref().unwrap_or(&self.samples);
        Some(Pair {
            now: now.as_ref()?,
            before: before.as_ref(),
        })
    }

    /// The rates of an interface, the last one first.
    pub(super) fn history(&self, interface: &str) -> Vec<u64> {
        let history = self.history.get(interface);
        history.map_or(Vec::new(), |history| history.iter().copied().collect())
    }

    pub(super) fn sort(&self) -> Sort {
        self.sorts[self.place()]
    }

    /// The present pane's table, sorted.
    pub(super) fn grid(&self) -> Option<Grid> {
        let mut grid = self.pair()?.grid(self.pane);
        grid.sort(self.sort());
        Some(grid)
    }

    fn place(&self) -> usize {
        Pane::ALL.iter().position(|pane| *pane == self.pane).unwrap_or(0)
    }

    fn open(&mut self, place: usize) {
        if let Some(pane) = Pane::ALL.get(place) {
            self.pane = *pane;
            self.scrolled = 0;
        }
    }

    fn sort_by_next(&mut self, step: isize) {
        let columns = self.grid().map_or(0, |grid| grid.columns.len());
        let place = self.place();
        if columns > 0 {
            let sort = &mut self.sorts[place];
            sort.column = (sort.column as isize + step).rem_euclid(columns as isize) as usize;
            self.scrolled = 0;
        }
    }

    /// Does what a key asks for; breaks if that is the end.
    pub(super) fn press(&mut self, key: KeyEvent) -> ControlFlow<()> {
        let is_control_c = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
        if is_control_c {
            return ControlFlow::Break(());
        }
        if self.shows_help {
            // Any key but those that end it all.
            self.shows_help = false;
            return match key.code {
                KeyCode::Char('q') => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            };
        }
        let place = self.place();
        match key.code {
            KeyCode::Char('q') | KeyCode::Esc => return ControlFlow::Break(()),
            KeyCode::Char('?' | 'h') => self.shows_help = true,
            KeyCode::Char('p' | ' ') => {
                self.is_paused = !self.is_paused;
                self.paused = self.is_paused.then(|| self.samples.clone());
            }
            KeyCode::Char('r') => {
                let sort = &mut self.sorts[place];
                sort.is_reversed = !sort.is_reversed;
            }
            KeyCode::Char('s') | KeyCode::Right => self.sort_by_next(1),
            KeyCode::Left => self.sort_by_next(-1),
            KeyCode::Tab => self.open((place + 1) % Pane::ALL.len()),
            KeyCode::BackTab => self.open((place + Pane::ALL.len() - 1) % Pane::ALL.len()),
            KeyCode::Char(digit @ '1'..='9') => self.open(digit as usize - '1' as usize),
            KeyCode::Down => self.scrolled += 1,
            KeyCode::Up => self.scrolled = self.scrolled.saturating_sub(1),
            KeyCode::PageDown => self.scrolled += 10,
            KeyCode::PageUp => self.scrolled = self.scrolled.saturating_sub(10),
            KeyCode::Home => self.scrolled = 0,
            _ => {}
        }
        ControlFlow::Continue(())
    }
}
