//! Sources that report a problem together: counted, and no event of their own.

use std::sync::Arc;

use stillhouse_core::columns::{Batch, Blobs, Reasons, TextColumn, Values, Verdicts, verdict};
use stillhouse_core::rule::{Field, FieldKind, Judge, RuleId};

use crate::plans::{DOWN, UP, plan, type_plan};
use crate::stream::{Division, Item, Signal, Stream, WHOLE, check_divided, run_with, signal, told};

/// Three sources report key `k` down, one after the other, and then one of them key `l`.
fn stream() -> Stream {
    let report = |time_us, source, key: &str| {
        Item::Signal(Signal { source, ..signal(time_us, &format!("e{time_us}"), key, DOWN, "") })
    };
    let items = vec![report(0, 0, "k"), report(1, 1, "k"), report(2, 2, "k"), report(3, 0, "l"), report(4, 0, "m")];
    Stream { sources: ["a", "b", "c"].map(String::from).to_vec(), items, ended: true }
}

#[test]
fn a_rising_number_of_sources_is_no_event_of_its_own() {
    let mut of_type = type_plan("probe");
    of_type.spread = Some(2);
    let expected = ["k", "l", "m"].map(|key| {
        let at = ["k", "", "", "l", "m"].iter().position(|at| *at == key).expect("one of the three");
        format!("{at} state.changed {key} ?>down since {at} inputs 1")
    });
    let run = check_divided(plan(vec![of_type]), &stream(), &expected.each_ref().map(String::as_str));
    assert_eq!((run.ledger.emitted, run.ledger.merged_repeated, run.ledger.open), (3, 2, 0));
}

/// Holds back what is about key `l`, and refuses to be asked of more than state changes.
struct HoldsL(Vec<Field>);

impl Judge for HoldsL {
    fn fields(&self, _: u16) -> Option<&[Field]> {
        Some(&self.0)
    }

    fn judge(&mut self, _: u16, candidates: Batch, _: Blobs) -> Verdicts {
        let [Values::Text(keys), Values::Text(kinds)] = [0, 1].map(|at: usize| candidates.columns[at].values.clone())
        else {
            panic!("key and kind are text")
        };
        let mut entries = TextColumn::default();
        entries.push("because");
        let mut verdicts = Verdicts { reason: Reasons { codes: Vec::new(), entries }, ..Verdicts::default() };
        for row in 0..candidates.rows as usize {
            assert_eq!(kinds.get(row), "state.changed");
            let held = keys.get(row) == "l";
            verdicts.verdict.push(if held { verdict::SUPPRESS } else { verdict::EMIT });
            verdicts.until_us.push(0);
            verdicts.severity.push(0);
            verdicts.reason.codes.push(0);
        }
        verdicts
    }

    fn rule(&self, _: u16) -> Option<&RuleId> {
        None
    }
}

#[test]
fn no_suppressor_is_asked_about_it() {
    let mut of_type = type_plan("probe");
    of_type.spread = Some(2);
    let plan = Arc::new(plan(vec![of_type]));
    let fields = ["key", "kind"].map(|path| Field { path: path.into(), kind: FieldKind::Text });
    for division in [WHOLE, Division { shards: 3, block_rows: 1, entries: 1 }] {
        let run = run_with(&plan, &stream(), division, &mut HoldsL(fields.to_vec()));
        let expected = [
            "0 state.changed k ?>down since 0 inputs 1",
            "3 suppressed l held deadline 1000000003: ?>down since 3 inputs 1",
            "4 state.changed m ?>down since 4 inputs 1",
        ];
        assert_eq!(told(&run.events), expected);
    }
}

#[test]
fn health_from_many_sources_is_health() {
    let mut of_type = type_plan("probe");
    of_type.spread = Some(2);
    let up = |time_us, source| Item::Signal(Signal { source, ..signal(time_us, &format!("e{time_us}"), "k", UP, "") });
    let stream = Stream { sources: vec!["a".into(), "b".into()], items: vec![up(0, 0), up(1, 1)], ended: true };
    check_divided(plan(vec![of_type]), &stream, &[]);
}
