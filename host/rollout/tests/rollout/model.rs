//! The oracle: the life of one slot, written from the description and not from the code. It keeps every
//! piece of evidence, adds it up again each time, and finds intervals by bisection.

use std::collections::BTreeMap;

use stillhouse_rollout::{
    Budget, Command, Counts, Difference, Event, Evidence, Policy, Stage, Strategy, Then, Version,
};

/// Who holds a trial.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Who {
    Analysis,
    Policy,
    Person,
}

/// Where a trial is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Place {
    Shadow,
    Step(usize),
    Draining,
}

#[derive(Clone, Debug)]
pub struct Trial {
    pub digest: String,
    pub place: Place,
    /// Since when; `None` before the first watermark.
    since_us: Option<i64>,
    replay: Evidence,
    step: Vec<Evidence>,
    whole: Vec<Evidence>,
    pub held: Option<Who>,
    accepted: BTreeMap<Budget, f64>,
    drained: bool,
}

/// One slot.
#[derive(Clone, Debug)]
pub struct Model {
    policy: Policy,
    pub stable: Option<String>,
    pub last_good: Option<String>,
    pub trial: Option<Trial>,
    barred: Vec<String>,
}

fn sum(pieces: &[Evidence]) -> Evidence {
    let mut all = Evidence::default();
    for piece in pieces {
        all.rows += piece.rows;
        all.in_share += piece.in_share;
        all.failed_alone += piece.failed_alone;
        for (all, piece) in [(&mut all.stable, &piece.stable), (&mut all.candidate, &piece.candidate)] {
            all.rows += piece.rows;
            all.fuel += piece.fuel;
            all.rejected += piece.rejected;
            all.dropped += piece.dropped;
            all.held_back += piece.held_back;
        }
        (0..8).for_each(|kind| all.differing[kind] += piece.differing[kind]);
    }
    all
}

/// The end of the interval of Wilson, by its definition: the share furthest from what was counted, towards
/// `end`, that is at most `z` of its own standard deviations away.
fn wilson_end(hits: u64, of: u64, z: f64, end: f64) -> f64 {
    let counted = hits as f64 / of as f64;
    let agrees = |share: f64| (counted - share).powi(2) <= z * z * share * (1.0 - share) / of as f64;
    if counted == end {
        return end;
    }
    let (mut inside, mut outside) = (counted, end);
    // What was counted agrees with itself, but where its deviation is 0.
    if counted == 0.0 || counted == 1.0 {
        inside = if counted == 0.0 { 1e-12 } else { 1.0 - 1e-12 };
    }
    for _ in 0..70 {
        let middle = (inside + outside) / 2.0;
        if agrees(middle) { inside = middle } else { outside = middle }
    }
    inside
}

/// What was measured for a budget and the least that it may be; `None` if that is too early to say.
fn measured(budget: Budget, seen: &Evidence, policy: &Policy) -> Option<(f64, f64)> {
    let samples = policy.step.samples;
    let enough = seen.rows >= samples && seen.rows > 0;
    let share = |hits: u64, z: f64| (hits as f64 / seen.rows as f64, wilson_end(hits, seen.rows, z, 0.0));
    let change = |field: fn(&Counts) -> u64| {
        let (one, other) = (field(&seen.stable), field(&seen.candidate));
        let (less, more) = (one.min(other), one.max(other));
        let point = (more - less) as f64 / seen.rows as f64;
        let down = more as f64 / seen.rows as f64 - wilson_end(more, seen.rows, 1.959963984540054, 0.0);
        let up = wilson_end(less, seen.rows, 1.959963984540054, 1.0) - less as f64 / seen.rows as f64;
        (point, point - down.hypot(up))
    };
    let own = |kind: &Difference| policy.budgets.contains_key(&Budget::Kind(*kind));
    match budget {
        Budget::Failed if !enough && seen.failed_alone < 3 => None,
        Budget::Failed if seen.failed_alone < 3 => Some((seen.failed_alone as f64 / seen.rows as f64, 0.0)),
        Budget::Failed if enough => Some(share(seen.failed_alone, 1.959963984540054)),
        Budget::Failed => Some(share(seen.failed_alone, 3.2905267314919)),
        Budget::Fuel => {
            let ratio = seen.candidate.fuel as f64 / seen.stable.fuel as f64;
            (seen.rows >= samples.min(100) && seen.rows > 0).then_some((ratio, ratio))
        }
        _ if !enough => None,
        Budget::Rejected => Some(change(|counts| counts.rejected)),
        Budget::Dropped => Some(change(|counts| counts.dropped)),
        Budget::Kind(kind) => Some(share(seen.differing[kind as usize], 1.959963984540054)),
        Budget::Differing => {
            let common = Difference::ALL.iter().filter(|kind| !own(kind));
            Some(share(common.map(|kind| seen.differing[*kind as usize]).sum(), 1.959963984540054))
        }
        Budget::HeldBack => Some(change(|counts| counts.held_back)),
        Budget::Latency => None,
    }
}

