//! Objectives: how many observations of a pane of time were good (the indicator), and whether the
//! error budget is used up too fast.
//!
//! The alerts are the multiwindow, multi-burn-rate alerts of "The Site Reliability Workbook"
//! (Google, 2018), chapter 5: too fast is what is above a burn rate in a long window and in a short
//! one, and it is over when the short one is no longer above it. Whether it is, is decided in whole
//! numbers.

use std::collections::{BTreeMap, VecDeque};

use super::group::By;
use super::tally::{Count, Tallied};
use crate::event::{Burn, BurnWindow, Derived, Event, Sli, Time, id_of, severity_name};
use crate::plan::Plan;
use crate::table::Tables;
use serde::{Deserialize, Serialize};

/// How many panes the groups of one objective keep together. At the bound a new group is not told
/// apart any more but counted in [`OTHER`].
pub const PANES_MAX: usize = 1_000_000;

/// How many panes a window may have.
pub const WINDOW_PANES_MAX: i64 = 10_000;

/// The group of what is not told apart.
pub const OTHER: &str = "(other)";

/// All observations, in parts per million.
const ALL_PPM: u32 = 1_000_000;

/// `[objective.NAME]`
#[derive(Clone, Debug)]
pub struct ObjectivePlan {
    /// Its name.
    pub name: Box<str>,
    /// The signal type, by its index in the plan.
    pub signal_type: u16,
    /// Which entities are told apart.
    pub by: By,
    /// What share of observations should be good, in parts per million; less than all of them.
    pub target_ppm: u32,
    /// The length of a pane; panes are counted from 1970.
    pub every_us: i64,
    /// When the error budget is used up too fast.
    pub burns: Vec<BurnPlan>,
}

/// One of `burn`.
#[derive(Clone, Copy, Debug)]
pub struct BurnPlan {
    /// The burn rate above which it is too fast, in thousandths.
    pub over_milli: u64,
    /// The long window, in panes.
    pub long_panes: i64,
    /// The short window, in panes.
    pub short_panes: i64,
    /// How bad that is.
    pub severity: u8,
}

impl ObjectivePlan {
    /// How many panes the longest window has.
    fn panes(&self) -> i64 {
        self.burns.iter().map(|burn| burn.long_panes).max().unwrap_or(0)
    }

    fn groups_max(&self) -> usize {
        PANES_MAX / self.panes().max(1) as usize
    }

    fn end_us(&self, pane: i64) -> i64 {
        pane.saturating_add(1).saturating_mul(self.every_us)
    }

    /// Whether the error budget is used up faster than `burn` allows: bad / all > over * (1 - target).
    fn is_over(&self, burn: &BurnPlan, count: Count) -> bool {
        let allowed = u128::from(burn.over_milli) * u128::from(ALL_PPM - self.target_ppm);
        u128::from(count.bad) * u128::from(ALL_PPM) * 1000 > allowed * u128::from(count.total())
    }

    fn window(&self, panes: i64, count: Count) -> BurnWindow {
        let budget = f64::from(ALL_PPM - self.target_ppm) / f64::from(ALL_PPM);
        let bad = if count.total() == 0 { 0.0 } else { count.bad as f64 / count.total() as f64 };
        BurnWindow { window_us: panes * self.every_us, good: count.good, bad: count.bad, rate: bad / budget }
    }
}

/// All that was counted.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Objectives {
    objectives: Vec<Objective>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Objective {
    /// Panes that have not ended yet, by pane and part of a key: no more than the entities that
    /// were observed in them.
    open: BTreeMap<(i64, Box<str>), Count>,
    /// Panes that have, by group.
    groups: BTreeMap<Box<str>, Panes>,
    /// The last pane that has ended.
    ended: i64,
}

impl Objective {
    /// The pane that ends next. While a window has anything in it, every pane is looked at: what
    /// moves out of a window counts as much as what moves in.
    fn next(&self) -> Option<i64> {
        let first = self.open.first_key_value().map(|((pane, _), _)| *pane);
        if self.groups.is_empty() { first } else { Some(self.ended + 1) }
    }

    /// Takes out what was counted in a pane, by group.
    fn end(&mut self, pane: i64, of: &ObjectivePlan, tables: &Tables) -> BTreeMap<Box<str>, Count> {
        let mut counts: BTreeMap<Box<str>, Count> = BTreeMap::new();
        let mut known = self.groups.len();
        while let Some(first) = self.open.first_entry().filter(|first| first.key().0 <= pane) {
            let ((_, part), count) = first.remove_entry();
            let group = of.by.group(&part, tables, of.end_us(pane));
            let is_known = self.groups.contains_key(group) || counts.contains_key(group);
            let group = if is_known || known < of.groups_max() { group } else { OTHER };
            known += usize::from(!is_known);
            counts.entry(group.into()).or_default().add(count);
        }
        self.ended = pane;
        counts
    }
}

/// The panes of one group that a window may still look at.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Panes {
    /// Panes with observations, each with the sum of all up to it, so that a window is the
    /// difference of two sums.
    sums: VecDeque<(i64, Count)>,
    /// The sum of all panes that were forgotten.
    before: Count,
    /// Since when the budget is used up too fast, by the index of the burn plan.
    burning: Vec<Option<i64>>,
}

