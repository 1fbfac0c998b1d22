//! What a suppressor is told of a candidate: its fields as columns, and what it answers.

use super::Exit;
use super::leave::kind_name;
use crate::columns::{Batch, Blobs, Column, TextColumn, Values, Verdicts, verdict};
use crate::entity::{Candidate, Kind};
use crate::plan::TypePlan;
use crate::rule::{Condition, Field, FieldKind, Judge};
use serde::{Deserialize, Serialize};

/// The fields that depend on what passed the gate before.
const LIVE: [&str; 3] = ["changes", "parent_open", "siblings_open"];

/// A candidate as it is judged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row<'a> {
    pub candidate: &'a Candidate,
    /// How often it was delayed.
    pub judged: i64,
    pub now_us: i64,
    /// The event time whose tables count.
    pub table_us: i64,
    pub changes: i64,
    pub parent_open: i64,
    pub siblings_open: i64,
}

impl<'a> Row<'a> {
    /// A candidate that is judged for the first time, as far as it is known without the others.
    pub(super) fn new(candidate: &'a Candidate, now_us: i64, table_us: i64) -> Self {
        Self { candidate, judged: 0, now_us, table_us, changes: 0, parent_open: 0, siblings_open: 0 }
    }
}

/// What one verdict says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Answer {
    pub verdict: u8,
    pub until_us: i64,
    pub severity: u8,
    pub reason: Box<str>,
}

impl Answer {
    /// The verdict of a row; without one the candidate leaves.
    pub(super) fn of(verdicts: &Verdicts, row: usize) -> Self {
        Self {
            verdict: verdicts.verdict.get(row).copied().unwrap_or(verdict::EMIT),
            until_us: verdicts.until_us.get(row).copied().unwrap_or(0),
            severity: verdicts.severity.get(row).copied().unwrap_or(0),
            reason: verdicts.reason.get(row).into(),
        }
    }

    /// As the verdict of a row alone.
    pub(super) fn alone(&self) -> Verdicts {
        let mut verdicts = Verdicts::failed(&self.reason);
        verdicts.verdict[0] = self.verdict;
        verdicts.until_us[0] = self.until_us;
        verdicts.severity[0] = self.severity;
        verdicts
    }
}

/// Whether the suppressor of a type, or the version of it that is tried, reads a field.
pub(super) fn reads(judge: &dyn Judge, signal_type: u16, path: &str) -> bool {
    let reads = |judge: &dyn Judge| {
        judge.fields(signal_type).is_some_and(|fields| fields.iter().any(|field| field.path == path))
    };
    reads(judge) || judge.tried(signal_type).is_some_and(|(_, tried)| reads(tried))
}

/// Whether a version of the suppressor of a type must judge each candidate when its turn comes.
pub(super) fn is_live(judge: &dyn Judge, signal_type: u16, tried: bool) -> bool {
    let judge = if tried { judge.tried(signal_type).map(|(_, tried)| tried) } else { Some(judge) };
    let live = |field: &Field| LIVE.contains(&field.path.as_str());
    judge.is_some_and(|judge| {
        let fields = judge.fields(signal_type);
        judge.memo(signal_type).is_some() || fields.is_some_and(|fields| fields.iter().any(live))
    })
}

