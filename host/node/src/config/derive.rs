//! `[incident.NAME]`, `[objective.NAME]` and `[trigger.NAME]`: what is made of distilled events.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use stillhouse_core::derive::{
    BreakerPlan, BurnPlan, By, DerivePlan, IncidentPlan, KINDS, ObjectivePlan, RatePlan, TriggerPlan, WINDOW_PANES_MAX,
};
use stillhouse_core::plan::TypePlan;
use toml::Spanned;

use crate::config::duration::Duration;
use crate::config::schema::Setting;
use crate::config::table::{TableConfig, check_name};
use crate::config::{Refusal, did_you_mean, listed, refuse};

/// How many members the events of an incident list, unless configured, and at most.
const MEMBERS_LISTED: (usize, usize) = (50, 1_000);

/// How often a trigger may act at most, by `rate` or `repeat_max`.
const OFTEN_MAX: u64 = 10_000;

/// `[incident.NAME]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Incident {
    /// The signal types (all).
    signals: Option<Spanned<Vec<Spanned<String>>>>,
    /// What entities of one incident have in common: `key` (default), `all`, `prefix:TEXT` or
    /// `table.TABLE.COLUMN`.
    by: Option<Spanned<String>>,
    /// Trouble of less than this does not count (info).
    min_severity: Option<Level>,
    /// How long there must be trouble before it is opened (0s).
    open_after: Option<Duration>,
    /// How long all must have recovered before it is resolved (5m).
    resolve_after: Option<Duration>,
    /// At most one update in this time (1m).
    update_every: Option<Duration>,
    /// How many members its events list (50).
    members_max: Option<Spanned<usize>>,
}

/// `[objective.NAME]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Objective {
    /// The signal type.
    signal: Spanned<String>,
    /// What share of its observations should be healthy, in percent.
    target: Spanned<f64>,
    /// How often the share is told (5m).
    every: Option<Spanned<Duration>>,
    /// Which entities are told apart, as in `[incident.NAME]`; `all` unless given.
    by: Option<Spanned<String>>,
    /// When the error budget is used up too fast.
    #[serde(default)]
    burn: Vec<Spanned<BurnRate>>,
}

/// One of `burn`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BurnRate {
    /// The burn rate above which it is too fast.
    over: f64,
    /// In this window..
    long: Duration,
    /// ..and in this one.
    short: Duration,
    /// How bad that is.
    severity: Level,
}

/// `[trigger.NAME]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trigger {
    /// The kind of event.
    on: Spanned<String>,
    /// The signal types; for state changes, flapping and windows.
    signals: Option<Spanned<Vec<Spanned<String>>>>,
    /// The incidents; for incidents.
    incidents: Option<Spanned<Vec<Spanned<String>>>>,
    /// The objectives; for burn rates.
    objectives: Option<Spanned<Vec<Spanned<String>>>>,
    /// The states; for state changes.
    to: Option<Spanned<Vec<Spanned<String>>>>,
    /// What is less severe does not count (info).
    min_severity: Option<Level>,
    /// A pattern with `*` and `?` for the record key or the group.
    key: Option<Spanned<String>>,
    /// What to do, for whoever does it.
    action: Spanned<String>,
    /// With what.
    #[serde(default)]
    params: BTreeMap<String, Setting>,
    /// How often at most.
    rate: Option<Spanned<Rate>>,
    /// Nothing is asked for until this long after the first observation (0s).
    bootstrap: Option<Duration>,
    /// When to stop for a while.
    breaker: Option<Spanned<Breaker>>,
}

/// `rate`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// This often at most..
    max: u64,
    /// ..in any time of this length.
    per: Duration,
}

/// `breaker`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Breaker {
    /// How often one key may trigger..
    repeat_max: u64,
    /// ..within this time.
    repeat_within: Duration,
    /// How long it is open.
    open_for: Duration,
    /// How long it must be quiet then to close.
    close_after: Duration,
}

/// A severity.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    Info,
    Warning,
    Error,
    Critical,
}

/// What is derived, checked as far as that can be done without the rules.
#[derive(Debug, Default)]
pub struct DeriveConfig {
    plan: DerivePlan,
    /// The states that triggers name, and the signal types (all if there is none) that have them.
    states: Vec<(Spanned<String>, Vec<Box<str>>)>,
}

