//! Event time: RFC 3339, Unix time in several units, or any format with a zone and, where the
//! format has none, a year.

use jiff::Timestamp;
use jiff::fmt::strtime::BrokenDownTime;
use jiff::tz::TimeZone;

use crate::decode::Slot;

/// How event time is written.
#[derive(Clone, Debug)]
pub enum TimeFormat {
    /// RFC 3339 with its offset.
    Rfc3339,
    /// A number since 1970; the factor makes microseconds of it.
    Unix(i64),
    /// A strptime format.
    Custom {
        /// The format, as jiff reads it.
        format: Box<str>,
        /// The zone of times that carry no offset.
        zone: TimeZone,
        /// The year of times that carry none.
        year: Option<i16>,
    },
}

impl TimeFormat {
    /// Reads event time in microseconds since 1970.
    ///
    /// # Errors
    /// What was expected and what came.
    pub fn read(&self, slot: Slot<'_>, text: Option<&str>) -> Result<i64, String> {
        match (self, slot, text) {
            (_, Slot::Absent, _) => Err("no event time".into()),
            (Self::Rfc3339, _, Some(text)) => {
                rfc3339(text).ok_or_else(|| format!("event time: expected RFC 3339, got `{}`", short(text)))
            }
            (Self::Custom { format, zone, year }, _, Some(text)) => custom(format, zone, *year, text),
            (Self::Unix(factor), Slot::Int(number), _) => {
                number.checked_mul(*factor).ok_or_else(|| format!("event time: {number} is beyond what a time can be"))
            }
            (Self::Unix(factor), Slot::Float(number), _) => {
                let time_us = number * *factor as f64;
                if time_us.abs() < 9.0e18 {
                    Ok(time_us.round() as i64)
                } else {
                    Err(format!("event time: {number} is beyond what a time can be"))
                }
            }
            (Self::Unix(factor), _, Some(text)) => {
                decimal(text, *factor).ok_or_else(|| format!("event time: expected a number, got `{}`", short(text)))
            }
            (_, other, _) => Err(format!("event time: expected a text, got {other:?}")),
        }
    }
}

fn short(text: &str) -> String {
    let cut: String = text.chars().take(64).collect();
    if cut.len() < text.len() { cut + "…" } else { cut }
}

fn custom(format: &str, zone: &TimeZone, year: Option<i16>, text: &str) -> Result<i64, String> {
    let refused =
        |why: &dyn std::fmt::Display| format!("event time: expected `{format}`, got `{}`: {why}", short(text));
    let mut parts = BrokenDownTime::parse(format, text).map_err(|error| refused(&error))?;
    if parts.year().is_none() {
        parts
            .set_year(Some(year.ok_or_else(|| refused(&"the format has no year; set `time.year` or --year"))?))
            .map_err(|error| refused(&error))?;
    }
    if parts.offset().is_some() {
        return parts.to_timestamp().map(floor_us).map_err(|error| refused(&error));
    }
    let civil = parts.to_datetime().map_err(|error| refused(&error))?;
    let time = zone.to_timestamp(civil).map_err(|error| refused(&error))?;
    Ok(floor_us(time))
}

/// Microseconds since 1970. A finer fraction is cut downwards before 1970 too, so that a later time is never a lower
/// number.
fn floor_us(time: Timestamp) -> i64 {
    time.as_nanosecond().div_euclid(1000) as i64
}

/// `seconds[.fraction]` (or another unit) to microseconds. A finer fraction is cut, downwards as in [`floor_us`].
fn decimal(text: &str, factor: i64) -> Option<i64> {
    let text = text.trim();
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() || !whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let mut time_us = whole.parse::<i64>().ok()?.checked_mul(factor)?;
    let (mut unit, mut is_cut) = (factor, false);
    for digit in fraction.bytes() {
        unit /= 10;
        time_us = time_us.checked_add(i64::from(digit - b'0') * unit)?;
        is_cut |= unit == 0 && digit != b'0';
    }
    Some(sign * time_us - i64::from(sign < 0 && is_cut))
}

/// RFC 3339 in microseconds since 1970; a finer fraction is cut. The common form is read directly,
/// since every signal has one; anything else is left to jiff.
pub fn rfc3339(text: &str) -> Option<i64> {
    fast(text.as_bytes()).or_else(|| text.parse::<Timestamp>().ok().map(floor_us))
}

