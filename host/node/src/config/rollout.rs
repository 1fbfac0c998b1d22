//! `[rollout]` and `[signal.TYPE.rollout]`: how new versions of rules are tried.
//!
//! Four tables may speak of a slot, from the general to the special: `[rollout]`, `[rollout.mapper]`,
//! `[signal.TYPE.rollout]`, `[signal.TYPE.rollout.mapper]`; the same for `suppressor`. Each says only
//! what is different.

use std::collections::BTreeMap;

use serde::Deserialize;
use stillhouse_rollout::{Budget, Difference, Least, Limit, Policy, SlotId, SlotKind, Strategy, Then};
use toml::Spanned;

use crate::config::duration::Duration;
use crate::config::{Refusal, did_you_mean, listed, refuse};

/// A table that says how versions are tried, as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rollout {
    /// By steps (`canary`, default) or at once (`swap`).
    pub strategy: Option<Spanned<Strategy>>,
    /// The shares in percent (1, 5, 25, 50, 100).
    pub steps: Option<Spanned<Vec<Spanned<toml::Value>>>>,
    /// How long a version runs in shadow at least (10m); 0s: not at all.
    pub shadow_time: Option<Spanned<Duration>>,
    /// How long each step lasts at least (10m).
    pub step_time: Option<Spanned<Duration>>,
    /// How many rows each of them needs at least (1,000).
    pub min_samples: Option<Spanned<u64>>,
    /// How long what is open under the old version is waited for (1h).
    pub drain_max: Option<Spanned<Duration>>,
    /// Whether what a bad version touched is distilled again (yes).
    pub retroactive: Option<bool>,
    /// Who puts a version in force after the last step (`auto`).
    pub promote: Option<Promote>,
    /// What may be different, by name.
    #[serde(default)]
    pub budget: BTreeMap<Spanned<String>, Spanned<toml::Value>>,
    /// What a version does that fails too often (`roll-back`).
    pub on_failed: Option<Spanned<Then>>,
    /// What becomes of one that needs too much fuel (`roll-back`).
    pub on_fuel: Option<Spanned<Then>>,
    /// What becomes of one that takes too long (`roll-back`).
    pub on_latency: Option<Spanned<Then>>,
    /// What becomes of one that rejects more or less (`hold`).
    pub on_rejected: Option<Spanned<Then>>,
    /// What becomes of one that drops more or less (`hold`).
    pub on_dropped: Option<Spanned<Then>>,
    /// What becomes of one that holds more or less back (`hold`).
    pub on_held_back: Option<Spanned<Then>>,
    /// What becomes of one that answers differently, in whatever way (`hold`).
    pub on_differing: Option<Spanned<Then>>,
    /// For mappers only.
    pub mapper: Option<Spanned<Box<Rollout>>>,
    /// For suppressors only.
    pub suppressor: Option<Spanned<Box<Rollout>>>,
}

/// `promote`
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Promote {
    /// The host does, by itself.
    Auto,
    /// A person does.
    ByHand,
}

/// The budgets that can be named, but the ways to differ.
const BUDGETS: [Budget; 7] = [
    Budget::Failed,
    Budget::Fuel,
    Budget::Latency,
    Budget::Rejected,
    Budget::Dropped,
    Budget::HeldBack,
    Budget::Differing,
];

/// What all tables together say of a slot.
struct Draft {
    policy: Policy,
    shadow_us: i64,
    samples: u64,
    max: BTreeMap<Budget, f64>,
    then: BTreeMap<Budget, Then>,
}

/// How the versions of both slots of a signal type are tried.
pub(super) fn check(
    signal: &str,
    has_suppressor: bool,
    general: Option<&Spanned<Rollout>>,
    own: Option<&Spanned<Rollout>>,
) -> Result<Vec<(SlotId, Policy)>, Refusal> {
    if let Some(table) = own.and_then(|own| own.get_ref().suppressor.as_ref()).filter(|_| !has_suppressor) {
        let message = format!("`suppressor` without a suppressor: `[signal.\"{signal}\"]` names none");
        return Err(refuse(table.span(), message));
    }
    let kinds = if has_suppressor { &[SlotKind::Mapper, SlotKind::Suppressor][..] } else { &[SlotKind::Mapper] };
    let mut policies = Vec::new();
    for kind in kinds.iter().copied() {
        let mut draft = Draft::default();
        for table in [general, own].into_iter().flatten() {
            draft.take(table.get_ref())?;
            if let Some(table) = for_kind(table.get_ref(), kind) {
                draft.take(table.get_ref())?;
            }
        }
        policies.push((SlotId { signal: signal.to_owned(), kind }, draft.policy()));
    }
    Ok(policies)
}