impl Panes {
    fn push(&mut self, pane: i64, count: Count) {
        let mut sum = self.sums.back().map_or(self.before, |(_, sum)| *sum);
        sum.add(count);
        self.sums.push_back((pane, sum));
    }

    /// Forgets panes before `pane`.
    fn forget(&mut self, pane: i64) {
        while self.sums.front().is_some_and(|(first, _)| *first < pane) {
            self.before = self.sums.pop_front().map_or(self.before, |(_, sum)| sum);
        }
    }

    /// What was counted in `pane` and after it.
    fn since(&self, pane: i64) -> Count {
        let at = self.sums.partition_point(|(known, _)| *known < pane);
        let before = at.checked_sub(1).map_or(self.before, |at| self.sums[at].1);
        let all = self.sums.back().map_or(self.before, |(_, sum)| *sum);
        Count { good: all.good - before.good, bad: all.bad - before.bad }
    }
}

impl Objectives {
    /// Adds what the shards counted.
    pub fn count(&mut self, tallied: Vec<Tallied>) {
        for Tallied { objective, pane, part, count, .. } in tallied {
            let at = objective as usize;
            if self.objectives.len() <= at {
                self.objectives.resize_with(at + 1, Objective::default);
            }
            self.objectives[at].open.entry((pane, part)).or_default().add(count);
        }
    }

    /// When a pane next ends, and of which objective.
    pub fn due(&self, plans: &[ObjectivePlan]) -> Option<(i64, usize)> {
        let objectives = self.objectives.iter().zip(plans).enumerate();
        objectives.filter_map(|(at, (objective, of))| Some((of.end_us(objective.next()?), at))).min()
    }

    /// Ends the next pane of an objective.
    pub fn fire(&mut self, at: usize, plan: &Plan, tables: &Tables, made: &mut Vec<Event>) {
        let of = &plan.derive.objectives[at];
        let objective = &mut self.objectives[at];
        let Some(pane) = objective.next() else { return };
        let end = End { of, pane, end_us: of.end_us(pane), plan };
        let counts = objective.end(pane, of, tables);
        for group in counts.keys() {
            objective.groups.entry(group.clone()).or_default();
        }
        objective.groups.retain(|group, panes| {
            if let Some(count) = counts.get(group) {
                made.push(end.sli(group, *count));
                panes.push(pane, *count);
            }
            panes.forget(pane - of.panes() + 1);
            panes.burning.resize(of.burns.len(), None);
            for (at, burn) in of.burns.iter().enumerate() {
                let long = panes.since(pane - burn.long_panes + 1);
                let short = panes.since(pane - burn.short_panes + 1);
                made.extend(end.burn(group, burn, &mut panes.burning[at], [long, short]));
            }
            !panes.sums.is_empty()
        });
    }
}

/// The end of a pane.
struct End<'a> {
    of: &'a ObjectivePlan,
    pane: i64,
    end_us: i64,
    plan: &'a Plan,
}

impl End<'_> {
    fn signal(&self) -> Box<str> {
        self.plan.types[self.of.signal_type as usize].name.as_str().into()
    }

    fn sli(&self, group: &str, count: Count) -> Event {
        let data = Sli {
            objective: self.of.name.clone(),
            signal: self.signal(),
            group: group.into(),
            start: Time(self.pane * self.of.every_us),
            end: Time(self.end_us),
            good: count.good,
            bad: count.bad,
            ratio: count.good as f64 / count.total() as f64,
            config: self.plan.config_digest.as_str().into(),
        };
        let id = id_of(&[b"sli", self.of.name.as_bytes(), group.as_bytes(), &self.end_us.to_le_bytes()]);
        Event::derived("stillhouse.sli", id, Some(group), self.end_us, Derived::Sli(data))
    }

    /// Starts or stops one alert, as the long and the short window say.
    fn burn(&self, group: &str, burn: &BurnPlan, since: &mut Option<i64>, windows: [Count; 2]) -> Option<Event> {
        let [long, short] = windows.map(|count| self.of.is_over(burn, count));
        let (kind, started_us, duration_us) = match *since {
            None if long && short => ("stillhouse.burn.started", self.end_us, None),
            Some(since_us) if !short => ("stillhouse.burn.stopped", since_us, Some(self.end_us - since_us)),
            _ => return None,
        };
        *since = duration_us.is_none().then_some(self.end_us);
        let data = Burn {
            objective: self.of.name.clone(),
            signal: self.signal(),
            group: group.into(),
            target: f64::from(self.of.target_ppm) / f64::from(ALL_PPM / 100),
            over: burn.over_milli as f64 / 1000.0,
            severity: severity_name(burn.severity),
            started: Time(started_us),
            duration_us,
            long: self.of.window(burn.long_panes, windows[0]),
            short: self.of.window(burn.short_panes, windows[1]),
            config: self.plan.config_digest.as_str().into(),
        };
        let rule = [burn.over_milli as i64, burn.long_panes, burn.short_panes].map(i64::to_le_bytes).concat();
        let parts = [kind.as_bytes(), self.of.name.as_bytes(), group.as_bytes(), &rule, &self.end_us.to_le_bytes()];
        Some(Event::derived(kind, id_of(&parts), Some(group), self.end_us, Derived::Burn(data)))
    }
}
