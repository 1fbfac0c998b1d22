//! What the gate is told: limits against floods, who inhibits whom, and when maintenance is.

use super::Plan;

/// How many candidates may leave in each window of event time `[k * per_us, (k + 1) * per_us)`. At
/// least one of the two limits is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FloodPlan {
    /// Of the signal type.
    pub max: Option<u32>,
    /// Of each of its sources.
    pub per_source: Option<u32>,
    /// The length of a window; more than 0.
    pub per_us: i64,
}

/// How the parent of a record key is known, whose open problem keeps its children quiet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InhibitPlan {
    /// The table that has the parents.
    pub table: Box<str>,
    /// Its column with the record key of the parent.
    pub column: Box<str>,
    /// How long after the recovery of the parent its children still wait.
    pub grace_us: i64,
}

/// A time of maintenance, of which suppressors are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MaintenancePlan {
    /// The record keys; `*` stands for any text.
    pub keys: Box<str>,
    /// Its first moment.
    pub from_us: i64,
    /// The first moment after it.
    pub to_us: i64,
}

impl Plan {
    /// The end of the maintenance that `key` is in; the latest, if there are several.
    pub(crate) fn maintenance_until_us(&self, key: &str, now_us: i64) -> Option<i64> {
        let now = self.maintenance.iter().filter(|it| (it.from_us..it.to_us).contains(&now_us));
        now.filter(|it| matches(&it.keys, key)).map(|it| it.to_us).max()
    }
}

fn matches(pattern: &str, text: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(start) else { return false };
    let mut parts = rest.split('*').peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return text.ends_with(part);
        }
        // The first place is as good as any: what is left is the longest.
        let Some(at) = text.find(part) else { return false };
        text = &text[at + part.len()..];
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, yes, no) in [
            ("a", vec!["a"], vec!["", "ab", "ba"]),
            ("*", vec!["", "a", "a*b"], vec![]),
            ("db-*", vec!["db-", "db-1"], vec!["db", "xdb-1"]),
            ("*/cart", vec!["/cart", "shop/cart"], vec!["cart", "/cart2"]),
            ("a*b*a", vec!["aba", "axxbya"], vec!["aa", "ab", "abab"]),
            ("ab*ba", vec!["abba"], vec!["aba"]),
        ] {
            yes.iter().for_each(|text| assert!(matches(pattern, text), "{pattern} {text}"));
            no.iter().for_each(|text| assert!(!matches(pattern, text), "{pattern} {text}"));
        }
    }

    #[test]
    fn maintenance_lasts_from_its_first_moment_to_the_end_of_the_latest() {
        let of = |keys: &str, from_us, to_us| MaintenancePlan { keys: keys.into(), from_us, to_us };
        let plan = Plan { maintenance: vec![of("db-*", 10, 20), of("*", 15, 30)], ..Plan::default() };
        let at = |now_us| plan.maintenance_until_us("db-1", now_us);
        assert_eq!([9, 10, 14, 15, 29, 30].map(at), [None, Some(20), Some(20), Some(30), Some(30), None]);
        assert_eq!(plan.maintenance_until_us("web", 10), None);
    }
}