/// Checks tables of which no signal type may ever make use.
pub(super) fn check_general(general: &Spanned<Rollout>) -> Result<(), Refusal> {
    for kind in [SlotKind::Mapper, SlotKind::Suppressor] {
        let mut draft = Draft::default();
        draft.take(general.get_ref())?;
        for_kind(general.get_ref(), kind).map(|table| draft.take(table.get_ref())).transpose()?;
    }
    Ok(())
}

fn for_kind(file: &Rollout, kind: SlotKind) -> Option<&Spanned<Box<Rollout>>> {
    match kind {
        SlotKind::Mapper => file.mapper.as_ref(),
        SlotKind::Suppressor => file.suppressor.as_ref(),
    }
}

impl Default for Draft {
    fn default() -> Self {
        let policy = Policy::default();
        let then = BUDGETS.map(|budget| {
            let usual = if budget == Budget::Latency { Then::RollBack } else { Then::Hold };
            (budget, policy.budgets.get(&budget).map_or(usual, |limit| limit.then))
        });
        Self {
            shadow_us: policy.shadow.map_or(0, |shadow| shadow.time_us),
            samples: policy.step.samples,
            max: policy.budgets.iter().map(|(budget, limit)| (*budget, limit.max)).collect(),
            then: BTreeMap::from(then),
            policy,
        }
    }
}

impl Draft {
    /// Lets a table change what it speaks of.
    fn take(&mut self, file: &Rollout) -> Result<(), Refusal> {
        sensible(file)?;
        let policy = &mut self.policy;
        if let Some(strategy) = &file.strategy {
            policy.strategy = *strategy.get_ref();
        }
        if policy.strategy == Strategy::Swap {
            no_steps(file)?;
        }
        if let Some(steps) = &file.steps {
            policy.steps_ppm = steps_ppm(steps)?;
        }
        let us = |given: &Option<Spanned<Duration>>, before| given.as_ref().map_or(before, |given| given.get_ref().0);
        self.shadow_us = us(&file.shadow_time, self.shadow_us);
        policy.step.time_us = us(&file.step_time, policy.step.time_us);
        policy.drain_max_us = us(&file.drain_max, policy.drain_max_us);
        self.samples = file.min_samples.as_ref().map_or(self.samples, |samples| *samples.get_ref());
        policy.retroactive = file.retroactive.unwrap_or(policy.retroactive);
        policy.promote_automatically =
            file.promote.map_or(policy.promote_automatically, |promote| promote == Promote::Auto);
        for (name, value) in &file.budget {
            let budget = named(name)?;
            match amount(budget, value)? {
                Some(max) => self.max.insert(budget, max),
                None => self.max.remove(&budget),
            };
        }
        for (budget, then) in BUDGETS.into_iter().zip(outcomes(file)) {
            let Some(then) = then else { continue };
            let kind = |max: &Budget| matches!(max, Budget::Kind(_)) && budget == Budget::Differing;
            if !self.max.keys().any(|max| *max == budget || kind(max)) {
                let message = format!(
                    "`on_{budget}` without a budget: add `{budget} = ..` to `budget` in this table or a more general one"
                );
                return Err(refuse(then.span(), message));
            }
            self.then.insert(budget, *then.get_ref());
        }
        Ok(())
    }

    fn policy(self) -> Policy {
        let then = |budget: &Budget| {
            let group = if let Budget::Kind(_) = budget { &Budget::Differing } else { budget };
            self.then.get(group).copied().unwrap_or(Then::Hold)
        };
        let budgets = self.max.iter().map(|(budget, max)| (*budget, Limit { max: *max, then: then(budget) }));
        let shadow = Least { time_us: self.shadow_us, samples: self.samples };
        Policy {
            budgets: budgets.collect(),
            shadow: (self.shadow_us > 0).then_some(shadow),
            step: Least { samples: self.samples, ..self.policy.step },
            ..self.policy
        }
    }
}

/// What happens beyond each budget, in the order of [`BUDGETS`].
fn outcomes(file: &Rollout) -> [&Option<Spanned<Then>>; BUDGETS.len()] {
    let Rollout { on_failed, on_fuel, on_latency, on_rejected, on_dropped, on_held_back, on_differing, .. } = file;
    [on_failed, on_fuel, on_latency, on_rejected, on_dropped, on_held_back, on_differing]
}

/// Refuses what makes no sense in one table, whatever the others say.
fn sensible(file: &Rollout) -> Result<(), Refusal> {
    if let Some(samples) = file.min_samples.as_ref().filter(|samples| *samples.get_ref() == 0) {
        return Err(refuse(samples.span(), "`min_samples` must be at least 1: nothing speaks for a version without"));
    }
    let nested = [("mapper", &file.mapper), ("suppressor", &file.suppressor)];
    for (key, table) in nested.into_iter().filter_map(|(key, table)| Some((key, table.as_ref()?))) {
        let inner = table.get_ref();
        if let Some(deeper) = inner.mapper.as_ref().or(inner.suppressor.as_ref()) {
            return Err(refuse(deeper.span(), format!("a table for slots within `{key}`: that is one slot already")));
        }
    }
    Ok(())
}

