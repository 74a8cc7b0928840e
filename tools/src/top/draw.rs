//! The screen.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Clear, Paragraph, Sparkline};

use super::app::App;
use super::grid::Grid;
use super::panes::{Pair, Pane};
use crate::units::{count, percent, rate};

const HELP: &[&str] = &[
    "q Esc Ctrl-C   quit",
    "1 to 6, Tab    pane",
    "s, left right  sort by the next, or another column",
    "r              reverse the order",
    "up down        scroll; also PgUp PgDn Home",
    "p, space       pause, and go on",
    "? h            this help",
    "",
    "* marks the column that rows are sorted by, ^ if in reverse.",
    "RX LOST is what the kernel dropped before it could be received,",
    "TX LOST what found no room to be sent. Flows and subscribers are",
    "those that moved in the last seconds, at most 500 flows.",
    "",
    "Any key closes this.",
];

/// With or without colours.
#[derive(Clone, Copy, Debug)]
pub(super) struct Theme {
    has_colours: bool,
}

impl Theme {
    /// Colours, unless NO_COLOR is set (no-color.org).
    pub(super) fn of_environment() -> Self {
        match std::env::var_os("NO_COLOR") {
            Some(value) if !value.is_empty() => Self::plain(),
            _ => Self::coloured(),
        }
    }

    pub(super) fn plain() -> Self {
        Self { has_colours: false }
    }

    pub(super) fn coloured() -> Self {
        Self { has_colours: true }
    }

    fn colour(self, colour: Color) -> Style {
        if self.has_colours {
            Style::new().fg(colour)
        } else {
            Style::new()
        }
    }

    fn header(self) -> Style {
        self.colour(Color::Cyan).add_modifier(Modifier::BOLD)
    }
}

pub(super) fn draw(app: &mut App, theme: Theme, frame: &mut Frame<'_>) {
    let rows = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Min(0),
        Constraint::Length(1),
    ]);
    let [title, tabs, body, keys] = rows.areas(frame.area());
    frame.render_widget(title_line(app, theme), title);
    frame.render_widget(tab_line(app), tabs);
    match app.trouble.clone().filter(|_| !app.is_paused) {
        Some(trouble) => {
            let text = format!("Waiting for the netchannel at {}: {trouble}", app.socket);
            let waiting = Paragraph::new(text)
                .style(theme.colour(Color::Yellow))
                .wrap(ratatui::widgets::Wrap { trim: true });
            frame.render_widget(waiting, body);
        }
        None if app.pane == Pane::Overview => overview(app, theme, frame, body),
        None => table(app, theme, frame, body),
    }
    let text = "q quit  1-6 pane  s sort  r reverse  p pause  ? help";
    frame.render_widget(Line::styled(text, Style::new().add_modifier(Modifier::DIM)), keys);
    if app.shows_help {
        help(frame, body);
    }
}

fn title_line(app: &App, theme: Theme) -> Line<'static> {
    let mut spans = vec![
        Span::styled("netchannel top", Style::new().add_modifier(Modifier::BOLD)),
        Span::raw(format!("  {}", app.socket)),
    ];
    if app.is_paused {
        spans.push(Span::styled("  PAUSED", theme.colour(Color::Yellow)));
    }
    Line::from(spans)
}

fn tab_line(app: &App) -> Line<'static> {
    let mut spans = Vec::new();
    for (number, pane) in Pane::ALL.into_iter().enumerate() {
        let style = if pane == app.pane {
            Style::new().add_modifier(Modifier::REVERSED)
        } else {
            Style::new()
        };
        spans.push(Span::styled(format!(" {} {} ", number + 1, pane.title()), style));
    }
    Line::from(spans)
}

fn table(app: &mut App, theme: Theme, frame: &mut Frame<'_>, area: Rect) {
    let Some(grid) = app.grid() else {
        frame.render_widget(Line::raw("Asking..."), area);
        return;
    };
    if grid.rows.is_empty() {
        let nothing = match app.pane {
            Pane::Flows => "no flow moves",
            Pane::Subscribers => "no translated flow moves",
            Pane::Drops => "no drops",
            _ => "nothing",
        };
        frame.render_widget(Line::raw(nothing), area);
        return;
    }
    let shown = usize::from(area.height).saturating_sub(1);
    app.scrolled = app.scrolled.min(grid.rows.len().saturating_sub(shown));
    write_grid(&grid, app, theme, frame, area);
}

fn write_grid(grid: &Grid, app: &App, theme: Theme, frame: &mut Frame<'_>, area: Rect) {
    let (header, rows) = grid.lines(app.sort(), area.width.into());
    let mut lines = vec![Line::styled(header, theme.header())];
    let skipped = if app.pane == Pane::Overview {
        0
    } else {
        app.scrolled
    };
    lines.extend(rows.into_iter().skip(skipped).map(Line::raw));
    frame.render_widget(Paragraph::new(lines), area);
}

/// Interfaces with their past, workers, tables, drops.
fn overview(app: &App, theme: Theme, frame: &mut Frame<'_>, area: Rect) {
    let (Some(pair), Some(grid)) = (app.pair(), app.grid()) else {
        frame.render_widget(Line::raw("Asking..."), area);
        return;
    };
    let interfaces = pair.now.ports.ports.len().min(6) as u16;
    let load = load_lines(&pair, area.width.into());
    let rows = Layout::vertical([
        Constraint::Length(interfaces + 1),
        Constraint::Length(interfaces + 2),
        Constraint::Length(load.len() as u16 + 1),
        Constraint::Min(0),
    ]);
    let [ports, past, loads, drops] = rows.areas(area);
    write_grid(&grid, app, theme, frame, ports);
    write_past(app, &grid, theme, frame, past);
    frame.render_widget(Paragraph::new(load), loads);
    write_drops(&pair, theme, frame, drops);
}