impl DeriveConfig {
    pub(super) fn check(
        tables: &[TableConfig],
        incidents: BTreeMap<Spanned<String>, Incident>,
        objectives: BTreeMap<Spanned<String>, Objective>,
        triggers: BTreeMap<Spanned<String>, Trigger>,
        types: &[String],
    ) -> Result<Self, Refusal> {
        let mut config = Self::default();
        let types: Vec<&str> = types.iter().map(String::as_str).collect();
        for (name, incident) in incidents {
            config.plan.incidents.push(incident.check(name.get_ref(), &types, tables)?);
        }
        for (name, objective) in objectives {
            config.plan.objectives.push(objective.check(name.get_ref(), &types, tables)?);
        }
        for (name, trigger) in triggers {
            let trigger = trigger.check(name.get_ref(), &types, &mut config)?;
            config.plan.triggers.push(trigger);
        }
        Ok(config)
    }

    /// The plan, now that the states of the signal types are known.
    ///
    /// # Errors
    /// If a trigger names a state that none of its signal types has.
    pub fn plan(&self, types: &[TypePlan]) -> Result<DerivePlan, Refusal> {
        for (state, signals) in &self.states {
            let of = types.iter().filter(|of| signals.is_empty() || signals.iter().any(|signal| **signal == *of.name));
            let known: BTreeSet<&str> = of.flat_map(|of| (0..=u8::MAX).map(|code| of.state_name(code))).collect();
            let known: Vec<&str> = known.into_iter().collect();
            one_of(state, &known, "state")?;
        }
        Ok(self.plan.clone())
    }
}

impl Incident {
    fn check(self, name: &str, types: &[&str], tables: &[TableConfig]) -> Result<IncidentPlan, Refusal> {
        let members_max = self.members_max.as_ref().map_or(MEMBERS_LISTED.0, |max| *max.get_ref());
        if let Some(max) = self.members_max.filter(|max| !(1..=MEMBERS_LISTED.1).contains(max.get_ref())) {
            let message = format!("expected `members_max` from 1 to {}, got {}", MEMBERS_LISTED.1, max.get_ref());
            return Err(refuse(max.span(), message));
        }
        self.signals.as_ref().map(|signals| not_empty("signals", signals)).transpose()?;
        let signals = self.signals.map(Spanned::into_inner).unwrap_or_default();
        let signals = names(&signals, types, "signal type")?;
        let us = |duration: Option<Duration>, default_us| duration.map_or(default_us, |duration| duration.0);
        Ok(IncidentPlan {
            name: name.into(),
            signals,
            by: self.by.map_or(Ok(By::Key), |by| group(&by, tables))?,
            min_severity: self.min_severity.map_or(0, |level| level as u8),
            open_after_us: us(self.open_after, 0),
            resolve_after_us: us(self.resolve_after, 300_000_000),
            update_every_us: us(self.update_every, 60_000_000),
            members_max,
        })
    }
}

impl Objective {
    fn check(self, name: &str, types: &[&str], tables: &[TableConfig]) -> Result<ObjectivePlan, Refusal> {
        let target = *self.target.get_ref();
        let target_ppm = parts(target, 10_000.0).filter(|ppm| (1..1_000_000).contains(ppm)).ok_or_else(|| {
            let message =
                format!("expected `target` above 0 and below 100 percent, with at most 4 decimals, got {target}");
            refuse(self.target.span(), message)
        })?;
        let every_us = self.every.as_ref().map_or(300_000_000, |every| every.get_ref().0);
        if let Some(every) = self.every.filter(|every| every.get_ref().0 == 0) {
            return Err(refuse(every.span(), "`every` must be more than 0"));
        }
        let mut burns: Vec<BurnPlan> = Vec::new();
        for burn in self.burn {
            let span = burn.span();
            let plan = burn
                .into_inner()
                .check(target_ppm as u32, every_us)
                .map_err(|message| refuse(span.clone(), message))?;
            let same = |known: &BurnPlan| {
                (known.over_milli, known.long_panes, known.short_panes)
                    == (plan.over_milli, plan.long_panes, plan.short_panes)
            };
            if burns.iter().any(same) {
                return Err(refuse(span, "the same burn rate and windows stand here twice; leave one of the two out"));
            }
            burns.push(plan);
        }
        one_of(&self.signal, types, "signal type")?;
        Ok(ObjectivePlan {
            name: name.into(),
            signal_type: types.iter().position(|known| known == self.signal.get_ref()).unwrap_or(0) as u16,
            by: self.by.map_or(Ok(By::All), |by| group(&by, tables))?,
            target_ppm: target_ppm as u32,
            every_us,
            burns,
        })
    }
}

