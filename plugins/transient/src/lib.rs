//! Tells transient trouble from persistent: a problem that will probably be over soon waits.
//!
//! A small trained model (`model.rs`) says from the outages that the entity had before how probable
//! it is that this one lasts an hour in all. From the setting `threshold` on (a probability, 0.5 if
//! nothing is said) the problem leaves at once; below, it is delayed until it has lasted `wait` (such
//! as `30m`; `1h` if nothing is said), and leaves then if it still stands. The model was trained on
//! outages that are raised after ten minutes and are over after ten minutes without one: use it with
//! `hold_down` and `hold_open` of about that.
//!
//! What it remembers of an entity is how many of its outages lasted, weighted by how long ago they
//! were, how the last one went, and since when one is open.

mod model;

use stillhouse_sdk::prelude::*;

const MINUTE_US: i64 = 60_000_000;

#[derive(Candidate)]
struct Change<'a> {
    /// Only changes of state are judged.
    kind: &'a str,
    healthy: bool,
    /// When it came up.
    time: i64,
    /// When the state began.
    since: i64,
    /// How often it was delayed.
    judged: i64,
    /// How long before `time` the state before began.
    state_us: Option<i64>,
}

/// What is remembered of an entity.
#[derive(Memo, Clone, Copy, Debug, Default, PartialEq)]
#[memo(version = 1)]
struct History {
    /// Outages that lasted, weighted by age.
    persistent: f32,
    /// Outages that did not.
    transient: f32,
    /// When the last outage began: what the weights are of.
    weighed_us: i64,
    /// When the outage that is open began; 0 if none is.
    open_us: i64,
    /// How the last one went: 1 persistent, -1 transient, 0 there was none.
    last: i8,
}

/// What the user set.
#[derive(Debug, PartialEq)]
pub struct Plan {
    threshold: f64,
    wait_us: i64,
}

impl Settings for Plan {
    fn read(settings: &[(String, String)]) -> Result<Self, String> {
        let mut plan = Plan { threshold: 0.5, wait_us: 60 * MINUTE_US };
        for (name, value) in settings {
            match name.as_str() {
                "threshold" => {
                    let number = value.trim().parse().ok().filter(|number| (0.0..=1.0).contains(number));
                    let wrong = || format!("setting `threshold`: expected a probability from 0 to 1, got `{value}`");
                    plan.threshold = number.ok_or_else(wrong)?;
                }
                "wait" => {
                    let wrong = || format!("setting `wait`: expected a duration such as 30m or 2h, got `{value}`");
                    plan.wait_us = read_duration(value.trim()).ok_or_else(wrong)?;
                }
                _ => return Err(format!("unknown setting `{name}`: this rule has `threshold` and `wait`")),
            }
        }
        Ok(plan)
    }
}

/// Seconds, minutes, hours or days, in microseconds.
fn read_duration(text: &str) -> Option<i64> {
    let (number, unit_us) = match text.split_at_checked(text.len().checked_sub(1)?)? {
        (number, "s") => (number, MINUTE_US / 60),
        (number, "m") => (number, MINUTE_US),
        (number, "h") => (number, 60 * MINUTE_US),
        (number, "d") => (number, 24 * 60 * MINUTE_US),
        _ => return None,
    };
    number.parse::<u32>().ok().filter(|number| *number > 0).and_then(|number| i64::from(number).checked_mul(unit_us))
}

impl History {
    /// As it was left, or nothing, if these are no weights.
    fn sound(self) -> Self {
        let is_weight = |weight: f32| weight.is_finite() && weight >= 0.0;
        if is_weight(self.persistent) && is_weight(self.transient) { self } else { Self::default() }
    }

    /// The outage that was open is over.
    fn close(&mut self, end_us: i64) {
        if self.open_us == 0 {
            return;
        }
        let persistent = end_us.saturating_sub(self.open_us) >= model::LASTS_US;
        (self.persistent, self.transient) = self.weights_at(self.open_us);
        if persistent {
            self.persistent += 1.0;
        } else {
            self.transient += 1.0;
        }
        self.weighed_us = self.open_us;
        self.last = if persistent { 1 } else { -1 };
        self.open_us = 0;
    }

    /// The weights as they are at `time_us`.
    fn weights_at(&self, time_us: i64) -> (f32, f32) {
        let age = time_us.saturating_sub(self.weighed_us).max(0) as f64 / model::HALF_LIFE_US as f64;
        let decay = (-age).exp2() as f32;
        (self.persistent * decay, self.transient * decay)
    }