/// The budgets that are broken, with what happens then and what was measured.
fn broken(seen: &[Evidence], policy: &Policy, accepted: &BTreeMap<Budget, f64>) -> Vec<(Budget, Then, f64)> {
    let mut all = Vec::new();
    for seen in seen {
        for (budget, limit) in &policy.budgets {
            let max = limit.max.max(accepted.get(budget).copied().unwrap_or(0.0));
            if let Some((point, least)) = measured(*budget, seen, policy).filter(|(_, least)| *least > max) {
                assert!(point >= least);
                all.push((*budget, limit.then, point));
            }
        }
    }
    all
}

impl Model {
    pub fn new(policy: &Policy) -> Self {
        Self { policy: policy.clone(), stable: None, last_good: None, trial: None, barred: Vec::new() }
    }

    /// What is decided, in short; `None` if it makes no sense now.
    pub fn take(&mut self, event: &Event) -> Option<Vec<String>> {
        let at_us = Some(event.at().time_us).filter(|us| *us != i64::MIN);
        Some(match event {
            Event::Known { version, .. } => self.known(version),
            Event::Offered { version, replay, by, .. } => self.offered(version, replay, by.is_some(), at_us),
            Event::Refused { .. } => Vec::new(),
            Event::Seen { evidence, .. } => self.seen(evidence, at_us),
            Event::Drained { .. } => match &mut self.trial {
                Some(trial) if trial.steps_begun() >= self.policy.steps_ppm.len() => {
                    trial.drained = true;
                    self.end_of_draining(at_us)
                }
                _ => Vec::new(),
            },
            Event::Command { command, .. } => return self.command(*command, at_us),
        })
    }

    fn force(&mut self, digest: &str) {
        if let Some(before) = self.stable.replace(digest.to_owned()) {
            self.last_good = Some(before);
        }
    }

    fn known(&mut self, version: &Version) -> Vec<String> {
        if self.stable.as_ref() == Some(&version.digest) {
            return Vec::new();
        }
        let said = self.end_trial(None);
        self.force(&version.digest);
        said
    }

    /// The trial ends without a version in force.
    fn end_trial(&mut self, retroactive: Option<bool>) -> Vec<String> {
        let Some(trial) = self.trial.take() else { return Vec::new() };
        let counted = trial.place != Place::Shadow;
        vec![format!("roll back {}", counted && retroactive.unwrap_or(self.policy.retroactive))]
    }

    fn offered(&mut self, version: &Version, replay: &Evidence, staged: bool, at_us: Option<i64>) -> Vec<String> {
        let digest = &version.digest;
        if self.stable.as_ref() == Some(digest) || self.trial.as_ref().is_some_and(|trial| trial.digest == *digest) {
            return Vec::new();
        }
        if self.barred.contains(digest) && !staged {
            return vec!["refuse validation".into()];
        }
        let broken = broken(&[*replay], &self.policy, &BTreeMap::new());
        if broken.iter().any(|(_, then, _)| *then == Then::RollBack) {
            return vec!["refuse replay".into()];
        }
        self.barred.retain(|barred| barred != digest);
        let mut said = self.end_trial(None);
        if self.stable.is_none() || self.policy.strategy == Strategy::Swap {
            self.force(digest);
            said.push(format!("swap {digest}"));
            return said;
        }
        let place = if self.policy.shadow.is_some() || !broken.is_empty() { Place::Shadow } else { Place::Step(0) };
        let share = if place == Place::Shadow { 0 } else { self.policy.steps_ppm[0] };
        said.push(format!("begin {digest} {share}"));
        self.trial = Some(Trial {
            digest: digest.clone(),
            place,
            since_us: at_us,
            replay: *replay,
            step: Vec::new(),
            whole: Vec::new(),
            held: None,
            accepted: BTreeMap::new(),
            drained: false,
        });
        if !broken.is_empty() {
            said.extend(self.hold(Who::Analysis));
        }
        said
    }

    fn hold(&mut self, who: Who) -> Vec<String> {
        self.trial.as_mut().expect("a trial").held = Some(who);
        vec!["hold".into()]
    }

