//! Evidence against budgets: whether a version may go on.

use std::collections::BTreeMap;

use crate::evidence::{Difference, Evidence};
use crate::interval::{Z_95, Z_999, apart_at_least, wilson};
use crate::policy::{Budget, Least, Limit, Policy, Then};
use crate::slot::{At, Stage, Trial};
use crate::words;

/// Fewer failures than this break no budget.
pub const FAILURES_MIN: u64 = 3;

/// Fewer rows than this say nothing about fuel or time, unless a step asks for fewer samples.
pub const RATIO_ROWS_MIN: u64 = 100;

/// After so many times the least number of samples without a row in the share, nobody is in the share,
/// and the step has nothing to wait for.
pub const EMPTY_SHARE_FACTOR: u64 = 10;

/// What the evidence says.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// There is not enough of it; for what it waits.
    NotYet(String),
    /// The stage or step is done.
    Advance,
    /// A budget is broken, and a person decides.
    Hold(Breach),
    /// A budget is broken, and the version is given up.
    RollBack(Breach),
}

/// A budget that is broken.
#[derive(Clone, Debug, PartialEq)]
pub struct Breach {
    /// Which.
    pub budget: Budget,
    /// What was measured.
    pub measured: f64,
    /// Why, for a person.
    pub why: String,
}

/// What was measured for a budget.
struct Measured {
    point: f64,
    /// The true value is hardly less.
    low: f64,
}

/// Whether the trial may go on at `at`.
///
/// A budget is broken when even the least value that the evidence speaks for is beyond it: the lower
/// end of the interval at 95 %, from the least number of samples on. Failures count before that too, at
/// 99.9 % because they are looked at again and again, and never fewer than [`FAILURES_MIN`]; fuel and
/// time from [`RATIO_ROWS_MIN`] rows on. The stage or step is weighed by itself, so that what begins late
/// is not thinned out by what was before, and the whole trial too, so that what is rare shows.
///
/// A step is done when it has its time and its samples, some of them in its share, and every budget is
/// kept by what was measured; while it is not, and not broken either, more is waited for.
///
/// So what is bad is found within a bounded number of rows, plus those of one batch. By the binomial
/// distribution, with the default budgets and for rows that are bad independently of each other:
///
/// | budget | truly | rows | missed after them |
/// |---|---|---|---|
/// | `failed` 0.1 % | 100 % | 3 | never |
/// | | 1 % | 1,600 | in fewer than 5 of 10,000 trials |
/// | | 0.5 % | 4,000 | 1 of 1,000 |
/// | | 0.2 % | 40,000 | 1 of 1,000 |
/// | `fuel` 3 times | 10 times | 100 | never, unless the fuel of rows is very uneven |
/// | `differing` 1 % | 5 % | 1,000 | 1 of 1,000,000 |
/// | | 2 % | 4,000 | 1 of 1,000 |
/// | | 1.5 % | 15,000 | 1 of 1,000 |
///
/// Other shares of which a budget is a bound on the change (`rejected`, `dropped`, `held_back`) take longer
/// the nearer they are to one half: from 10 % to 15 %, 2,700 rows. Where a few entities send most of the
/// rows, rows are not independent, and the bounds are those of as many entities.
pub fn weigh(trial: &Trial, policy: &Policy, at: At) -> Verdict {
    let least = least(trial, policy);
    let broken = broken(&[&trial.evidence, &trial.total], policy, &trial.accepted, least.samples);
    if let Some(breach) = broken {
        return breach;
    }
    if let Some(waits) = waits(trial, policy, at) {
        return Verdict::NotYet(waits);
    }
    Verdict::Advance
}

/// Whether the evidence of a replay breaks a budget.
pub fn weigh_replay(evidence: &Evidence, policy: &Policy) -> Option<Verdict> {
    broken(&[evidence], policy, &BTreeMap::new(), policy.step.samples)
}