    /// How probable it is that an outage that began at `since_us` is persistent.
    fn probability(&self, since_us: i64) -> f64 {
        let (persistent, transient) = self.weights_at(since_us);
        let (persistent, transient) = (f64::from(persistent), f64::from(transient));
        let total = persistent + transient + model::PRIOR;
        let log_odds = model::INTERCEPT
            + model::PERSISTENT * persistent / total
            + model::TRANSIENT * transient / total
            + model::LAST * f64::from(self.last.signum());
        1.0 / (1.0 + (-log_odds).exp())
    }
}

fn judge(change: Change<'_>, plan: &Plan, history: &mut History) -> Verdict {
    *history = history.sound();
    if change.kind != "state.changed" || change.judged > 0 {
        return emit();
    }
    if change.healthy {
        history.close(change.since);
        return emit();
    }
    // The end of an outage that was held back may be told to nobody. Then it shows here: the state
    // before this one began after the outage that is thought to be open.
    match change.state_us.map(|state_us| change.time.saturating_sub(state_us)) {
        Some(before_us) if before_us > history.open_us => history.close(before_us),
        _ => {}
    }
    if history.open_us == 0 {
        history.open_us = change.since;
    }
    // From one problem to another, the trouble goes on.
    let since_us = history.open_us;
    let probability = history.probability(since_us);
    let until_us = since_us.saturating_add(plan.wait_us);
    let has_lasted = change.time.saturating_sub(since_us) >= model::LASTS_US;
    if has_lasted || probability >= plan.threshold || until_us <= change.time {
        return emit();
    }
    delay(format!("probably transient: {:.0} % that it lasts an hour", 100.0 * probability), until_us)
}

mod cases;
use cases::cases;

suppressor! {
    name: "transient",
    version: env!("CARGO_PKG_VERSION"),
    settings: Plan,
    memo: History,
    judge: judge,
    cases: cases,
}

#[cfg(test)]
mod tests {
    use stillhouse_sdk::memo::Memo;

    use super::*;

    fn read(name: &str, value: &str) -> Result<Plan, String> {
        Plan::read(&[(name.to_owned(), value.to_owned())])
    }

    #[test]
    fn settings_have_defaults_and_bounds() {
        assert_eq!(Plan::read(&[]), Ok(Plan { threshold: 0.5, wait_us: 3_600_000_000 }));
        assert_eq!(read("wait", "90m").map(|plan| plan.wait_us), Ok(5_400_000_000));
        assert_eq!(read("threshold", "0.8").map(|plan| plan.threshold), Ok(0.8));
        for wrong in ["", "h", "1", "0h", "-1h", "1.5h", "1w", "4294967296s", "1é"] {
            let expected = format!("setting `wait`: expected a duration such as 30m or 2h, got `{wrong}`");
            assert_eq!(read("wait", wrong), Err(expected));
        }
        for wrong in ["", "50%", "1.1", "NaN", "-0.1"] {
            let expected = format!("setting `threshold`: expected a probability from 0 to 1, got `{wrong}`");
            assert_eq!(read("threshold", wrong), Err(expected));
        }
        let unknown = "unknown setting `after`: this rule has `threshold` and `wait`";
        assert_eq!(read("after", "1h"), Err(unknown.to_owned()));
    }

    #[test]
    fn the_memo_is_small_and_whatever_is_in_it_is_survived() {
        assert!(History::BYTES_MAX <= 64);
        let odd = History { persistent: f32::NAN, transient: -1.0, weighed_us: i64::MIN, open_us: i64::MAX, last: 99 };
        assert_eq!(odd.sound(), History::default());
        for weighed_us in [i64::MIN, i64::MAX] {
            let odd = History { persistent: 1e30, weighed_us, ..odd };
            assert!(odd.probability(i64::MIN).is_finite() && odd.probability(i64::MAX).is_finite());
        }
    }

    #[test]
    fn old_outages_lose_weight() {
        let day_us = 24 * 60 * MINUTE_US;
        let history = History { transient: 8.0, last: -1, ..History::default() };
        let [now, later, much_later] = [0, 60, 6000].map(|days| history.probability(days * day_us));
        assert_eq!(history.weights_at(60 * day_us), (0.0, 4.0));
        assert!(now < later && later < much_later, "{now} {later} {much_later}");
    }
}
