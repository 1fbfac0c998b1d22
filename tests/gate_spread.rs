//! What many sources report is not held back. The candidates are made by hand.

use std::sync::Arc;

use stillhouse_core::columns::verdict;
use stillhouse_core::derive::Derive;
use stillhouse_core::entity::{Candidate, Input, Kind, Standing};
use stillhouse_core::gate::{Exit, Gate};
use stillhouse_core::plan::{FloodPlan, TypePlan};
use stillhouse_core::table::Tables;
use stillhouse_core::{Ledger, Plan};

use crate::gate_fake::{Fake, Row, Said, emit, family, parents, suppress};
use crate::plans::{DOWN, UP, type_plan};
use crate::stream::told;

fn candidate(time_us: i64, key: &str, kind: Kind, state: u8, sources: u32) -> Candidate {
    let to = Standing { state, value: None, fingerprint: u64::from(state), since_us: time_us };
    let input = Input { source: 0, time_us, id: format!("{key}{time_us}") };
    let signals = u64::from(kind != Kind::Spread);
    Candidate {
        time_us,
        by_timer: false,
        kind,
        signal_type: 0,
        key: key.into(),
        from: None,
        to,
        severity: 0,
        inputs: 1,
        sources,
        first: input.clone(),
        last: input,
        repeated: 0,
        blips: 0,
        score_mpct: None,
        signals,
        window: None,
        missed: None,
        mapper: 0,
        on_trial: false,
        tried_judge: false,
    }
}

/// What leaves of these candidates, in one step or in one for each.
fn pass(change: impl Fn(&mut TypePlan), candidates: &[Candidate], answer: fn(&Row) -> Said) -> Vec<String> {
    let mut of_type = TypePlan { spread: Some(3), suppress_max_us: 1_000, ..type_plan("probe") };
    change(&mut of_type);
    let plan = Arc::new(family(vec![of_type], 0));
    let whole = pass_in(&plan, candidates, candidates.len(), answer);
    assert_eq!(whole, pass_in(&plan, candidates, 1, answer));
    whole
}

fn pass_in(plan: &Plan, candidates: &[Candidate], step: usize, answer: fn(&Row) -> Said) -> Vec<String> {
    let mut tables = Tables::default();
    tables.set(parents(&[("a", "p")]), i64::MIN);
    let (mut gate, mut derive, mut out) = (Gate::default(), Derive::default(), Vec::new());
    let mut ledger = Ledger { received: 100, open: 100, ..Ledger::default() };
    let mut judge = Fake::new(&["key", "kind"], answer);
    let mut settled = 0;
    for candidates in candidates.chunks(step) {
        let mut exit = Exit {
            plan,
            sources: &["one".into()],
            tables: &tables,
            judge: &mut judge,
            ledger: &mut ledger,
            derive: &mut derive,
            out: &mut out,
        };
        let mut batched = gate.judge(candidates, &mut exit);
        for candidate in candidates {
            settled += candidate.signals;
            gate.pass(candidate.clone(), &mut batched, &mut exit);
        }
        gate.fire(candidates.last().expect("no chunk is empty").time_us, &mut exit);
    }
    assert!(ledger.balances());
    assert_eq!(ledger.open, 100 - settled + gate.open());
    told(&out)
}

fn hold(row: &Row) -> Said {
    if row.fields[1] == "state.changed" { suppress(900) } else { emit() }
}

const NOT_HELD: &str = "20 state.changed a ?>down since 10 inputs 1 overridden after 10";

#[test]
fn what_so_many_sources_report_is_held_back_no_longer() {
    let held = "10 suppressed a held deadline 900: ?>down since 10 inputs 1";
    let changed = candidate(10, "a", Kind::StateChanged, DOWN, 1);
    let spread = candidate(20, "a", Kind::Spread, DOWN, 3);
    assert_eq!(pass(|_| (), &[changed.clone(), spread.clone()], hold), [held, NOT_HELD]);
    // By then nothing is held: nothing happens.
    let other = candidate(20, "b", Kind::Spread, DOWN, 3);
    assert_eq!(pass(|_| (), &[changed, other], hold), [held]);
    assert_eq!(pass(|_| (), &[spread], hold), Vec::<String>::new());
}

#[test]
fn what_so_many_sources_report_from_the_beginning_is_not_held_back() {
    let changed = candidate(10, "a", Kind::StateChanged, DOWN, 3);
    let lines = pass(|_| (), &[changed], hold);
    assert_eq!(lines, ["10 state.changed a ?>down since 10 inputs 1 overridden after 0"]);
}

#[test]
fn it_overrides_floods_and_parents_too() {
    let flood = |plan: &mut TypePlan| plan.flood = Some(FloodPlan { max: Some(1), per_source: None, per_us: 100 });
    let first = candidate(5, "b", Kind::StateChanged, DOWN, 1);
    let changed = candidate(10, "a", Kind::StateChanged, DOWN, 1);
    let spread = candidate(20, "a", Kind::Spread, DOWN, 3);
    let after = candidate(150, "z", Kind::StateChanged, UP, 1);
    assert_eq!(
        pass(flood, &[first, changed.clone(), spread.clone(), after], |_| emit()),
        [
            "5 state.changed b ?>down since 5 inputs 1",
            "10 flood.started - 1 in 100 since 10",
            NOT_HELD,
            "100 flood.stopped - 1 in 100 since 10: 1 withheld, 0 ended, 0 signals of a",
            "150 state.changed z ?>up since 150 inputs 1",
        ]
    );
    let parent = candidate(5, "p", Kind::StateChanged, DOWN, 1);
    assert_eq!(
        pass(|_| (), &[parent, changed, spread], |_| emit()),
        [
            "5 state.changed p ?>down since 5 inputs 1",
            "10 suppressed a held deadline 1010: ?>down since 10 inputs 1",
            NOT_HELD,
        ]
    );
}

#[test]
fn while_the_entity_flaps_it_leaves_as_soon_as_that_ends() {
    let candidates = [
        candidate(10, "a", Kind::StateChanged, DOWN, 1),
        candidate(15, "a", Kind::FlappingStarted, UP, 0),
        candidate(20, "a", Kind::Spread, DOWN, 3),
        candidate(30, "a", Kind::FlappingStopped, UP, 0),
    ];
    assert_eq!(
        pass(|_| (), &candidates, hold),
        [
            "10 suppressed a held deadline 900: ?>down since 10 inputs 1",
            "15 flapping.started a ?>up since 15 inputs 1",
            "30 flapping.stopped a ?>up since 30 inputs 1",
            "30 state.changed a ?>down since 10 inputs 1 overridden after 20",
        ]
    );
    let delayed = pass(|_| (), &candidates[..1], |_| Said(verdict::DELAY, 5, 0, Vec::new()));
    assert_eq!(delayed, ["10 state.changed a ?>down since 10 inputs 1 released after 0"]);
}
