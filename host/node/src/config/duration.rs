//! Durations as people write them: `250ms`, `5s`, `1h30m`, `400d`.

use serde::de::{Deserialize, Deserializer, Error};

/// A span of time in microseconds, not negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Duration(
    /// Microseconds.
    pub i64,
);

const UNITS: [(&str, i64); 7] = [
    ("us", 1),
    ("ms", 1_000),
    ("s", 1_000_000),
    ("m", 60_000_000),
    ("h", 3_600_000_000),
    ("d", 86_400_000_000),
    ("w", 604_800_000_000),
];

impl std::str::FromStr for Duration {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refused = || format!("expected a duration such as `250ms`, `5s`, `1h30m` or `400d`, got `{text}`");
        let (mut total_us, mut rest) = (0_i64, text.trim());
        if rest.is_empty() {
            return Err(refused());
        }
        while !rest.is_empty() {
            let digits = rest.len() - rest.trim_start_matches(|letter: char| letter.is_ascii_digit()).len();
            let (number, after) = rest.split_at(digits);
            let letters = after.len() - after.trim_start_matches(|letter: char| letter.is_ascii_alphabetic()).len();
            let (unit, after) = after.split_at(letters);
            let number: i64 = number.parse().map_err(|_| refused())?;
            let (_, unit_us) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(refused)?;
            total_us = number.checked_mul(*unit_us).and_then(|us| us.checked_add(total_us)).ok_or_else(refused)?;
            rest = after.trim_start();
        }
        Ok(Self(total_us))
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write() {
        for (text, us) in [("250ms", 250_000), ("5s", 5_000_000), ("1h30m", 5_400_000_000), ("1d 2us", 86_400_000_002)]
        {
            assert_eq!(text.parse(), Ok(Duration(us)), "{text}");
        }
        for text in ["", "5", "s", "-5s", "5 fortnights", "1.5s", "99999999999999w"] {
            assert!(text.parse::<Duration>().unwrap_err().contains("expected a duration"), "{text}");
        }
    }
}