/// Asks the suppressor of a type, or the version of it that is tried.
pub(super) fn ask(rows: &[Row<'_>], signal_type: u16, memos: Blobs, tried: bool, exit: &mut Exit<'_>) -> Verdicts {
    if rows.is_empty() {
        return Verdicts::default();
    }
    let fields = match tried {
        false => exit.judge.fields(signal_type),
        true => exit.judge.tried(signal_type).and_then(|(_, judge)| judge.fields(signal_type)),
    };
    let Some(fields) = fields else { return Verdicts::default() };
    let columns = fields.iter().map(|field| column(field, rows, signal_type, exit)).collect();
    let batch = Batch { rows: rows.len() as u32, columns };
    match exit.judge.tried_mut(signal_type).filter(|_| tried) {
        Some(judge) => judge.judge(signal_type, batch, memos),
        None => exit.judge.judge(signal_type, batch, memos),
    }
}

fn column(field: &Field, rows: &[Row<'_>], signal_type: u16, exit: &Exit<'_>) -> Column {
    let plan = &exit.plan.types[signal_type as usize];
    let until_us = |row: &Row<'_>| exit.plan.maintenance_until_us(&row.candidate.key, row.now_us);
    match field.path.as_str() {
        "type" => text(rows, |_| Some(plan.name.as_str())),
        "key" => text(rows, |row| Some(&row.candidate.key)),
        "kind" => text(rows, |row| Some(kind_name(row.candidate.kind).trim_start_matches("stillhouse."))),
        "from" => text(rows, |row| Some(from_name(row.candidate, plan))),
        "to" => text(rows, |row| Some(plan.state_name(row.candidate.to.state))),
        "value" => text(rows, |row| Some(row.candidate.to.value.as_deref().unwrap_or_default())),
        "parent" => text(rows, |row| exit.parent(&row.candidate.key, row.table_us)),
        "time" => int(rows, |row| Some(row.candidate.time_us)),
        "since" => int(rows, |row| Some(row.candidate.to.since_us)),
        "held_us" => int(rows, |row| Some(row.candidate.time_us - row.candidate.to.since_us)),
        "state_us" => int(rows, |row| Some(row.candidate.time_us - row.candidate.from.as_ref()?.since_us)),
        "inputs" => int(rows, |row| Some(row.candidate.inputs as i64)),
        "sources" => int(rows, |row| Some(i64::from(row.candidate.sources))),
        "severity" => int(rows, |row| Some(i64::from(row.candidate.severity))),
        "judged" => int(rows, |row| Some(row.judged)),
        "changes" => int(rows, |row| Some(row.changes)),
        "parent_open" => int(rows, |row| Some(row.parent_open)),
        "siblings_open" => int(rows, |row| Some(row.siblings_open)),
        "maintenance_until" => int(rows, until_us),
        "maintenance" => bools(rows, |row| until_us(row).is_some()),
        "healthy" => bools(rows, |row| is_healthy(row.candidate, plan)),
        "flap_score" => floats(rows, |row| row.candidate.score_mpct.map(|score_mpct| f64::from(score_mpct) / 1000.0)),
        // The host refuses a rule that asks for another field when it loads it.
        _ => Column { values: absent(field.kind, rows.len()), present: vec![0; rows.len()] },
    }
}

/// The kind of a field of a candidate, or `None` if there is no such field.
pub fn field_kind(path: &str) -> Option<FieldKind> {
    match path {
        "type" | "key" | "kind" | "from" | "to" | "value" | "parent" => Some(FieldKind::Text),
        "time" | "since" | "held_us" | "state_us" | "inputs" | "sources" | "severity" | "judged" | "changes"
        | "parent_open" | "siblings_open" | "maintenance_until" => Some(FieldKind::Int),
        "flap_score" => Some(FieldKind::Float),
        "healthy" | "maintenance" => Some(FieldKind::Bool),
        _ => None,
    }
}

fn from_name<'a>(candidate: &Candidate, plan: &'a TypePlan) -> &'a str {
    candidate.from.as_ref().map_or("", |from| plan.state_name(from.state))
}

/// That an entity flaps is a problem, whichever state it is seen in.
fn is_healthy(candidate: &Candidate, plan: &TypePlan) -> bool {
    candidate.kind != Kind::FlappingStarted && plan.condition(candidate.to.state) != Condition::Problem
}

fn text<'a>(rows: &'a [Row<'a>], of: impl Fn(&'a Row<'a>) -> Option<&'a str>) -> Column {
    let mut texts = TextColumn::default();
    let texts_of: Vec<Option<&str>> = rows.iter().map(of).collect();
    texts_of.iter().for_each(|value| texts.push(value.unwrap_or_default()));
    Column { values: Values::Text(texts), present: present(&texts_of) }
}

fn int(rows: &[Row<'_>], of: impl Fn(&Row<'_>) -> Option<i64>) -> Column {
    let ints: Vec<Option<i64>> = rows.iter().map(of).collect();
    Column { present: present(&ints), values: Values::Ints(ints.into_iter().map(Option::unwrap_or_default).collect()) }
}

fn floats(rows: &[Row<'_>], of: impl Fn(&Row<'_>) -> Option<f64>) -> Column {
    let floats: Vec<Option<f64>> = rows.iter().map(of).collect();
    let present = present(&floats);
    Column { present, values: Values::Floats(floats.into_iter().map(Option::unwrap_or_default).collect()) }
}

fn bools(rows: &[Row<'_>], of: impl Fn(&Row<'_>) -> bool) -> Column {
    Column { values: Values::Bools(rows.iter().map(|row| u8::from(of(row))).collect()), present: Vec::new() }
}

/// As columns say it: nothing where every row has a value.
fn present<T>(values: &[Option<T>]) -> Vec<u8> {
    if values.iter().all(Option::is_some) {
        return Vec::new();
    }
    values.iter().map(|value| u8::from(value.is_some())).collect()
}

fn absent(kind: FieldKind, rows: usize) -> Values {
    match kind {
        FieldKind::Text => Values::Text(TextColumn { offsets: vec![0; rows + 1], data: Vec::new() }),
        FieldKind::Int => Values::Ints(vec![0; rows]),
        FieldKind::Float => Values::Floats(vec![0.0; rows]),
        FieldKind::Bool => Values::Bools(vec![0; rows]),
    }
}
