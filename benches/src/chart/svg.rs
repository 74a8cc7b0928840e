//! What pictures are made of.

/// A character is not wider, at the size of most texts.
pub(super) const CHARACTER: f64 = 7.4;

/// The beginning of a picture with a white background of its own; `</svg>` ends it.
pub(super) fn begin(width: f64, height: f64) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
         viewBox=\"0 0 {width:.0} {height:.0}\" font-family=\"sans-serif\" font-size=\"12\" fill=\"#222\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    )
}

/// A line between two places.
pub(super) fn line((x1, y1): (f64, f64), (x2, y2): (f64, f64), attributes: &str) -> String {
    format!("<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" {attributes}/>\n")
}

/// Text at a place; `content` may have any characters.
pub(super) fn text(x: f64, y: f64, anchor: &str, attributes: &str, content: &str) -> String {
    let content = content
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    format!("<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" {attributes}>{content}</text>\n")
}

/// With commas between groups of three, or as it is below 1.
pub(super) fn number(value: f64) -> String {
    if value < 1.0 {
        // Ticks have one digit.
        let digits = -value.log10().floor() as usize;
        return format!("{value:.digits$}");
    }
    grouped(value.round() as u64)
}

/// Groups of three digits.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_groups() {
        for (value, expected) in [
            (0.05, "0.05"),
            (1.0, "1"),
            (100.0, "100"),
            (1e3, "1,000"),
            (1e6, "1,000,000"),
        ] {
            assert_eq!(number(value), expected);
        }
    }

    #[test]
    fn names_can_hold_what_svg_reserves() {
        assert!(text(0.0, 0.0, "end", "", "a<b&c>").contains(">a&lt;b&amp;c&gt;</text>"));
    }
}
