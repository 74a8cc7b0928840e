//! Numbers for people.

/// `1,234,567`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1.23 MB`: three digits, powers of 1000.
pub(crate) fn bytes(number: u64) -> String {
    const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    if number < 1000 {
        return format!("{number} B");
    }
    let mut value = number as f64;
    let mut unit = 0;
    // 999.5 would print as 1000.
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{} {}", three_digits(value), UNITS[unit])
}

/// `12.3 %` of so many.
pub(crate) fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "-".to_owned();
    }
    let share = part as f64 * 100.0 / whole as f64;
    // What there is is not shown as nothing, nor what is not full as full.
    let shown = match share {
        share if part > 0 && share < 0.1 => 0.1,
        share if part < whole && share > 99.9 => 99.9,
        share => share,
    };
    format!("{shown:.1} %")
}

/// `12.3 us`: three digits of a time in seconds.
pub(crate) fn span(seconds: f64) -> String {
    let (value, unit) = match seconds {
        short if short < 0.999_5e-6 => (short * 1e9, "ns"),
        short if short < 0.999_5e-3 => (short * 1e6, "us"),
        short if short < 0.999_5 => (short * 1e3, "ms"),
        long => (long, "s"),
    };
    format!("{} {unit}", three_digits(value))
}

/// `1.23 k`: three digits, powers of 1000, for rates.
pub(crate) fn rate(number: f64) -> String {
    const UNITS: [&str; 5] = ["", " k", " M", " G", " T"];
    let mut value = number.max(0.0);
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    match unit {
        // Single packets have no decimals unless there are few of them.
        0 if value >= 9.95 || value == 0.0 => format!("{value:.0}"),
        0 => format!("{value:.1}"),
        unit => format!("{}{}", three_digits(value), UNITS[unit]),
    }
}

fn three_digits(value: f64) -> String {
    let decimals = if value < 9.995 {
        2
    } else if value < 99.95 {
        1
    } else {
        0
    };
    format!("{value:.decimals$}")
}

/// `2h4m`: the two largest units.
pub(crate) fn seconds(number: u64) -> String {
    let units = [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];
    let largest = units
        .iter()
        .position(|(_, length)| number >= *length)
        .unwrap_or(3);
    let mut rest = number;
    let mut text = String::new();
    for (name, length) in units.iter().skip(largest).take(2) {
        if rest >= *length || text.is_empty() {
            text.push_str(&format!("{}{name}", rest / length));
            rest %= length;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_grouped() {
        let shown: Vec<String> = [0, 999, 1000, 1_234_567, u64::MAX]
            .into_iter()
            .map(count)
            .collect();
        assert_eq!(
            shown,
            ["0", "999", "1,000", "1,234,567", "18,446,744,073,709,551,615"]
        );
    }

    #[test]
    fn shares_have_one_decimal() {
        let shown =
            [(0, 10), (1, 100_000), (1, 3), (99_999, 100_000), (5, 5), (0, 0)].map(|(a, b)| percent(a, b));
        assert_eq!(shown, ["0.0 %", "0.1 %", "33.3 %", "99.9 %", "100.0 %", "-"]);
    }

    #[test]
    fn bytes_have_three_digits() {
        let numbers = [
            0,
            999,
            1000,
            9_994,
            9_996,
            99_960,
            999_499,
            999_500,
            1_234_567,
            u64::MAX,
        ];
        let shown: Vec<String> = numbers.into_iter().map(bytes).collect();
        let expected = [
            "0 B", "999 B", "1.00 kB", "9.99 kB", "10.0 kB", "100 kB", "999 kB", "1.00 MB", "1.23 MB",
            "18.4 EB",
        ];
        assert_eq!(shown, expected);
    }

    #[test]
    fn spans_and_rates_have_three_digits() {
        let shown = [0.0, 9.5e-8, 1.234e-5, 0.000_999_6, 0.25, 1.0, 12.345].map(span);
        assert_eq!(
            shown,
            [
                "0.00 ns", "95.0 ns", "12.3 us", "1.00 ms", "250 ms", "1.00 s", "12.3 s"
            ]
        );
        let shown = [0.0, 0.34, 9.96, 12.3, 999.4, 999.6, 1_234_567.0, 1e16].map(rate);
        assert_eq!(
            shown,
            ["0", "0.3", "10", "12", "999", "1.00 k", "1.23 M", "10000 T"]
        );
    }

    #[test]
    fn times_have_two_units() {
        let shown: Vec<String> = [0, 59, 60, 61, 7_440, 90_061, 86_400]
            .into_iter()
            .map(seconds)
            .collect();
        assert_eq!(shown, ["0s", "59s", "1m", "1m1s", "2h4m", "1d1h", "1d"]);
    }
}