/// The first budget that is broken, those that roll back before those that hold.
fn broken(evidence: &[&Evidence], policy: &Policy, accepted: &BTreeMap<Budget, f64>, samples: u64) -> Option<Verdict> {
    let mut hold = None;
    for evidence in evidence {
        for (budget, limit) in &policy.budgets {
            let max = raised(*budget, limit, accepted);
            let Some(measured) = measure(*budget, evidence, policy, samples).filter(|measured| measured.low > max)
            else {
                continue;
            };
            let why = why(*budget, evidence, policy, measured.point, max);
            let breach = Breach { budget: *budget, measured: measured.point, why };
            match limit.then {
                Then::RollBack => return Some(Verdict::RollBack(breach)),
                Then::Hold => hold = hold.or(Some(Verdict::Hold(breach))),
            }
        }
    }
    hold
}

/// All budgets that are broken, with what was measured.
pub(crate) fn all_broken(trial: &Trial, policy: &Policy) -> Vec<(Budget, f64)> {
    let samples = least(trial, policy).samples;
    let mut found = Vec::new();
    for evidence in [&trial.replay, &trial.evidence, &trial.total] {
        for (budget, limit) in &policy.budgets {
            let max = raised(*budget, limit, &trial.accepted);
            let measured = measure(*budget, evidence, policy, samples).filter(|measured| measured.low > max);
            found.extend(measured.map(|measured| (*budget, measured.point)));
        }
    }
    found
}

/// The limit, or what a person has accepted beyond it.
fn raised(budget: Budget, limit: &Limit, accepted: &BTreeMap<Budget, f64>) -> f64 {
    accepted.get(&budget).map_or(limit.max, |accepted| accepted.max(limit.max))
}

fn least(trial: &Trial, policy: &Policy) -> Least {
    match trial.stage {
        // Without a shadow it is there because its replay was held.
        Stage::Shadow => policy.shadow.unwrap_or(policy.step),
        _ => policy.step,
    }
}

/// For what the stage or step waits; `None` if it is done.
pub fn waits(trial: &Trial, policy: &Policy, at: At) -> Option<String> {
    let (least, seen) = (least(trial, policy), &trial.evidence);
    let mut missing = Vec::new();
    if seen.rows < least.samples {
        missing.push(format!("{} of {} rows", words::count(seen.rows), words::count(least.samples)));
    }
    let passed_us = at.after_us(trial.since);
    if least.time_us > 0 && passed_us.is_none_or(|passed_us| passed_us < least.time_us) {
        let (passed, least) = (words::time(passed_us.unwrap_or(0)), words::time(least.time_us));
        missing.push(format!("{passed} of {least}"));
    }
    let nobody_there = seen.rows >= least.samples.saturating_mul(EMPTY_SHARE_FACTOR);
    if missing.is_empty() && trial.share_ppm > 0 && least.samples > 0 && seen.in_share == 0 && !nobody_there {
        missing.push(format!("a row in the share of {}", words::share(trial.share_ppm)));
    }
    if missing.is_empty() {
        // Samples are there, but they lie where they speak neither for nor against the version.
        let unsure = |evidence: &&Evidence| {
            policy.budgets.iter().find_map(|(budget, limit)| {
                let max = raised(*budget, limit, &trial.accepted);
                let measured = measure(*budget, evidence, policy, least.samples)?;
                (measured.point > max).then(|| why(*budget, evidence, policy, measured.point, max))
            })
        };
        let unsure = [seen, &trial.total].iter().find_map(unsure);
        missing.extend(unsure.map(|why| format!("more rows: {why}, which may be chance")));
    }
    (!missing.is_empty()).then(|| missing.join(", "))
}

/// What the evidence says of a budget; `None` if it says nothing yet.
fn measure(budget: Budget, evidence: &Evidence, policy: &Policy, samples: u64) -> Option<Measured> {
    let rows = evidence.rows;
    let enough = rows > 0 && rows >= samples;
    let share = |hits: u64, z: f64| Measured { point: hits as f64 / rows as f64, low: wilson(hits, rows, z).0 };
    match budget {
        Budget::Failed => {
            let failures = evidence.failed_alone;
            let measured = if enough { share(failures, Z_95) } else { share(failures, Z_999) };
            match failures >= FAILURES_MIN {
                true => Some(measured),
                false => enough.then_some(Measured { low: 0.0, ..measured }),
            }
        }
        Budget::Fuel => ratio(evidence, samples, |counts| counts.fuel),
        Budget::Latency => ratio(evidence, samples, |counts| counts.time_ns),
        _ if !enough => None,
        Budget::Rejected => change(evidence, |counts| counts.rejected),
        Budget::Dropped => change(evidence, |counts| counts.dropped),
        Budget::HeldBack => change(evidence, |counts| counts.held_back),
        Budget::Differing => Some(share(differing(evidence, policy).map(|(_, hits)| hits).sum(), Z_95)),
        Budget::Kind(difference) => Some(share(evidence.differing(difference), Z_95)),
    }
}

