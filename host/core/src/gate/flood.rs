//! Flood limits: how many candidates of a type, and of a source of it, may leave in each window of
//! event time. What is beyond is held back without an event for each; a flood has one event at its
//! start and one at its end, which says what became of all of them.

use std::collections::{BTreeMap, BTreeSet};

use super::{Exit, Gate, Slot, Timer};
use crate::entity::Candidate;
use crate::event::{Data, Event, Flood, Time, Withheld, id_of};
use crate::plan::FloodPlan;
use serde::{Deserialize, Serialize};

/// How many record keys the end of a flood names.
pub const FLOOD_KEYS_MAX: usize = 10;

/// What a limit is about: a signal type, or (with its ordinal) one source of it.
pub(super) type Scope = (u16, Option<u32>);

/// What left in the window of each scope, and the floods that are on.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Floods {
    left: BTreeMap<Scope, Left>,
    on: BTreeMap<Scope, On>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Left {
    window: i64,
    candidates: u32,
}

/// A flood.
#[derive(Debug, Serialize, Deserialize)]
struct On {
    /// What is held back, oldest first.
    queue: BTreeSet<(i64, Slot)>,
    since_us: i64,
    withheld: Withheld,
}

fn window(now_us: i64, limits: FloodPlan) -> i64 {
    now_us.div_euclid(limits.per_us)
}

/// The two scopes of a candidate; what a timer made has no source.
fn scopes(candidate: &Candidate) -> [Scope; 2] {
    let source = Some(candidate.last.source).filter(|source| *source != u32::MAX);
    // A source that floods is named before its type is.
    [(candidate.signal_type, source), (candidate.signal_type, None)]
}

fn limit(scope: Scope, limits: FloodPlan) -> Option<u32> {
    if scope.1.is_some() { limits.per_source } else { limits.max }
}

impl Floods {
    /// Counts a candidate that leaves.
    pub(super) fn count(&mut self, candidate: &Candidate, now_us: i64, limits: FloodPlan) {
        let [of_source, of_type] = scopes(candidate);
        for scope in [Some(of_source).filter(|scope| *scope != of_type), Some(of_type)].into_iter().flatten() {
            if limit(scope, limits).is_some() {
                let left = self.left.entry(scope).or_default();
                if left.window != window(now_us, limits) {
                    *left = Left { window: window(now_us, limits), candidates: 0 };
                }
                left.candidates += 1;
            }
        }
    }

    /// The scope in which the window has no place left for a candidate.
    pub(super) fn full(&self, candidate: &Candidate, now_us: i64, limits: FloodPlan) -> Option<Scope> {
        scopes(candidate).into_iter().find(|scope| self.is_full(*scope, now_us, limits))
    }

    fn is_full(&self, scope: Scope, now_us: i64, limits: FloodPlan) -> bool {
        let Some(max) = limit(scope, limits) else { return false };
        let left = self.left.get(&scope).filter(|left| left.window == window(now_us, limits));
        left.map_or(0, |left| left.candidates) >= max
    }

    /// Holds a candidate back, and says so if it is the first of a flood; when the next window
    /// starts.
    pub(super) fn withhold(
        &mut self,
        scope: Scope,
        candidate: &Candidate,
        slot: &Slot,
        now_us: i64,
        exit: &mut Exit<'_>,
    ) -> i64 {
        let on = self.on.entry(scope).or_insert_with(|| {
            exit.emit(now_us, event("stillhouse.flood.started", scope, now_us, now_us, None, exit));
            On { queue: BTreeSet::new(), since_us: now_us, withheld: Withheld::default() }
        });
        on.queue.insert((candidate.time_us, slot.clone()));
        on.withheld.candidates += 1;
        if on.withheld.keys.len() < FLOOD_KEYS_MAX && !on.withheld.keys.contains(&candidate.key) {
            on.withheld.keys.push(candidate.key.clone());
        }
        let per_us = exit.plan.types[scope.0 as usize].flood.map_or(i64::MAX, |limits| limits.per_us);
        now_us.div_euclid(per_us).saturating_add(1).saturating_mul(per_us)
    }