impl BurnRate {
    fn check(self, target_ppm: u32, every_us: i64) -> Result<BurnPlan, String> {
        let budget_ppm = u64::from(1_000_000 - target_ppm);
        let most = 1_000_000.0 / budget_ppm as f64;
        let over_milli = parts(self.over, 1_000.0).filter(|over| *over > 0 && over * budget_ppm < 1_000_000_000);
        let over_milli = over_milli.ok_or_else(|| {
            format!(
                "expected `over` above 0 and below {most}, the burn rate if all is bad, with at most 3 decimals; got {}",
                self.over
            )
        })?;
        let (long_us, short_us) = (self.long.0, self.short.0);
        if short_us == 0 || long_us % every_us != 0 || short_us % every_us != 0 {
            return Err("`long` and `short` must be multiples of `every`, which is 5m unless given".into());
        }
        if short_us > long_us {
            return Err("`short` is longer than `long`; did you mean them the other way round?".into());
        }
        if long_us / every_us > WINDOW_PANES_MAX {
            return Err(format!("`long` is more than {WINDOW_PANES_MAX} times `every`: raise `every`"));
        }
        Ok(BurnPlan {
            over_milli,
            long_panes: long_us / every_us,
            short_panes: short_us / every_us,
            severity: self.severity as u8,
        })
    }
}

impl Trigger {
    fn check(self, name: &str, types: &[&str], config: &mut DeriveConfig) -> Result<TriggerPlan, Refusal> {
        one_of(&self.on, &KINDS, "kind of event")?;
        let on = self.on.get_ref().as_str();
        let about = on.split('.').next().unwrap_or_default();
        let incidents: Vec<&str> = config.plan.incidents.iter().map(|plan| &*plan.name).collect();
        let objectives: Vec<&str> = config.plan.objectives.iter().map(|plan| &*plan.name).collect();
        let lists = [
            ("signals", self.signals, types, "signal type", ["state", "flapping", "window"].contains(&about)),
            ("incidents", self.incidents, &incidents, "incident", about == "incident"),
            ("objectives", self.objectives, &objectives, "objective", about == "burn"),
        ];
        let mut of = Vec::new();
        for (key, list, known, what, fits) in lists {
            let Some(list) = list else { continue };
            if !fits {
                return Err(refuse(list.span(), format!("`{key}` says nothing of `on = \"{on}\"`; leave it out")));
            }
            not_empty(key, &list)?;
            of = names(list.get_ref(), known, what)?;
        }
        if let Some(to) = self.to.as_ref().filter(|_| about != "state") {
            return Err(refuse(to.span(), format!("`to` says nothing of `on = \"{on}\"`; leave it out")));
        }
        for (kind, table, known) in [("incident", "incident", &incidents), ("burn", "objective", &objectives)] {
            if about == kind && known.is_empty() {
                let message = format!("there is no `[{table}.NAME]`, so `{on}` never happens; add one");
                return Err(refuse(self.on.span(), message));
            }
        }
        self.to.as_ref().map(|to| not_empty("to", to)).transpose()?;
        let to = self.to.map(Spanned::into_inner).unwrap_or_default();
        let states = to.iter().map(|state| state.get_ref().as_str().into()).collect();
        config.states.extend(to.into_iter().map(|state| (state, of.clone())));
        if self.action.get_ref().is_empty() {
            return Err(refuse(self.action.span(), "`action` is empty; say what is to be done"));
        }
        let pattern = |key: &Spanned<String>| {
            glob::Pattern::new(key.get_ref())
                .map_err(|error| refuse(key.span(), format!("`{}` is not a pattern: {error}", key.get_ref())))
        };
        Ok(TriggerPlan {
            name: name.into(),
            on: on.into(),
            of,
            to: states,
            min_severity: self.min_severity.map_or(0, |level| level as u8),
            key: self.key.as_ref().map(pattern).transpose()?,
            action: self.action.into_inner().into(),
            params: self.params.into_iter().map(|(name, value)| (name.into(), value.to_string().into())).collect(),
            rate: self.rate.map(|rate| rate.get_ref().check().map_err(|text| refuse(rate.span(), text))).transpose()?,
            bootstrap_us: self.bootstrap.map_or(0, |bootstrap| bootstrap.0),
            breaker: self
                .breaker
                .map(|breaker| breaker.get_ref().check().map_err(|text| refuse(breaker.span(), text)))
                .transpose()?,
        })
    }
}

