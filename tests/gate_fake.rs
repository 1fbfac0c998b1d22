//! A suppressor that reads the fields it is given and may keep a memo, and a plan with parents.

use std::sync::Arc;

use stillhouse_core::columns::{Batch, Blobs, Column, Reasons, TextColumn, Values, Verdicts, verdict};
use stillhouse_core::gate::field_kind;
use stillhouse_core::plan::{InhibitPlan, TypePlan};
use stillhouse_core::rule::{Field, Judge, MemoPlan, RuleId};
use stillhouse_core::table::Table;
use stillhouse_core::{Ledger, Plan};

use crate::plans::plan;
use crate::stream::{Division, Run, Stream, WHOLE, run_with, told};

/// One candidate as the suppressor sees it: the fields in their order, `-` where one is absent.
pub struct Row {
    pub fields: Vec<String>,
    pub memo: Vec<u8>,
}

/// What it answers: the verdict, until when, the severity, and the memo.
pub struct Said(pub u8, pub i64, pub u8, pub Vec<u8>);

/// It leaves.
pub fn emit() -> Said {
    Said(verdict::EMIT, 0, 0, Vec::new())
}

/// Held back until then.
pub fn suppress(until_us: i64) -> Said {
    Said(verdict::SUPPRESS, until_us, 0, Vec::new())
}

/// A suppressor of all types that is a function.
pub struct Fake<F> {
    answer: F,
    fields: Vec<Field>,
    pub memo: Option<MemoPlan>,
    rule: RuleId,
    /// How many rows each batch had.
    pub batches: Vec<u32>,
}

impl<F: FnMut(&Row) -> Said> Fake<F> {
    pub fn new(paths: &[&str], answer: F) -> Self {
        let fields = paths.iter().map(|path| Field {
            path: (*path).into(),
            kind: field_kind(path).unwrap_or_else(|| panic!("`{path}` is a field")),
        });
        let rule = RuleId { name: "calm".into(), version: "2.0.0".into(), digest: "c".into() };
        Self { answer, fields: fields.collect(), memo: None, rule, batches: Vec::new() }
    }
}

fn shown(column: &Column, row: usize) -> String {
    if column.present.get(row) == Some(&0) {
        return "-".into();
    }
    match &column.values {
        Values::Text(texts) => texts.get(row).to_owned(),
        Values::Dict { codes, entries } => entries.get(codes[row] as usize).to_owned(),
        Values::Ints(ints) => ints[row].to_string(),
        Values::Floats(floats) => floats[row].to_string(),
        Values::Bools(bools) => bools[row].to_string(),
    }
}

impl<F: FnMut(&Row) -> Said> Judge for Fake<F> {
    fn fields(&self, _: u16) -> Option<&[Field]> {
        Some(&self.fields)
    }

    fn judge(&mut self, _: u16, candidates: Batch, memos: Blobs) -> Verdicts {
        self.batches.push(candidates.rows);
        let mut entries = TextColumn::default();
        entries.push("because");
        let mut verdicts = Verdicts { reason: Reasons { codes: Vec::new(), entries }, ..Verdicts::default() };
        for row in 0..candidates.rows as usize {
            let fields = candidates.columns.iter().map(|column| shown(column, row)).collect();
            let Said(verdict, until_us, severity, memo) =
                (self.answer)(&Row { fields, memo: memos.get(row).to_owned() });
            verdicts.verdict.push(verdict);
            verdicts.until_us.push(until_us);
            verdicts.severity.push(severity);
            verdicts.reason.codes.push(0);
            if self.memo.is_some() {
                verdicts.memo.push(&memo);
            }
        }
        verdicts
    }

    fn memo(&self, _: u16) -> Option<MemoPlan> {
        self.memo
    }

    fn rule(&self, _: u16) -> Option<&RuleId> {
        Some(&self.rule)
    }
}

/// Who is whose parent.
pub fn parents(pairs: &[(&str, &str)]) -> Arc<Table> {
    let rows = pairs.iter().map(|(key, parent)| ((*key).into(), vec![(*parent).into()])).collect();
    Arc::new(Table { name: "topology".into(), digest: "".into(), columns: vec!["parent".into()], rows })
}

/// A plan whose keys have parents.
pub fn family(types: Vec<TypePlan>, grace_us: i64) -> Plan {
    let inhibit = InhibitPlan { table: "topology".into(), column: "parent".into(), grace_us };
    Plan { inhibit: Some(inhibit), ..plan(types) }
}

/// Runs it divided in many ways, and expects the same of all.
pub fn check<F: FnMut(&Row) -> Said>(
    plan: Plan,
    stream: &Stream,
    fake: impl Fn() -> Fake<F>,
    expected: &[&str],
) -> Run {
    let plan = Arc::new(plan);
    let whole = run_with(&plan, stream, WHOLE, &mut fake());
    assert_eq!(told(&whole.events), expected);
    for (shards, block_rows, entries) in [(1, 1, 1), (2, 2, 1), (3, 1, 2), (8, 1, 1)] {
        let division = Division { shards, block_rows, entries };
        let divided = run_with(&plan, stream, division, &mut fake());
        assert_eq!(whole.bytes, divided.bytes, "{division:?}");
        assert_eq!(whole.ledger, divided.ledger, "{division:?}");
    }
    whole
}

/// Where the signals went: emitted, suppressed, still open.
pub fn settled(ledger: &Ledger) -> (u64, u64, u64) {
    (ledger.emitted, ledger.suppressed, ledger.open)
}