/// A sparkline for each interface.
fn write_past(app: &App, grid: &Grid, theme: Theme, frame: &mut Frame<'_>, area: Rect) {
    let title = Rect {
        height: 1.min(area.height),
        ..area
    };
    frame.render_widget(
        Line::styled("PACKETS/S, RX AND TX, THE LAST ONE LEFT", theme.header()),
        title,
    );
    for (number, row) in grid.rows.iter().enumerate() {
        let offset = number as u16 + 1;
        if offset >= area.height {
            break;
        }
        let line = Rect {
            y: area.y + offset,
            height: 1,
            ..area
        };
        let [name, bars, most] =
            Layout::horizontal([Constraint::Length(16), Constraint::Min(0), Constraint::Length(16)])
                .areas(line);
        let history = app.history(&row[0].text);
        let seen = &history[..history.len().min(bars.width.into())];
        let highest = seen.iter().copied().max().unwrap_or(0);
        frame.render_widget(Line::raw(row[0].text.clone()), name);
        let sparkline = Sparkline::default()
            .data(seen.iter().copied())
            .max(highest.max(1))
            .style(theme.colour(Color::Green));
        frame.render_widget(sparkline, bars);
        frame.render_widget(Line::raw(format!("  most {}", rate(highest as f64))), most);
    }
}

/// How full and how busy everything is.
fn load_lines(pair: &Pair<'_>, width: usize) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    for worker in &pair.now.workers.workers {
        let cpu = worker.cpu.map_or(String::new(), |cpu| format!(", CPU {cpu}"));
        let last = &worker.last_second;
        let load = last.load();
        let text = format!("{} packets/s", rate(last.packets as f64));
        let share = percent((load * 10_000.0) as u64, 10_000);
        lines.push(gauge(
            &format!("worker {}{cpu}", worker.name),
            load,
            &share,
            &text,
            width,
        ));
    }
    for table in &pair.now.memory.tables {
        let (Some(entries), Some(capacity)) = (table.entries, table.capacity) else {
            continue;
        };
        let is_translator = table.owner.starts_with("channel ");
        let is_wanted = match table.owner.as_str() {
            "flow table" => table.name == "ipv4" || entries > 0,
            _ => is_translator && matches!(table.name.as_str(), "mappings" | "sessions"),
        };
        if !is_wanted || capacity == 0 {
            continue;
        }
        let owner = table.owner.strip_prefix("channel ").unwrap_or(&table.owner);
        let text = format!("{} of {}", count(entries), count(capacity));
        let share = percent(entries, capacity);
        let ratio = entries as f64 / capacity as f64;
        lines.push(gauge(
            &format!("{owner} {}", table.name),
            ratio,
            &share,
            &text,
            width,
        ));
    }
    for pool in &pair.now.pools.pools {
        let counted = |number: u64, one: &str, several: &str| match number {
            1 => format!("1 {one}"),
            number => format!("{} {several}", count(number)),
        };
        let hosts = counted(pool.hosts, "inside host", "inside hosts");
        let addresses = counted(pool.addresses, "external address", "external addresses");
        let text = format!("{hosts}, {addresses}");
        lines.push(Line::raw(format!("{:<22}  {text}", cut(&pool.channel, 22))));
    }
    lines
}

/// `name  [|||     ]  12.3 %  text`.
fn gauge(name: &str, ratio: f64, share: &str, text: &str, width: usize) -> Line<'static> {
    let bar = (width / 4).clamp(4, 40);
    let full = ((ratio * bar as f64).round() as usize).min(bar);
    let name = cut(name, 22);
    Line::raw(format!(
        "{name:<22}  [{}{}] {share:>7}  {text}",
        "|".repeat(full),
        " ".repeat(bar - full),
    ))
}

fn cut(text: &str, width: usize) -> String {
    text.chars().take(width).collect()
}

fn write_drops(pair: &Pair<'_>, theme: Theme, frame: &mut Frame<'_>, area: Rect) {
    let mut grid = pair.grid(Pane::Drops);
    if grid.rows.is_empty() {
        frame.render_widget(Line::raw("no drops"), area);
        return;
    }
    let sort = super::grid::Sort {
        column: Pane::Drops.first_column(),
        is_reversed: false,
    };
    grid.sort(sort);
    let (header, rows) = grid.lines(sort, area.width.into());
    let mut lines = vec![Line::styled(header, theme.header())];
    lines.extend(rows.into_iter().map(Line::raw));
    frame.render_widget(Paragraph::new(lines), area);
}

fn help(frame: &mut Frame<'_>, area: Rect) {
    let (width, height) = (68.min(area.width), (HELP.len() as u16 + 2).min(area.height));
    let place = Rect {
        x: area.x + (area.width - width) / 2,
        y: area.y + (area.height - height) / 2,
        width,
        height,
    };
    let lines: Vec<Line<'_>> = HELP.iter().map(|line| Line::raw(*line)).collect();
    let block = ratatui::widgets::Block::bordered().title(" Help ");
    frame.render_widget(Clear, place);
    frame.render_widget(Paragraph::new(lines).block(block), place);
}
