//! Condition flips in the messages of `OperatorStatusChanged`.
//!
//! Such a message is a list of `X changed from A to B ("why")`, `X set to B ("why")` and of changes
//! to messages and versions, behind `Status for clusteroperator/NAME changed: `.

use stillhouse_sdk::prelude::*;

use crate::Condition;

static SUBJECT: Searcher = Searcher::new("clusteroperator/");
static CHANGED: Searcher = Searcher::new(" changed: ");
static AVAILABLE: Searcher = Searcher::new("Available ");
static DEGRADED: Searcher = Searcher::new("Degraded ");

/// The worst flip that the message tells of.
pub(crate) fn observe_flip(message: &str) -> Mapped<'_, Condition> {
    let Some((operator, list)) = SUBJECT.split(message).and_then(|(_, rest)| CHANGED.split(rest)) else {
        return dropped("a status of no cluster operator");
    };
    let of = |state, condition| observe(state, ["clusteroperator", operator, condition]);
    match (flip(&AVAILABLE, list), flip(&DEGRADED, list)) {
        (Some(Flip::False), _) => of(Condition::Degraded, "Available").severity(Severity::Error),
        (_, Some(Flip::True)) => of(Condition::Degraded, "Degraded"),
        (Some(Flip::True), _) => of(Condition::Working, "Available"),
        (_, Some(Flip::False)) => of(Condition::Working, "Degraded"),
        (None, None) => dropped("no flip of Available or Degraded"),
    }
}

/// What a condition turned to; `Unknown` says nothing.
enum Flip {
    True,
    False,
}

/// The flip of `condition`, if the list has one. Other items (`Degraded message changed from ...`)
/// quote texts that may hold anything, so an item counts only at the start or after a comma.
fn flip(condition: &Searcher, list: &str) -> Option<Flip> {
    let mut rest = list;
    let mut starts_item = true;
    while let Some((before, after)) = condition.split(rest) {
        if (before.is_empty() && starts_item) || before.ends_with(',') {
            let to = match after.strip_prefix("changed from ") {
                Some(from) => from.split_once(" to ").map(|(_, to)| to),
                None => after.strip_prefix("set to "),
            };
            let word = to.map_or("", |to| to.split(' ').next().unwrap_or_default());
            match word {
                "True" => return Some(Flip::True),
                "False" => return Some(Flip::False),
                _ => {}
            }
        }
        starts_item = false;
        rest = after;
    }
    None
}
