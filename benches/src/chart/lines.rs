//! Charts with two logarithmic axes, as SVG.

use std::fmt::Write;

use super::svg::{CHARACTER, begin, line, number, text};

/// Width and height of a panel's axes, in pixels.
const PANEL: (f64, f64) = (330.0, 380.0);
/// Panels side by side.
const COLUMNS: usize = 3;
/// Around the axes of a panel.
const LEFT: f64 = 72.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 52.0;
const RIGHT: f64 = 32.0;
/// Above all panels.
const TITLE: f64 = 34.0;
/// A line of the legend, its first column, and the sample of a line.
const LEGEND_LINE: f64 = 22.0;
const LEGEND_GROUP: f64 = 150.0;
const SAMPLE: f64 = 30.0;
/// Bars for one place on the horizontal axis stand so far from each other.
const BAR_DISTANCE: f64 = 13.0;
/// What the name of a tick needs on the horizontal and on the vertical axis.
const TICK_ROOM: (f64, f64) = (72.0, 18.0);
/// The horizontal axis always shows these.
const RULES: (f64, f64) = (1e3, 1e6);

/// What stands at the points of a line.
#[derive(Debug, Clone, Copy)]
pub enum Marker {
    /// A filled circle.
    Circle,
    /// A filled square.
    Square,
    /// A filled square that stands on a corner.
    Diamond,
    /// A filled triangle.
    Triangle,
    /// Two crossing lines.
    Cross,
}

/// How a line is drawn.
#[derive(Debug, Clone, Copy)]
pub struct Style {
    /// As SVG takes it, such as `#0072b2`.
    pub colour: &'static str,
    /// In pixels.
    pub width: f64,
    /// Whether it has gaps.
    pub dashed: bool,
    /// What stands at its points.
    pub marker: Marker,
}

/// A line through points, given from left to right.
#[derive(Debug)]
pub struct Line {
    /// How it is drawn.
    pub style: Style,
    /// Places on both axes.
    pub points: Vec<(f64, f64)>,
}

/// A vertical bar, from the lowest to the highest value of something.
#[derive(Debug)]
pub struct Bar {
    /// How it is drawn.
    pub style: Style,
    /// Its place on the horizontal axis.
    pub at: f64,
    /// Where it begins.
    pub lowest: f64,
    /// Where it ends.
    pub highest: f64,
}

/// One pair of axes. What comes first is drawn in front.
#[derive(Debug)]
pub struct Panel {
    /// What stands above it.
    pub title: String,
    /// Lines.
    pub lines: Vec<Line>,
    /// Bars, those for one place side by side.
    pub bars: Vec<Bar>,
}

/// Names that belong together in the legend.
#[derive(Debug)]
pub struct Group {
    /// What they have in common.
    pub title: &'static str,
    /// Each with its line.
    pub entries: Vec<(String, Style)>,
}

/// Panels with the same scales. Values are positive.
#[derive(Debug)]
pub struct Chart {
    /// What stands above all.
    pub title: &'static str,
    /// What the horizontal axis shows.
    pub x_label: &'static str,
    /// What the vertical axis shows.
    pub y_label: &'static str,
    /// Side by side, in rows.
    pub panels: Vec<Panel>,
    /// Under the panels.
    pub legend: Vec<Group>,
    /// Under the legend, a line each.
    pub notes: Vec<&'static str>,
}

/// A logarithmic scale: values from `low` to `high` on a length.
#[derive(Debug, Clone, Copy)]
struct Scale {
    low: f64,
    high: f64,
    length: f64,
}

impl Scale {
    fn of(values: impl Iterator<Item = f64>, length: f64) -> Self {
        let (low, high) = values.fold((f64::INFINITY, 0.0_f64), |(low, high), value| {
            (low.min(value), high.max(value))
        });
        // Some room, so that nothing stands on the border.
        Self {
            low: low / 1.4,
            high: high * 1.4,
            length,
        }
    }

    fn place(self, value: f64) -> f64 {
        (value / self.low).ln() / (self.high / self.low).ln() * self.length
    }

    /// What the axis names: powers of ten, and if there is `room` for names at such distances, 2 and 5 of
    /// each.
    fn ticks(self, room: f64) -> Vec<f64> {
        let decade = self.length / (self.high / self.low).log10();
        // From 5 to 10, and from 1 to 2, it is 0.3 of a decade.
        let digits: &[f64] = if decade * 0.3 < room {
            &[1.0]
        } else {
            &[1.0, 2.0, 5.0]
        };
        self.multiples(digits)
    }

