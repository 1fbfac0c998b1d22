//! Numbers as people read them.

/// `4,812`
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `2.1 %`, `0.05 %`, `100 %`: one digit after the point, two more where it is less than 1 %.
pub fn percent(share: f64) -> String {
    format!("{} %", trimmed(share * 100.0))
}

/// `1 point`, `2.1 points`: a change of a share.
pub fn points(share: f64) -> String {
    let text = trimmed(share * 100.0);
    if text == "1" { "1 point".into() } else { format!("{text} points") }
}

/// `3`, `3.4`: how many times as much.
pub fn ratio(ratio: f64) -> String {
    trimmed(ratio)
}

/// The percentage of a share in parts per million: `1 %`, `0.5 %`.
pub fn share(ppm: u32) -> String {
    percent(f64::from(ppm) / 1e6)
}

/// `10 min`, `1 h 30 min`, `45 s`: the two greatest units of a time.
pub fn time(us: i64) -> String {
    let units = [(86_400_000_000, "d"), (3_600_000_000, "h"), (60_000_000, "min"), (1_000_000, "s"), (1_000, "ms")];
    let mut rest = us.max(0);
    let mut parts = Vec::new();
    for (unit_us, name) in units {
        let whole = rest / unit_us;
        if whole > 0 && parts.len() < 2 {
            parts.push(format!("{whole} {name}"));
            rest %= unit_us;
        } else if !parts.is_empty() {
            break;
        }
    }
    if parts.is_empty() { "0 s".into() } else { parts.join(" ") }
}

fn trimmed(number: f64) -> String {
    let text = if number.abs() < 1.0 { format!("{number:.3}") } else { format!("{number:.1}") };
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_easily() {
        assert_eq!([0, 999, 1_000, 4_812, 1_234_567].map(count), ["0", "999", "1,000", "4,812", "1,234,567"]);
        assert_eq!(
            [0.021, 0.01, 0.0005, 1.0, 0.0, 0.5].map(percent),
            ["2.1 %", "1 %", "0.05 %", "100 %", "0 %", "50 %"]
        );
        assert_eq!([0.01, 0.052].map(points), ["1 point", "5.2 points"]);
        assert_eq!([10_000, 5_000, 1_000_000].map(share), ["1 %", "0.5 %", "100 %"]);
        assert_eq!([3.0, 3.44].map(ratio), ["3", "3.4"]);
        let times = [0, 999, 45_000_000, 5_400_000_000, 86_460_000_000];
        assert_eq!(times.map(time), ["0 s", "0 s", "45 s", "1 h 30 min", "1 d"]);
    }
}
