//! Pictures of figures, as SVG: lines over logarithmic axes, and bars.

mod bars;
mod lines;
mod svg;

pub use bars::{BarChart, BarPanel, Value};
pub use lines::{Bar, Chart, Group, Line, Marker, Panel, Style};
pub use svg::grouped;