/// Refuses what is about steps where there are none.
fn no_steps(file: &Rollout) -> Result<(), Refusal> {
    let for_canary = [
        ("steps", file.steps.as_ref().map(Spanned::span)),
        ("shadow_time", file.shadow_time.as_ref().map(Spanned::span)),
        ("step_time", file.step_time.as_ref().map(Spanned::span)),
        ("drain_max", file.drain_max.as_ref().map(Spanned::span)),
    ];
    if let Some((key, span)) = for_canary.into_iter().find_map(|(key, span)| Some((key, span?))) {
        let message = format!(
            "`{key}` is for `strategy = \"canary\"`; with `strategy = \"swap\"` a version is in force at once: leave one \
             of the two out"
        );
        return Err(refuse(span, message));
    }
    Ok(())
}

fn steps_ppm(steps: &Spanned<Vec<Spanned<toml::Value>>>) -> Result<Vec<u32>, Refusal> {
    let mut all: Vec<u32> = Vec::new();
    for step in steps.get_ref() {
        let percent = match step.get_ref() {
            toml::Value::Integer(percent) => Some(*percent as f64),
            toml::Value::Float(percent) => Some(*percent),
            toml::Value::String(text) => percent(text),
            _ => None,
        };
        // Below a millionth there is nobody.
        let Some(percent) = percent.filter(|percent| (0.0001..=100.0).contains(percent)) else {
            let message = format!(
                "`steps`: expected percentages above 0 and up to 100, such as `steps = [1, 5, 25, 50, 100]`, got `{}`",
                step.get_ref()
            );
            return Err(refuse(step.span(), message));
        };
        let ppm = (percent * 10_000.0).round() as u32;
        if let Some(before) = all.last().filter(|before| **before >= ppm) {
            let before = f64::from(*before) / 10_000.0;
            let message = format!(
                "`steps` must rise: {percent} does not follow {before}; what was given to a version is taken away \
                 only by a rollback"
            );
            return Err(refuse(step.span(), message));
        }
        all.push(ppm);
    }
    match (all.last(), steps.get_ref().last()) {
        (Some(1_000_000), _) => Ok(all),
        (_, Some(last)) => {
            let message = format!("the last of `steps` must be 100, got {}: add 100", last.get_ref());
            Err(refuse(last.span(), message))
        }
        (_, None) => Err(refuse(steps.span(), "`steps` is empty: `steps = [100]` is the shortest way")),
    }
}

fn named(name: &Spanned<String>) -> Result<Budget, Refusal> {
    let kinds = Difference::ALL.into_iter().map(Budget::Kind);
    let all: Vec<Budget> = BUDGETS.into_iter().chain(kinds).collect();
    all.iter().copied().find(|budget| budget.name() == name.get_ref()).ok_or_else(|| {
        let names: Vec<&str> = all.iter().map(|budget| budget.name()).collect();
        let near = did_you_mean(name.get_ref(), &names);
        let message = format!("unknown budget `{}`; there is {}{near}", name.get_ref(), listed(&names));
        refuse(name.span(), message)
    })
}

/// What may be different; `None` if nobody looks.
fn amount(budget: Budget, value: &Spanned<toml::Value>) -> Result<Option<f64>, Refusal> {
    let name = budget.name();
    let refused = |expected: String| {
        let message = format!("`{name}`: expected {expected} or \"off\", got `{}`", value.get_ref());
        Err(refuse(value.span(), message))
    };
    let number = match value.get_ref() {
        toml::Value::String(text) if text == "off" => return Ok(None),
        toml::Value::Integer(number) => Some(*number as f64),
        toml::Value::Float(number) => Some(*number),
        _ => None,
    };
    if let Budget::Fuel | Budget::Latency = budget {
        return match number.filter(|number| *number >= 1.0 && number.is_finite()) {
            Some(ratio) => Ok(Some(ratio)),
            None => {
                refused(format!("how many times as much as the version in force, from 1 on, such as `{name} = 3.0`"))
            }
        };
    }
    let share = match value.get_ref() {
        toml::Value::String(text) => percent(text).filter(|percent| (0.0..=100.0).contains(percent)),
        _ => None,
    };
    match (share, number) {
        (Some(percent), _) => Ok(Some(percent / 100.0)),
        (None, Some(number)) if (0.0..=100.0).contains(&number) => {
            refused(format!("a percentage in quotes, such as `{name} = \"{number}%\"`"))
        }
        _ => refused(format!("a percentage from 0 to 100, such as `{name} = \"1%\"`")),
    }
}

fn percent(text: &str) -> Option<f64> {
    let number = text.strip_suffix('%')?.trim_end();
    number.parse::<f64>().ok().filter(|percent| percent.is_finite())
}
