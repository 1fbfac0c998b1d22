//! Rules of both versions of the contract, side by side in one host.

use std::collections::BTreeMap;

use stillhouse_core::columns::{Blobs, Observations, Verdicts, outcome};
use stillhouse_rules::{Kind, MapperInstance, SuppressorInstance};

use crate::engine;
use crate::memo::batch;
use crate::wat_judge::{TRAP as JUDGE_TRAP, WatJudge};
use crate::wat_rule::{DROP, NEW, OLD, TRAP, WatRule};

fn mapped(mapper: &mut MapperInstance) -> (Observations, usize) {
    let mut out = Observations::default();
    mapper.map(batch(&["a", TRAP, DROP, "x"]), &mut out);
    (out, mapper.last().failures.len())
}

fn judged(suppressor: &mut SuppressorInstance) -> (Verdicts, usize) {
    let mut out = Verdicts::default();
    suppressor.judge(batch(&["a", JUDGE_TRAP, "b"]), Blobs::default(), &mut out);
    (out, suppressor.last().failures.len())
}

#[test]
fn both_run_in_one_host_and_answer_the_same() {
    let engine = engine();
    let none = BTreeMap::new();
    let mapper = |contract| engine.load(&WatRule { contract, ..WatRule::default() }.build()).unwrap();
    let judge =
        |contract, memo_bytes| engine.load(&WatJudge { contract, memo_bytes, ..WatJudge::default() }.build()).unwrap();
    let mappers = [mapper(OLD), mapper(NEW)];
    let judges = [judge(OLD, 0), judge(NEW, 0)];
    for rules in [&mappers, &judges] {
        assert_eq!([rules[0].contract(), rules[1].contract()], [OLD, NEW]);
        assert_ne!(rules[0].id().digest, rules[1].id().digest);
        assert_eq!(rules[0].fields(), rules[1].fields());
        assert_eq!(rules[0].cases(), rules[1].cases());
    }
    assert_eq!((mappers[0].kind(), judges[0].kind()), (Kind::Mapper, Kind::Suppressor));
    assert_eq!((mappers[0].schema(), mappers[0].states()), (mappers[1].schema(), mappers[1].states()));
    assert_eq!(judges[0].memo(), None);

    let [mut old, mut new] = mappers.map(|rule| rule.mapper(&none).unwrap());
    for _ in 0..3 {
        let (by_old, failed) = mapped(&mut old);
        assert_eq!((by_old.outcome.as_slice(), failed), ([0, outcome::FAILED, 1, 0].as_slice(), 1));
        assert_eq!((by_old, failed), mapped(&mut new));
    }
    drop((old, new));
    let [mut old, mut new] = judges.map(|rule| rule.suppressor(&none).unwrap());
    for _ in 0..3 {
        let (by_old, failed) = judged(&mut old);
        assert_eq!((failed, by_old.memo.offsets.len()), (1, 0));
        assert_eq!((by_old, failed), judged(&mut new));
    }
}