    /// Fine lines between them.
    fn lines(self) -> Vec<f64> {
        self.multiples(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0])
    }

    fn multiples(self, digits: &[f64]) -> Vec<f64> {
        let powers = self.low.log10().floor() as i32..=self.high.log10().ceil() as i32;
        powers
            .flat_map(|power| digits.iter().map(move |digit| digit * 10_f64.powi(power)))
            .filter(|value| (self.low..=self.high).contains(value))
            .collect()
    }
}

/// Where a panel's axes stand, and their scales.
#[derive(Debug, Clone, Copy)]
struct Axes {
    left: f64,
    bottom: f64,
    x: Scale,
    y: Scale,
}

impl Axes {
    fn place(self, (x, y): (f64, f64)) -> (f64, f64) {
        (self.left + self.x.place(x), self.bottom - self.y.place(y))
    }
}

impl Chart {
    /// The picture, with a white background of its own.
    pub fn to_svg(&self) -> String {
        let columns = self.panels.len().clamp(1, COLUMNS);
        let rows = self.panels.len().div_ceil(columns);
        let column = LEFT + PANEL.0 + RIGHT;
        let row = TOP + PANEL.1 + BOTTOM;
        let width = (column * columns as f64).max(2.0 * column);
        let (legend, end) = self.legend(width, TITLE + row * rows as f64 + 18.0);
        let height = end + 8.0;

        let mut svg = begin(width, height);
        svg += &text(width / 2.0, 24.0, "middle", "font-size=\"16\"", self.title);
        let (x, y) = self.scales();
        for (number, panel) in self.panels.iter().enumerate() {
            let axes = Axes {
                left: column * (number % columns) as f64 + LEFT,
                bottom: TITLE + row * (number / columns) as f64 + TOP + PANEL.1,
                x,
                y,
            };
            self.axes(axes, &panel.title, &mut svg);
            panel.draw(axes, &mut svg);
        }
        svg + &legend + "</svg>\n"
    }

    /// The same for all panels, so that they can be compared.
    fn scales(&self) -> (Scale, Scale) {
        let points = || {
            self.panels
                .iter()
                .flat_map(|panel| &panel.lines)
                .flat_map(|line| &line.points)
        };
        let bars = || self.panels.iter().flat_map(|panel| &panel.bars);
        let rules = [RULES.0, RULES.1].into_iter().chain(points().map(|(x, _)| *x));
        let values = points().map(|(_, y)| *y);
        let values = values.chain(bars().flat_map(|bar| [bar.lowest, bar.highest]));
        (Scale::of(rules, PANEL.0), Scale::of(values, PANEL.1))
    }

    fn axes(&self, axes: Axes, title: &str, svg: &mut String) {
        let (left, bottom) = (axes.left, axes.bottom);
        let (right, top) = (left + PANEL.0, bottom - PANEL.1);
        let ticks = (axes.x.ticks(TICK_ROOM.0), axes.y.ticks(TICK_ROOM.1));
        for x in axes.x.lines() {
            let colour = grid_colour(ticks.0.contains(&x));
            let x = left + axes.x.place(x);
            *svg += &line((x, top), (x, bottom), &format!("stroke=\"{colour}\""));
        }
        for y in axes.y.lines() {
            let colour = grid_colour(ticks.1.contains(&y));
            let y = bottom - axes.y.place(y);
            *svg += &line((left, y), (right, y), &format!("stroke=\"{colour}\""));
        }
        for x in ticks.0 {
            let name = number(x);
            *svg += &text(left + axes.x.place(x), bottom + 18.0, "middle", "", &name);
        }
        for y in ticks.1 {
            let name = number(y);
            *svg += &text(left - 6.0, bottom - axes.y.place(y) + 4.0, "end", "", &name);
        }
        let (width, height) = PANEL;
        let _ = writeln!(
            svg,
            "<rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"none\" \
             stroke=\"#555\"/>"
        );
        let middle = left + width / 2.0;
        *svg += &text(
            middle,
            top - 10.0,
            "middle",
            "font-size=\"14\" font-weight=\"bold\"",
            title,
        );
        *svg += &text(middle, bottom + 38.0, "middle", "", self.x_label);
        let (x, y) = (left - 48.0, bottom - height / 2.0);
        let turned = format!("transform=\"rotate(-90 {x:.1} {y:.1})\"");
        *svg += &text(x, y, "middle", &turned, self.y_label);
    }

