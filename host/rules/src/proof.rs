//! What was proved of a rule, kept beside its compiled code: the same bytes within the same limits on
//! the same host pass again, so they need not be asked again.

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::cache::Kept;
use crate::cases::{Case, CaseResult};
use crate::compile;
use crate::contract::Version;
use crate::engine::EngineInner;
use crate::load::{Kind, hex};

/// Rises when the checks of this host change: what passed the old ones may not pass the new.
const CHECKS: u32 = 1;

/// That a rule passed all checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Proof {
    pub kind: Kind,
    pub version: Version,
    /// The memo that each case left; all else of its result is as the case wants it.
    memos: Vec<Vec<u8>>,
}

impl Proof {
    /// `results` are those of all cases, and all passed.
    pub fn new(kind: Kind, version: Version, results: &[CaseResult]) -> Self {
        Self { kind, version, memos: results.iter().map(|result| result.got_memo.clone()).collect() }
    }

    /// The results that were proved, if `cases` are what they were.
    pub fn results(&self, cases: &[Case]) -> Option<Vec<CaseResult>> {
        let result = |(case, memo): (&Case, &Vec<u8>)| CaseResult {
            name: case.name.clone(),
            expected: case.expected.clone(),
            got: case.expected.clone(),
            expected_memo: case.expected_memo.clone(),
            got_memo: memo.clone(),
        };
        let results: Vec<CaseResult> = cases.iter().zip(&self.memos).map(result).collect();
        (cases.len() == self.memos.len() && results.iter().all(CaseResult::passed)).then_some(results)
    }

    /// What is kept for `digest`.
    pub fn read(engine: &EngineInner, digest: &str) -> Option<Self> {
        let kept = engine.cache.as_ref()?.read(&key(engine, digest), Kept::Proof)?;
        Self::parse(std::str::from_utf8(&kept).ok()?)
    }

    /// Keeps it for `digest`.
    pub fn write(&self, engine: &EngineInner, digest: &str) {
        if let Some(cache) = &engine.cache {
            cache.write(&key(engine, digest), Kept::Proof, self.text().as_bytes());
        }
    }

    /// Kind and version of the contract, and a line for each case with its memo.
    fn text(&self) -> String {
        let memos = self.memos.iter().map(|memo| format!("{}\n", hex(memo)));
        format!("{} {}\n{}", self.kind, self.version.number(), memos.collect::<String>())
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let (kind, version) = lines.next()?.split_once(' ')?;
        let kind = [Kind::Mapper, Kind::Suppressor].into_iter().find(|known| known.to_string() == kind)?;
        let version = [Version::V0_1, Version::V0_2].into_iter().find(|known| known.number() == version)?;
        Some(Self { kind, version, memos: lines.map(unhex).collect::<Option<_>>()? })
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let byte = |at: usize| u8::from_str_radix(text.get(at..at + 2)?, 16).ok();
    (0..text.len()).step_by(2).map(byte).collect()
}

/// Differs where the code does, or a limit, or what is checked.
fn key(engine: &EngineInner, digest: &str) -> String {
    let mut hasher = DefaultHasher::new();
    (CHECKS, engine.deadlines, format!("{:?}", engine.limits())).hash(&mut hasher);
    format!("{}-{:016x}", compile::key(engine, digest), hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_is_read_as_it_was_written() {
        let memos = vec![Vec::new(), vec![0, 171, 255], Vec::new()];
        let proof = Proof { kind: Kind::Suppressor, version: Version::V0_2, memos };
        assert_eq!(proof.text(), "suppressor 0.2.0\n\n00abff\n\n");
        assert_eq!(Proof::parse(&proof.text()), Some(proof));
        for bad in ["", "mapper", "mapper 0.9.0", "judge 0.2.0", "mapper 0.2.0\nabc", "mapper 0.2.0\nxy"] {
            assert_eq!(Proof::parse(bad), None, "{bad}");
        }
    }
}