impl Rate {
    fn check(&self) -> Result<RatePlan, String> {
        above_zero(&[("per", self.per)])?;
        Ok(RatePlan { max: often("max", self.max)?, per_us: self.per.0 })
    }
}

impl Breaker {
    fn check(&self) -> Result<BreakerPlan, String> {
        let durations =
            [("repeat_within", self.repeat_within), ("open_for", self.open_for), ("close_after", self.close_after)];
        above_zero(&durations)?;
        Ok(BreakerPlan {
            repeat_max: often("repeat_max", self.repeat_max)?,
            repeat_within_us: self.repeat_within.0,
            open_for_us: self.open_for.0,
            close_after_us: self.close_after.0,
        })
    }
}

fn above_zero(durations: &[(&str, Duration)]) -> Result<(), String> {
    match durations.iter().find(|(_, duration)| duration.0 == 0) {
        Some((key, _)) => Err(format!("`{key}` must be more than 0")),
        None => Ok(()),
    }
}

fn often(key: &str, count: u64) -> Result<usize, String> {
    match (1..=OFTEN_MAX).contains(&count) {
        true => Ok(count as usize),
        false => Err(format!("expected `{key}` from 1 to {OFTEN_MAX}, got {count}")),
    }
}

/// A number in parts of which `each` make one; `None` if it is not whole in them.
fn parts(number: f64, each: f64) -> Option<u64> {
    let parts = (number * each).round();
    let is_whole = (number * each - parts).abs() < 1e-4;
    (is_whole && (0.0..1e15).contains(&parts)).then_some(parts as u64)
}

fn group(by: &Spanned<String>, tables: &[TableConfig]) -> Result<By, Refusal> {
    let written = by.get_ref().as_str();
    let table = written.strip_prefix("table.").and_then(|rest| rest.rsplit_once('.'));
    match (written, written.strip_prefix("prefix:"), table) {
        ("all", ..) => Ok(By::All),
        ("key", ..) => Ok(By::Key),
        (_, Some(separator), _) if !separator.is_empty() => Ok(By::Prefix(separator.into())),
        (.., Some((name, column))) if !name.is_empty() && !column.is_empty() => {
            check_name(&Spanned::new(by.span(), name.to_owned()), tables)?;
            Ok(By::Table { name: name.into(), column: column.into() })
        }
        _ => {
            let message = format!(
                "expected `key`, `all`, `prefix:TEXT` such as `prefix:/`, or `table.TABLE.COLUMN`, got `{written}`{}",
                did_you_mean(written, &["key", "all"])
            );
            Err(refuse(by.span(), message))
        }
    }
}

/// Refuses a name that is not known.
fn one_of(name: &Spanned<String>, known: &[&str], what: &str) -> Result<(), Refusal> {
    let written = name.get_ref().as_str();
    if known.contains(&written) {
        return Ok(());
    }
    let there = if known.is_empty() { "none".into() } else { listed(known) };
    let message = format!("there is no {what} `{written}`; there is {there}{}", did_you_mean(written, known));
    Err(refuse(name.span(), message))
}

/// Refuses an empty list: without the key it would be all, and nobody means that by naming none.
fn not_empty(key: &str, list: &Spanned<Vec<Spanned<String>>>) -> Result<(), Refusal> {
    match list.get_ref().is_empty() {
        true => Err(refuse(list.span(), format!("`{key}` names none; leave it out if all are meant"))),
        false => Ok(()),
    }
}

fn names(list: &[Spanned<String>], known: &[&str], what: &str) -> Result<Vec<Box<str>>, Refusal> {
    list.iter().map(|name| one_of(name, known, what).map(|()| name.get_ref().as_str().into())).collect()
}
