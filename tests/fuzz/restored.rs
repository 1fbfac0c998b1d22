//! The state of a core that is damaged.

use std::sync::Arc;

use stillhouse_core::rule::NoJudge;
use stillhouse_core::{Checkpoint, Core, Entry, Slice};

use super::stored::patched;
use crate::chance::Chance;
use crate::generate::{any_plan, any_stream};

/// What stands before the head.
const DIGEST_BYTES: usize = 16;

/// The first byte says which stream a core has seen, the second where it is damaged and whether the digest is forged;
/// the rest is the damage. What is damaged is refused, and what is not is of use to the end. Behind the digest, state
/// is believed: it is decoded and asked here, and no more.
pub fn checkpoint(bytes: &[u8]) {
    let Some((&[seed, place], patches)) = bytes.split_first_chunk() else { return };
    let mut chance = Chance::new(u64::from(seed));
    let plan = Arc::new(any_plan(&mut chance));
    let entries = any_stream(&mut chance, &plan).entries(3);
    let (before, after) = entries.split_at(entries.len() / 2);
    let mut core = Core::new(Arc::clone(&plan), 1);
    let mut events = Vec::new();
    core.step(before.iter().cloned(), &mut NoJudge, &mut events);
    let Checkpoint { head, parts } = core.save(Slice::All);
    let whole = Checkpoint::sealed(&head[DIGEST_BYTES..], vec![parts.concat()]);
    let Checkpoint { head, parts } = &whole;
    let damaged = match place % 4 {
        0 => Checkpoint { head: patched(head, patches), parts: parts.clone() },
        1 => Checkpoint { head: head.clone(), parts: vec![patched(&parts[0], patches)] },
        2 => Checkpoint::sealed(&patched(&head[DIGEST_BYTES..], patches), parts.clone()),
        _ => Checkpoint::sealed(&head[DIGEST_BYTES..], vec![patched(&parts[0], patches)]),
    };
    let (is_whole, is_forged) = (damaged == whole, place % 4 > 1);
    let mut core = match Core::restore(plan, 2, [damaged], &mut |_| None) {
        Ok(core) => core,
        Err(error) => return assert!(!is_whole, "a whole one is refused: {error}"),
    };
    assert!(is_whole || is_forged, "a damaged one is taken over");
    if !is_whole {
        let _ = (core.state_hash(), core.ledger(), core.save(Slice::All));
        return;
    }
    core.step(after.iter().cloned(), &mut NoJudge, &mut events);
    core.step([Entry::End], &mut NoJudge, &mut events);
    let mut lines = Vec::new();
    events.iter().for_each(|event| event.write_line(&mut lines));
    let _ = (core.state_hash(), core.ledger(), core.save(Slice::All));
}