    fn seen(&mut self, evidence: &Evidence, at_us: Option<i64>) -> Vec<String> {
        let Some(trial) = &mut self.trial else { return Vec::new() };
        trial.since_us = trial.since_us.or(at_us);
        trial.step.push(*evidence);
        trial.whole.push(*evidence);
        let (step, whole) = (sum(&trial.step), sum(&trial.whole));
        let broken = broken(&[step, whole], &self.policy, &trial.accepted);
        if broken.iter().any(|(_, then, _)| *then == Then::RollBack) {
            self.barred.push(trial.digest.clone());
            return self.end_trial(None);
        }
        match trial.held {
            None | Some(Who::Policy) if !broken.is_empty() => return self.hold(Who::Analysis),
            Some(_) => return Vec::new(),
            None => {}
        }
        if trial.place == Place::Draining {
            return self.end_of_draining(at_us);
        }
        let shadow = self.policy.shadow.filter(|_| trial.place == Place::Shadow);
        let least = shadow.unwrap_or(self.policy.step);
        let (time_us, samples) = (least.time_us, least.samples);
        let passed = time_us <= 0 || trial.since_us.zip(at_us).is_some_and(|(since, at)| at - since >= time_us);
        let nobody = trial.place != Place::Shadow && step.in_share == 0 && samples > 0 && step.rows < 10 * samples;
        let doubt = [step, whole].iter().any(|seen| {
            self.policy.budgets.iter().any(|(budget, limit)| {
                let max = limit.max.max(trial.accepted.get(budget).copied().unwrap_or(0.0));
                measured(*budget, seen, &self.policy).is_some_and(|(point, _)| point > max)
            })
        });
        if step.rows >= samples && passed && !nobody && !doubt { self.next(at_us) } else { Vec::new() }
    }

    fn next(&mut self, at_us: Option<i64>) -> Vec<String> {
        let steps = self.policy.steps_ppm.len();
        let trial = self.trial.as_mut().expect("a trial");
        trial.since_us = at_us;
        trial.place = match trial.place {
            Place::Shadow => Place::Step(0),
            Place::Step(step) if step + 1 < steps => Place::Step(step + 1),
            _ => Place::Draining,
        };
        match trial.place {
            Place::Step(step) => {
                trial.step.clear();
                vec![format!("share {}", self.policy.steps_ppm[step])]
            }
            _ => self.end_of_draining(at_us),
        }
    }

    fn end_of_draining(&mut self, at_us: Option<i64>) -> Vec<String> {
        let trial = self.trial.as_ref().expect("a trial");
        if trial.place != Place::Draining || trial.held.is_some() {
            return Vec::new();
        }
        if !self.policy.promote_automatically {
            return self.hold(Who::Policy);
        }
        let max_us = self.policy.drain_max_us;
        let waited = max_us <= 0 || trial.since_us.zip(at_us).is_some_and(|(since, at)| at - since >= max_us);
        if trial.drained || waited { self.promote() } else { Vec::new() }
    }

    fn promote(&mut self) -> Vec<String> {
        let trial = self.trial.take().expect("a trial");
        self.force(&trial.digest);
        vec!["promote".into()]
    }

    fn command(&mut self, command: Command, at_us: Option<i64>) -> Option<Vec<String>> {
        let steps = self.policy.steps_ppm.len();
        match (command, &mut self.trial) {
            (Command::Rollback { retroactive }, Some(trial)) => {
                self.barred.push(trial.digest.clone());
                Some(self.end_trial(retroactive))
            }
            (Command::Rollback { retroactive }, None) => {
                let (bad, good) = (self.stable.clone()?, self.last_good.clone()?);
                if bad == good || retroactive == Some(true) {
                    return None;
                }
                self.barred.retain(|barred| *barred != good);
                self.barred.push(bad);
                self.stable = Some(good.clone());
                Some(vec![format!("swap {good}")])
            }
            (_, None) => None,
            (Command::Hold, Some(trial)) => trial.held.is_none().then(|| self.hold(Who::Person)),
            (Command::Promote { force }, Some(trial)) => {
                let ready = trial.place == Place::Draining && matches!(trial.held, None | Some(Who::Policy));
                (force || ready).then(|| self.promote())
            }
            (Command::Advance, Some(trial)) => {
                let last = trial.place == Place::Draining || trial.place == Place::Step(steps - 1);
                let held = trial.held;
                if held == Some(Who::Policy) || held.is_none() && last {
                    return None;
                }
                if held == Some(Who::Analysis) {
                    let seen = [trial.replay, sum(&trial.step), sum(&trial.whole)];
                    for (budget, _, point) in broken(&seen, &self.policy, &trial.accepted) {
                        let accepted = trial.accepted.entry(budget).or_insert(0.0);
                        *accepted = accepted.max(point * 2.0);
                    }
                }
                trial.held = None;
                let mut said = if held.is_some() { vec!["resume".to_owned()] } else { Vec::new() };
                said.extend(if last { self.end_of_draining(at_us) } else { self.next(at_us) });
                Some(said)
            }
        }
    }
}

impl Trial {
    /// How many steps it has begun.
    fn steps_begun(&self) -> usize {
        match self.place {
            Place::Shadow => 0,
            Place::Step(step) => step + 1,
            // It has begun all; there are as many as there are.
            Place::Draining => usize::MAX,
        }
    }

    /// The stage by the name that the registry has for it.
    pub fn stage(&self) -> Stage {
        match self.place {
            Place::Shadow => Stage::Shadow,
            Place::Step(_) => Stage::Canary,
            Place::Draining => Stage::Draining,
        }
    }
}