    /// A candidate leaves the flood, for whatever reason.
    pub(super) fn withhold_no_more(&mut self, scope: Scope, candidate: &Candidate, slot: &Slot) {
        if let Some(on) = self.on.get_mut(&scope) {
            on.queue.remove(&(candidate.time_us, slot.clone()));
        }
    }

    /// A candidate ended unheard.
    pub(super) fn ended(&mut self, scope: Scope, signals: u64) {
        if let Some(on) = self.on.get_mut(&scope) {
            on.withheld.ended += 1;
            on.withheld.signals += signals;
        }
    }

    /// The oldest candidate of a scope that has a place left.
    fn first(&self, scope: Scope, now_us: i64, limits: FloodPlan) -> Option<(i64, Slot, Scope)> {
        if self.is_full(scope, now_us, limits) {
            return None;
        }
        let (time_us, slot) = self.on.get(&scope)?.queue.first()?;
        Some((*time_us, slot.clone(), scope))
    }
}

impl Gate {
    /// A window starts: what still stands leaves, oldest first, as far as the limits let it. A flood
    /// of which nothing is left is over.
    pub(super) fn drain(&mut self, signal_type: u16, now_us: i64, exit: &mut Exit<'_>) {
        let Some(limits) = exit.plan.types[signal_type as usize].flood else { return };
        let scopes: Vec<Scope> = self
            .floods
            .on
            .range((signal_type, None)..=(signal_type, Some(u32::MAX)))
            .map(|(scope, _)| *scope)
            .collect();
        let first = |floods: &Floods, scope| floods.first(scope, now_us, limits);
        let mut next: BTreeSet<_> = scopes.iter().filter_map(|scope| first(&self.floods, *scope)).collect();
        while !self.floods.is_full((signal_type, None), now_us, limits) {
            let Some((_, slot, scope)) = next.pop_first() else { break };
            if let Some(held) = self.take(&slot) {
                self.retry(slot, held, now_us, exit);
            }
            next.extend(first(&self.floods, scope));
        }
        for scope in scopes {
            if self.floods.on.get(&scope).is_some_and(|on| on.queue.is_empty())
                && let Some(On { since_us, withheld, .. }) = self.floods.on.remove(&scope)
            {
                exit.emit(now_us, event("stillhouse.flood.stopped", scope, now_us, since_us, Some(withheld), exit));
            }
        }
        if self.floods.on.range((signal_type, None)..=(signal_type, Some(u32::MAX))).next().is_some() {
            self.timers.insert((now_us.saturating_add(limits.per_us), Timer::Flood(signal_type)));
        }
    }
}

/// Why a candidate is held back.
pub(super) fn reason(scope: Scope, now_us: i64, exit: &Exit<'_>) -> Box<str> {
    let Some(limits) = exit.plan.types[scope.0 as usize].flood else { return "".into() };
    let since = Time(window(now_us, limits).saturating_mul(limits.per_us));
    let max = limit(scope, limits).unwrap_or_default();
    match source(scope, exit) {
        Some(source) => format!("flood: {max} from source {source} since {since}"),
        None => format!("flood: {max} of this type since {since}"),
    }
    .into()
}

fn source(scope: Scope, exit: &Exit<'_>) -> Option<Box<str>> {
    exit.sources.get(scope.1? as usize).cloned()
}

fn event(
    kind: &'static str,
    scope: Scope,
    now_us: i64,
    since_us: i64,
    withheld: Option<Withheld>,
    exit: &Exit<'_>,
) -> Event {
    let plan = &exit.plan.types[scope.0 as usize];
    let source = source(scope, exit);
    let named = source.as_deref().unwrap_or_default();
    let id = id_of(&[kind.as_bytes(), plan.name.as_bytes(), named.as_bytes(), &now_us.to_le_bytes()]);
    let data = Flood {
        signal: plan.name.as_str().into(),
        source,
        max: plan.flood.and_then(|limits| limit(scope, limits)).unwrap_or_default(),
        per_us: plan.flood.map_or(0, |limits| limits.per_us),
        since: Time(since_us),
        withheld,
        config: exit.plan.config_digest.as_str().into(),
    };
    Event::new(kind, id, None, Some(Time(now_us)), Data::Flood(Box::new(data)))
}