fn fast(text: &[u8]) -> Option<i64> {
    let (head, mut rest) = text.split_first_chunk::<19>()?;
    let digits = |at: usize| -> Option<i64> {
        let (tens, ones) = (head[at].wrapping_sub(b'0'), head[at + 1].wrapping_sub(b'0'));
        (tens < 10 && ones < 10).then(|| i64::from(tens) * 10 + i64::from(ones))
    };
    let separators = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    if separators.iter().any(|&(at, byte)| head[at] != byte) {
        return None;
    }
    let (year, month, day) = (digits(0)? * 100 + digits(2)?, digits(5)?, digits(8)?);
    let (hour, minute, second) = (digits(11)?, digits(14)?, digits(17)?);
    if year == 0 || !(1..=12).contains(&month) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    if day < 1 || day > days_in(year, month) {
        return None;
    }
    let mut fraction_us = 0;
    if let [b'.', after @ ..] = rest {
        let length = after.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if length == 0 || length > 9 {
            return None;
        }
        let mut unit = 100_000;
        for byte in &after[..length] {
            fraction_us += i64::from(byte - b'0') * unit;
            unit /= 10;
        }
        rest = &after[length..];
    }
    if rest != b"Z" {
        return None;
    }
    let seconds = days_since_1970(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second;
    Some(seconds * 1_000_000 + fraction_us)
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from civil date (H. Hinnant, "chrono-Compatible Low-Level Date Algorithms"), for years
/// from 1 to 9999.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year / 400;
    let year_of_era = year - era * 400;
    let day_of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_direct_reader_agrees_with_jiff() {
        let mut state = 7_u64;
        for _ in 0..20_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let time_us = (state >> 8) as i64 % 250_000_000_000_000_000;
            let time = Timestamp::from_microsecond(time_us).unwrap();
            for text in [time.to_string(), format!("{time:.3}"), format!("{time:.9}")] {
                let exact = text.parse::<Timestamp>().unwrap().as_microsecond();
                assert_eq!(fast(text.as_bytes()), Some(exact), "{text}");
            }
        }
        for text in ["2023-02-29T00:00:00Z", "2024-13-01T00:00:00Z", "2024-01-01T24:00:00Z", "2024-01-01", "nothing"] {
            assert_eq!(rfc3339(text), None, "{text}");
        }
        assert_eq!(rfc3339("2024-02-29T01:00:00.5+01:00"), rfc3339("2024-02-29T00:00:00.500Z"));
    }

    #[test]
    fn what_is_finer_than_a_microsecond_is_cut_downwards() {
        // The second is not of the common form.
        assert_eq!(rfc3339("1969-12-31T23:59:59.9999985Z"), Some(-2));
        assert_eq!(rfc3339("1969-12-31T23:59:59,9999985Z"), Some(-2));
        assert_eq!(decimal("-0.0000015", 1_000_000), Some(-2));
        assert_eq!(decimal("0.0000015", 1_000_000), Some(1));
        let custom = |format, text| custom(format, &TimeZone::UTC, None, text);
        assert_eq!(custom("%Y-%m-%d %H:%M:%S%.f", "1969-12-31 23:59:59.9999985"), Ok(-2));
        assert_eq!(custom("%Y-%m-%d %H:%M:%S%.f %z", "1969-12-31 23:59:59.9999985 +0000"), Ok(-2));
    }

    #[test]
    fn unix_times_lose_nothing() {
        assert_eq!(decimal("1117838570", 1_000_000), Some(1_117_838_570_000_000));
        assert_eq!(decimal("1.000001", 1_000_000), Some(1_000_001));
        assert_eq!(decimal("-0.5", 1_000_000), Some(-500_000));
        assert_eq!(decimal("-0.0000010", 1_000_000), Some(-1));
        assert_eq!(decimal("12.5", 1_000), Some(12_500));
        for text in ["", "x", "1e3", ".5", "99999999999999999999"] {
            assert_eq!(decimal(text, 1_000_000), None, "{text}");
        }
    }

    #[test]
    fn a_format_takes_zone_and_year_from_the_configuration() {
        let read = |zone: &str, year, text: &str| {
            let zone = TimeZone::get(zone).unwrap();
            let format = TimeFormat::Custom { format: "%b %d %H:%M:%S%.f".into(), zone, year };
            format.read(Slot::Text(text), Some(text))
        };
        assert_eq!(read("UTC", Some(2017), "Sep  1 08:54:59.133"), Ok(rfc3339("2017-09-01T08:54:59.133Z").unwrap()));
        assert_eq!(
            read("America/Los_Angeles", Some(2017), "Sep 1 08:54:59"),
            Ok(rfc3339("2017-09-01T15:54:59Z").unwrap())
        );
        assert!(read("UTC", None, "Sep  1 08:54:59").unwrap_err().contains("--year"));
        assert!(read("UTC", Some(2017), "Foo  1 08:54:59").unwrap_err().contains("expected `%b"));
    }
}