type Field = fn(&crate::evidence::Counts) -> u64;

/// What is measured for a row, as a multiple. It varies little, so that its mean is taken at its word.
fn ratio(evidence: &Evidence, samples: u64, field: Field) -> Option<Measured> {
    let (stable, candidate) = (&evidence.stable, &evidence.candidate);
    let rows_min = RATIO_ROWS_MIN.min(samples).max(1);
    if stable.rows < rows_min || candidate.rows < rows_min || field(stable) == 0 {
        return None;
    }
    let per_row = |counts| field(counts) as f64 / counts.rows as f64;
    let ratio = per_row(candidate) / per_row(stable);
    Some(Measured { point: ratio, low: ratio })
}

fn change(evidence: &Evidence, field: Field) -> Option<Measured> {
    let (stable, candidate) = (&evidence.stable, &evidence.candidate);
    if stable.rows == 0 || candidate.rows == 0 {
        return None;
    }
    let of = |counts| (field(counts), counts.rows);
    // Whole numbers first, so that a change of exactly the budget is not taken for more.
    let times = |one: u64, other: u64| u128::from(one) * u128::from(other);
    let apart = times(field(candidate), stable.rows).abs_diff(times(field(stable), candidate.rows));
    let point = apart as f64 / times(stable.rows, candidate.rows) as f64;
    Some(Measured { point, low: apart_at_least(of(stable), of(candidate), Z_95) })
}

/// The ways to differ that count for the common budget, and how often each was seen.
fn differing<'a>(evidence: &'a Evidence, policy: &'a Policy) -> impl Iterator<Item = (Difference, u64)> + 'a {
    let common = |difference: &Difference| !policy.budgets.contains_key(&Budget::Kind(*difference));
    Difference::ALL.into_iter().filter(common).map(|difference| (difference, evidence.differing(difference)))
}

/// `2.1 % of 4,812 answers differ (budget 1 %): state 98, key 3`
fn why(budget: Budget, evidence: &Evidence, policy: &Policy, point: f64, max: f64) -> String {
    let rows = words::count(evidence.rows);
    let multiple = |what: &str| {
        let (point, max) = (words::ratio(point), words::ratio(max));
        format!("needs {point} times the {what} of the version in force (budget {max} times, {rows} rows)")
    };
    let change = |what: &str, field: Field| {
        let share = |counts| words::percent(field(counts) as f64 / counts.rows as f64);
        let (now, before) = (share(&evidence.candidate), share(&evidence.stable));
        let max = words::points(max);
        format!("{now} of {rows} rows are {what}, by the version in force {before} (budget {max} apart)")
    };
    let (point_percent, max_percent) = (words::percent(point), words::percent(max));
    match budget {
        Budget::Failed => format!(
            "{point_percent} of {rows} rows failed where the version in force did not (budget {max_percent}): {}",
            words::count(evidence.failed_alone)
        ),
        Budget::Fuel => multiple("fuel"),
        Budget::Latency => multiple("time"),
        Budget::Rejected => change("rejected", |counts| counts.rejected),
        Budget::Dropped => change("dropped", |counts| counts.dropped),
        Budget::HeldBack => change("held back", |counts| counts.held_back),
        Budget::Differing => {
            let mut kinds: Vec<_> = differing(evidence, policy).filter(|(_, hits)| *hits > 0).collect();
            kinds.sort_by_key(|(_, hits)| std::cmp::Reverse(*hits));
            let kinds = kinds.iter().map(|(kind, hits)| format!("{} {}", kind.name(), words::count(*hits)));
            let kinds: Vec<_> = kinds.collect();
            format!("{point_percent} of {rows} answers differ (budget {max_percent}): {}", kinds.join(", "))
        }
        Budget::Kind(kind) => format!(
            "{point_percent} of {rows} answers differ in {} (budget {max_percent}): {}",
            kind.name(),
            words::count(evidence.differing(kind))
        ),
    }
}
