//! `[signal.TYPE.confirm]`: the evidence that a problem needs.

use std::ops::Range;

use serde::Deserialize;
use stillhouse_core::evidence::EVIDENCE_MAX;
use stillhouse_core::plan::ConfirmPlan;
use toml::Spanned;

use super::duration::Duration;
use super::{Refusal, refuse};

/// What `confirm` may say.
const WAYS: &str = "`count = 3, of = 5` (of the last observations), `count = 3, within = \"1m\"`, \
                    `sources = 2, within = \"1m\"` or `retries = 2`";

/// `confirm`, as it is written: one of four ways.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Confirm {
    /// So many problems must be observed (1 to 64): `of` the last observations, or `within` a time.
    pub count: Option<Spanned<u64>>,
    /// Of so many of the last observations (`count` to 64).
    pub of: Option<Spanned<u64>>,
    /// Within this time, its ends included.
    pub within: Option<Spanned<Duration>>,
    /// So many sources must observe a problem `within` a time (1 to 64).
    pub sources: Option<Spanned<u64>>,
    /// So many more observations must be problems without one in between that is none (0 to 63).
    pub retries: Option<Spanned<u64>>,
}

/// Checks `confirm`.
///
/// # Errors
/// If it is not one of its ways, or has a number that is out of range.
pub fn check(confirm: &Spanned<Confirm>) -> Result<ConfirmPlan, Refusal> {
    let table = confirm.span();
    let file = confirm.get_ref();
    match (&file.count, &file.of, &file.within, &file.sources, &file.retries) {
        (Some(count), Some(of), None, None, None) => {
            let last = ConfirmPlan::Last { count: number("count", count, 1)?, of: number("of", of, 1)? };
            if count.get_ref() > of.get_ref() {
                let message = format!(
                    "`count` ({0}) is above `of` ({1}): so many of the last {1} observations there never are; \
                     did you mean `count = {1}, of = {0}`?",
                    count.get_ref(),
                    of.get_ref()
                );
                return Err(refuse(count.span(), message));
            }
            Ok(last)
        }
        (Some(count), None, Some(within), None, None) => {
            Ok(ConfirmPlan::Within { count: number("count", count, 1)?, within_us: within.get_ref().0 })
        }
        (None, None, Some(within), Some(sources), None) => {
            Ok(ConfirmPlan::Sources { count: number("sources", sources, 1)?, within_us: within.get_ref().0 })
        }
        (None, None, None, None, Some(retries)) => {
            let count = number("retries", retries, 0)? + 1;
            Ok(ConfirmPlan::Last { count, of: count })
        }
        _ => Err(refuse(table, format!("`confirm` is one of {WAYS}; got {}", given(file)))),
    }
}

/// A number from `least` on, such that there is evidence for it.
fn number(key: &str, number: &Spanned<u64>, least: u64) -> Result<u8, Refusal> {
    // A problem that is retried was observed once more.
    let most = EVIDENCE_MAX as u64 - 1 + least;
    let refused = |span: Range<usize>| refuse(span, format!("`{key}` is a number from {least} to {most}"));
    u8::try_from(*number.get_ref())
        .ok()
        .filter(|&number| (least..=most).contains(&u64::from(number)))
        .ok_or_else(|| refused(number.span()))
}

/// The keys that are given.
fn given(file: &Confirm) -> String {
    let keys = [
        ("count", file.count.is_some()),
        ("of", file.of.is_some()),
        ("within", file.within.is_some()),
        ("sources", file.sources.is_some()),
        ("retries", file.retries.is_some()),
    ];
    let given: Vec<&str> = keys.iter().filter(|(_, given)| *given).map(|(key, _)| *key).collect();
    if given.is_empty() { "nothing".into() } else { super::listed(&given) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_is_a_plan() {
        let plan = |text: &str| check(&Spanned::new(0..0, toml::from_str(text).expect(text))).expect(text);
        assert_eq!(plan("count = 3\nof = 5"), ConfirmPlan::Last { count: 3, of: 5 });
        assert_eq!(plan("retries = 2"), ConfirmPlan::Last { count: 3, of: 3 });
        assert_eq!(plan("retries = 63"), ConfirmPlan::Last { count: 64, of: 64 });
        assert_eq!(plan("count = 64\nwithin = \"1s\""), ConfirmPlan::Within { count: 64, within_us: 1_000_000 });
        assert_eq!(plan("sources = 2\nwithin = \"1s\""), ConfirmPlan::Sources { count: 2, within_us: 1_000_000 });
    }
}
