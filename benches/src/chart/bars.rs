//! Charts of horizontal bars that start at nought.

use std::fmt::Write;

use super::svg::{CHARACTER, begin, text};

/// Panels side by side.
const COLUMNS: usize = 2;
/// Length of the longest bar, in pixels.
const BARS: f64 = 250.0;
/// Thickness of a bar, and from one to the next.
const THICKNESS: f64 = 15.0;
const STEP: f64 = 20.0;
/// Above the bars of a panel, with its title; between panels; above all panels.
const TOP: f64 = 26.0;
const GAP: f64 = 24.0;
const TITLE: f64 = 44.0;
/// Room for what is written behind a bar.
const FIGURE: f64 = 86.0;
/// A line of the notes.
const NOTE: f64 = 18.0;
/// What is left free before titles and notes.
const MARGIN: f64 = 12.0;

/// One bar.
#[derive(Debug, Clone)]
pub struct Value {
    /// What stands before it.
    pub name: String,
    /// As SVG takes it, such as `#0072b2`.
    pub colour: &'static str,
    /// How long it is, and how that is written; nothing for what was not measured.
    pub figure: Option<(f64, String)>,
}

/// Bars of one scale.
#[derive(Debug, Clone)]
pub struct BarPanel {
    /// What stands above it.
    pub title: String,
    /// From top to bottom.
    pub values: Vec<Value>,
}

/// Panels, each with a scale of its own.
#[derive(Debug, Clone)]
pub struct BarChart {
    /// What stands above all.
    pub title: String,
    /// Side by side, in rows.
    pub panels: Vec<BarPanel>,
    /// Under the panels, a line each.
    pub notes: Vec<String>,
}

impl BarChart {
    /// The picture, with a white background of its own.
    pub fn to_svg(&self) -> String {
        let values = self.panels.iter().flat_map(|panel| &panel.values);
        let left = MARGIN + longest(values.map(|value| &value.name));
        let titles = MARGIN + longest(self.panels.iter().map(|panel| &panel.title));
        let bars = self.panels.iter().map(|panel| panel.values.len()).max();
        let column = titles.max(left + BARS + FIGURE);
        let row = TOP + STEP * bars.unwrap_or(0) as f64 + GAP;
        let rows = self.panels.len().div_ceil(COLUMNS);
        let width = column * COLUMNS as f64;
        let end = TITLE + row * rows as f64;
        let mut svg = begin(width, end + NOTE * self.notes.len() as f64 + 8.0);
        svg += &text(width / 2.0, 24.0, "middle", "font-size=\"16\"", &self.title);
        for (number, panel) in self.panels.iter().enumerate() {
            let x = column * (number % COLUMNS) as f64;
            let y = TITLE + row * (number / COLUMNS) as f64;
            svg += &text(
                x + MARGIN,
                y + 14.0,
                "start",
                "font-weight=\"bold\"",
                &panel.title,
            );
            panel.draw(x + left, y, &mut svg);
        }
        for (number, note) in self.notes.iter().enumerate() {
            let y = end + NOTE * number as f64;
            svg += &text(MARGIN, y, "start", "fill=\"#555\"", note);
        }
        svg + "</svg>\n"
    }
}

/// Room for the longest of these texts.
fn longest<'a>(texts: impl Iterator<Item = &'a String>) -> f64 {
    let characters = texts.map(|text| text.chars().count()).max();
    characters.unwrap_or(0) as f64 * CHARACTER
}

impl BarPanel {
    /// The bars, whose left ends are at `x`, under the title's place.
    fn draw(&self, x: f64, y: f64, svg: &mut String) {
        let figures = self.values.iter().filter_map(|value| value.figure.as_ref());
        let longest = figures.map(|(length, _)| *length).fold(0.0, f64::max);
        for (number, value) in self.values.iter().enumerate() {
            let top = y + TOP + STEP * number as f64;
            let base = top + THICKNESS - 3.0;
            *svg += &text(x - 6.0, base, "end", "", &value.name);
            let Some((length, written)) = &value.figure else {
                *svg += &text(x + 4.0, base, "start", "fill=\"#888\"", "not measured");
                continue;
            };
            let width = if longest > 0.0 {
                length.max(0.0) / longest * BARS
            } else {
                0.0
            };
            let _ = writeln!(
                svg,
                "<rect x=\"{x:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{THICKNESS}\" fill=\"{}\"/>",
                value.colour
            );
            *svg += &text(x + width + 5.0, base, "start", "", written);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_long_as_their_figures() {
        let value = |name: &str, figure: Option<f64>| Value {
            name: name.to_owned(),
            colour: "#123456",
            figure: figure.map(|length| (length, format!("{length}"))),
        };
        let chart = BarChart {
            title: "a < b".to_owned(),
            panels: vec![BarPanel {
                title: "packets".to_owned(),
                values: vec![
                    value("most", Some(40.0)),
                    value("half", Some(20.0)),
                    value("none", None),
                ],
            }],
            notes: vec!["note".to_owned()],
        };
        let svg = chart.to_svg();
        assert!(svg.contains("a &lt; b") && svg.ends_with("</svg>\n"), "{svg}");
        let widths: Vec<&str> = svg
            .lines()
            .filter(|line| line.contains("#123456"))
            .filter_map(|line| line.split("width=\"").nth(1)?.split('"').next())
            .collect();
        assert_eq!(widths, ["250.0", "125.0"]);
        assert!(svg.contains("not measured"));
        let empty = BarChart {
            panels: Vec::new(),
            ..chart
        };
        assert!(!empty.to_svg().contains("NaN"));
    }

    #[test]
    fn titles_do_not_reach_beyond_their_panels() {
        let title = "packets/s ".repeat(12);
        let panel = BarPanel {
            title: title.clone(),
            values: Vec::new(),
        };
        let chart = BarChart {
            title: String::new(),
            panels: vec![panel.clone(), panel],
            notes: Vec::new(),
        };
        let svg = chart.to_svg();
        let number = |line: &str, name: &str| -> f64 {
            let value = line.split(&format!("{name}=\"")).nth(1).unwrap();
            value.split('"').next().unwrap().parse().unwrap()
        };
        let width = number(&svg, "width");
        let starts: Vec<f64> = svg
            .lines()
            .filter(|line| line.contains(&title))
            .map(|line| number(line, " x"))
            .collect();
        let room = title.len() as f64 * CHARACTER;
        assert!(
            starts[0] + room <= starts[1] && starts[1] + room <= width,
            "{svg}"
        );
    }
}
