//! Windows of time, in UTC and microseconds since 1970.

const MINUTE_US: i64 = 60_000_000;
const DAY_US: i64 = 24 * 60 * MINUTE_US;

/// When maintenance is on: from the first instant on, up to but without the last.
pub(crate) enum Window {
    /// From one instant to another.
    Once { from_us: i64, to_us: i64 },
    /// Every day, `length_us` long, from `from_us` after midnight.
    Daily { from_us: i64, length_us: i64 },
}

impl Window {
    /// Reads `2026-03-01T02:00Z/2026-03-01T04:00Z`; seconds may be given.
    pub(crate) fn once(text: &str) -> Option<Self> {
        let (from, to) = text.split_once('/')?;
        let (from_us, to_us) = (instant_us(from)?, instant_us(to)?);
        (from_us < to_us).then_some(Window::Once { from_us, to_us })
    }

    /// Reads `23:30-01:00`.
    pub(crate) fn daily(text: &str) -> Option<Self> {
        let (from, to) = text.split_once('-')?;
        let (from_us, to_us) = (time_of_day_us(from)?, time_of_day_us(to)?);
        let length_us = (to_us - from_us).rem_euclid(DAY_US);
        (length_us > 0 && from_us < DAY_US).then_some(Window::Daily { from_us, length_us })
    }

    /// When the window ends, if it is on at `at_us`.
    pub(crate) fn end_us(&self, at_us: i64) -> Option<i64> {
        match *self {
            Window::Once { from_us, to_us } => (from_us <= at_us && at_us < to_us).then_some(to_us),
            Window::Daily { from_us, length_us } => {
                let into_us = at_us.checked_sub(from_us)?.rem_euclid(DAY_US);
                if into_us < length_us { at_us.checked_add(length_us - into_us) } else { None }
            }
        }
    }
}

/// `2026-03-01T02:00Z` or `2026-03-01T02:00:00Z`.
fn instant_us(text: &str) -> Option<i64> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let mut parts = date.split('-');
    let (year, month, day) = (digits(parts.next()?, 4)?, digits(parts.next()?, 2)?, digits(parts.next()?, 2)?);
    if parts.next().is_some() || !(1..=12).contains(&month) || !(1..=days_in(year, month)).contains(&day) {
        return None;
    }
    let time_us = time_of_day_us(time).filter(|&time_us| time_us < DAY_US)?;
    Some(days_since_1970(year, month, day) * DAY_US + time_us)
}

/// `02:00`, `02:00:00`, up to `24:00`.
fn time_of_day_us(text: &str) -> Option<i64> {
    let mut parts = text.split(':');
    let (hour, minute) = (digits(parts.next()?, 2)?, digits(parts.next()?, 2)?);
    let second = parts.next().map_or(Some(0), |second| digits(second, 2))?;
    let time_us = (hour * 60 + minute) * MINUTE_US + second * 1_000_000;
    (parts.next().is_none() && minute < 60 && second < 60 && time_us <= DAY_US).then_some(time_us)
}

/// A number of exactly `count` digits.
fn digits(text: &str, count: usize) -> Option<i64> {
    (text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok())?
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 to a date of the Gregorian calendar, counted in years that begin in March,
/// so that the leap day is the last of its year.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    // 1970-01-01 is day 719,468 of this count.
    year * 365 + leap_days + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_microseconds_since_1970() {
        assert_eq!(instant_us("1970-01-01T00:00Z"), Some(0));
        assert_eq!(instant_us("2000-02-29T12:34:56Z"), Some(951_827_696_000_000));
        assert_eq!(instant_us("2026-03-01T02:00Z"), Some(1_772_330_400_000_000));
        for wrong in ["2026-03-01", "2026-03-01T02:00", "2026-13-01T02:00Z", "2025-02-29T02:00Z", "2026-03-01T24:00Z"] {
            assert_eq!(instant_us(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_daily_window_may_pass_midnight() {
        let window = Window::daily("23:30-01:00").expect("a window");
        let at = |time: &str| instant_us(&format!("2026-03-01T{time}Z")).expect("a time");
        assert_eq!(window.end_us(at("23:29")), None);
        assert_eq!(window.end_us(at("23:30")), instant_us("2026-03-02T01:00Z"));
        assert_eq!(window.end_us(at("00:59")), Some(at("01:00")));
        assert_eq!(window.end_us(at("01:00")), None);
        assert_eq!(window.end_us(-MINUTE_US), Some(60 * MINUTE_US));
        let evening = Window::daily("18:00-24:00").expect("a window");
        assert_eq!(evening.end_us(at("23:59")), instant_us("2026-03-02T00:00Z"));
    }
}