    /// What stands under the panels, from a height on; and where it ends.
    fn legend(&self, width: f64, from: f64) -> (String, f64) {
        let (mut svg, mut y) = (String::new(), from);
        for group in self.legend.iter().filter(|group| !group.entries.is_empty()) {
            svg += &text(LEFT, y, "start", "font-weight=\"bold\"", group.title);
            let mut x = LEFT + LEGEND_GROUP;
            for (name, style) in &group.entries {
                let length = SAMPLE + 8.0 + name.chars().count() as f64 * CHARACTER + 18.0;
                if x + length > width && x > LEFT + LEGEND_GROUP {
                    x = LEFT + LEGEND_GROUP;
                    y += LEGEND_LINE;
                }
                let middle = y - 4.0;
                svg += &line((x, middle), (x + SAMPLE, middle), &style.stroke());
                svg += &style.marker((x + SAMPLE / 2.0, middle));
                svg += &text(x + SAMPLE + 8.0, y, "start", "", name);
                x += length;
            }
            y += LEGEND_LINE;
        }
        for note in &self.notes {
            svg += &text(LEFT, y, "start", "fill=\"#555\"", note);
            y += LEGEND_LINE;
        }
        (svg, y - LEGEND_LINE + 8.0)
    }
}

impl Panel {
    fn draw(&self, axes: Axes, svg: &mut String) {
        let middle = (self.bars.len() as f64 - 1.0) / 2.0;
        for (number, bar) in self.bars.iter().enumerate() {
            let aside = (number as f64 - middle) * BAR_DISTANCE;
            let end = |value| {
                let (x, y) = axes.place((bar.at, value));
                (x + aside, y)
            };
            let ends = [bar.lowest, bar.highest].map(end);
            *svg += &line(ends[0], ends[1], &bar.style.stroke());
            for end in ends {
                *svg += &bar.style.marker(end);
            }
        }
        for Line { style, points } in self.lines.iter().rev() {
            let places: Vec<_> = points.iter().map(|point| axes.place(*point)).collect();
            let path: Vec<String> = places.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
            let stroke = style.stroke();
            let _ = writeln!(
                svg,
                "<polyline points=\"{}\" fill=\"none\" {stroke}/>",
                path.join(" ")
            );
            for place in places {
                *svg += &style.marker(place);
            }
        }
    }
}

impl Style {
    fn stroke(&self) -> String {
        let Self { colour, width, .. } = self;
        let dashes = if self.dashed {
            " stroke-dasharray=\"5 3\""
        } else {
            ""
        };
        format!("stroke=\"{colour}\" stroke-width=\"{width}\"{dashes}")
    }

    fn marker(&self, (x, y): (f64, f64)) -> String {
        let colour = self.colour;
        let size = 2.2 + self.width;
        let path = match self.marker {
            Marker::Circle => {
                return format!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{size:.1}\" fill=\"{colour}\"/>\n");
            }
            Marker::Cross => {
                let (left, right, top, bottom) = (x - size, x + size, y - size, y + size);
                return line(
                    (left, top),
                    (right, bottom),
                    &format!("stroke=\"{colour}\" stroke-width=\"1.5\""),
                ) + &line(
                    (left, bottom),
                    (right, top),
                    &format!("stroke=\"{colour}\" stroke-width=\"1.5\""),
                );
            }
            Marker::Square => [(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)].to_vec(),
            Marker::Diamond => [(0.0, -1.3), (1.3, 0.0), (0.0, 1.3), (-1.3, 0.0)].to_vec(),
            Marker::Triangle => [(0.0, -1.2), (1.2, 1.0), (-1.2, 1.0)].to_vec(),
        };
        let corners = path.iter().map(|(right, down)| {
            let (x, y) = (x + right * size, y + down * size);
            format!("{x:.1},{y:.1}")
        });
        let corners: Vec<String> = corners.collect();
        format!("<polygon points=\"{}\" fill=\"{colour}\"/>\n", corners.join(" "))
    }
}

fn grid_colour(named: bool) -> &'static str {
    if named { "#ccc" } else { "#eee" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_name_round_numbers() {
        let scale = Scale::of([15.0, 4_000.0].into_iter(), 100.0);
        assert_eq!(
            scale.ticks(10.0),
            [20.0, 50.0, 100.0, 200.0, 500.0, 1e3, 2e3, 5e3]
        );
        assert!((Scale::of([10.0, 1000.0].into_iter(), 100.0).place(100.0) - 50.0).abs() < 1e-9);
        let long = Scale::of([0.5, 1e6].into_iter(), 100.0);
        assert_eq!(long.ticks(10.0), [1.0, 10.0, 100.0, 1e3, 1e4, 1e5, 1e6]);
    }
}
