//! What suppressors remember of entities. The gate keeps the bytes and knows nothing of their
//! meaning.

use std::collections::BTreeMap;

use crate::rule::{Carry, MemoPlan};
use serde::{Deserialize, Serialize};

/// How many memos a signal type may have, and how many bytes in all. At either bound the one that
/// was written least recently is forgotten, which is counted.
const BOUNDS: Bounds = Bounds { memos: 1_000_000, bytes: 256 << 20 };

#[derive(Clone, Copy, Debug)]
struct Bounds {
    memos: usize,
    bytes: usize,
}

/// The memos of all signal types.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Memos {
    stores: BTreeMap<u16, Store>,
    /// Those that tried versions have written; an empty one is none, whatever the version in force has.
    tried: BTreeMap<u16, Store>,
    forgotten: u64,
}

/// The memos of one signal type.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Store {
    version: u32,
    /// By record key, with when it was written.
    memos: BTreeMap<Box<str>, (u64, Box<[u8]>)>,
    /// By when it was written.
    written: BTreeMap<u64, Box<str>>,
    writes: u64,
    bytes: usize,
}

impl Memos {
    /// The memo of an entity; empty if there is none.
    pub(super) fn get(&mut self, signal_type: u16, key: &str, plan: MemoPlan) -> &[u8] {
        self.store(signal_type, plan).memos.get(key).map_or(&[], |(_, bytes)| bytes)
    }

    /// Replaces the memo of an entity; an empty one is none.
    ///
    /// # Errors
    /// If it is longer than the plan allows; the one before stays.
    pub(super) fn set(&mut self, signal_type: u16, key: &str, bytes: &[u8], plan: MemoPlan) -> Result<(), Box<str>> {
        fits(bytes, plan)?;
        let forgotten = self.store(signal_type, plan).set(key, bytes, BOUNDS);
        self.forgotten += forgotten;
        Ok(())
    }

    /// The memo of an entity as the tried version of its rule has it: its own, or until it has written one
    /// what it takes over.
    pub(super) fn get_tried(&mut self, signal_type: u16, key: &str, plan: MemoPlan) -> &[u8] {
        let own = self.tried.entry(signal_type).or_insert_with(|| Store::of(plan.version));
        match own.memos.get(key) {
            Some((_, bytes)) => bytes,
            None => {
                let stable = self.stores.get(&signal_type);
                let carried = stable.filter(|stable| stable.version == plan.version || plan.carry == Carry::Keep);
                carried.and_then(|stable| stable.memos.get(key)).map_or(&[], |(_, bytes)| bytes)
            }
        }
    }

    /// Replaces the memo of an entity as the tried version has it.
    ///
    /// # Errors
    /// As [`Memos::set`].
    pub(super) fn set_tried(
        &mut self,
        signal_type: u16,
        key: &str,
        bytes: &[u8],
        plan: MemoPlan,
    ) -> Result<(), Box<str>> {
        fits(bytes, plan)?;
        let own = self.tried.entry(signal_type).or_insert_with(|| Store::of(plan.version));
        self.forgotten += own.put(key, bytes, BOUNDS);
        Ok(())
    }

    /// The tried version is in force: what it has written counts.
    pub(super) fn promote(&mut self, signal_type: u16, plan: Option<MemoPlan>) {
        let (Some(tried), Some(plan)) = (self.tried.remove(&signal_type), plan) else { return };
        let mut forgotten = 0;
        let store = self.store(signal_type, plan);
        for (key, (_, bytes)) in &tried.memos {
            forgotten += store.set(key, bytes, BOUNDS);
        }
        self.forgotten += forgotten;
    }

    /// The tried version is withdrawn.
    pub(super) fn withdraw(&mut self, signal_type: u16) {
        self.tried.remove(&signal_type);
    }

    /// The version of the memos that are kept of a type, if it has any.
    pub(super) fn version(&self, signal_type: u16) -> Option<u32> {
        self.stores.get(&signal_type).map(|store| store.version)
    }

    /// How many were forgotten at a bound.
    pub(super) fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// The store of a type, in the version that its rule has now.
    fn store(&mut self, signal_type: u16, plan: MemoPlan) -> &mut Store {
        let store = self.stores.entry(signal_type).or_insert_with(|| Store::of(plan.version));
        if store.version != plan.version {
            match plan.carry {
                Carry::Keep => store.version = plan.version,
                Carry::Reset | Carry::Rekey => *store = Store::of(plan.version),
            }
        }
        store
    }
}

fn fits(bytes: &[u8], plan: MemoPlan) -> Result<(), Box<str>> {
    let (got, max) = (bytes.len(), plan.bytes_max);
    if got > max as usize {
        return Err(format!("its memo has {got} bytes, and it declares at most {max}").into());
    }
    Ok(())
}

impl Store {
    fn of(version: u32) -> Self {
        Self { version, ..Self::default() }
    }

    /// How many others had to be forgotten for it.
    fn set(&mut self, key: &str, bytes: &[u8], bounds: Bounds) -> u64 {
        self.remove(key);
        if bytes.is_empty() { 0 } else { self.put(key, bytes, bounds) }
    }

    /// As [`Store::set`], but an empty one is kept too.
    fn put(&mut self, key: &str, bytes: &[u8], bounds: Bounds) -> u64 {
        self.remove(key);
        let mut forgotten = 0;
        while self.memos.len() >= bounds.memos || self.bytes + bytes.len() > bounds.bytes {
            let Some((_, oldest)) = self.written.pop_first() else { break };
            self.remove(&oldest);
            forgotten += 1;
        }
        self.writes += 1;
        self.bytes += bytes.len();
        self.written.insert(self.writes, key.into());
        self.memos.insert(key.into(), (self.writes, bytes.into()));
        forgotten
    }

    fn remove(&mut self, key: &str) {
        if let Some((written, bytes)) = self.memos.remove(key) {
            self.written.remove(&written);
            self.bytes -= bytes.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(version: u32, carry: Carry) -> MemoPlan {
        MemoPlan { version, carry, bytes_max: 4 }
    }

    #[test]
    fn the_least_recently_written_is_forgotten_at_the_bounds() {
        let bounds = Bounds { memos: 2, bytes: 5 };
        let mut store = Store::default();
        assert_eq!(["a", "b", "a"].map(|key| store.set(key, b"12", bounds)), [0, 0, 0]);
        assert_eq!(store.set("c", b"1", bounds), 1, "`b` goes: `a` was written after it");
        assert_eq!(store.memos.keys().map(|key| &**key).collect::<Vec<_>>(), ["a", "c"]);
        assert_eq!(store.set("c", b"1234", bounds), 1, "too many bytes for both");
        assert_eq!((store.memos.len(), store.written.len(), store.bytes), (1, 1, 4));
        assert_eq!(store.set("c", b"", bounds), 0);
        assert_eq!((store.memos.len(), store.written.len(), store.bytes), (0, 0, 0));
    }

    #[test]
    fn another_version_carries_memos_over_or_not() {
        for (carry, left) in [(Carry::Keep, b"x".as_slice()), (Carry::Reset, b""), (Carry::Rekey, b"")] {
            let mut memos = Memos::default();
            memos.set(0, "k", b"x", plan(1, carry)).expect("short enough");
            assert_eq!(memos.get(0, "k", plan(1, carry)), b"x");
            assert_eq!(memos.get(0, "k", plan(2, carry)), left, "{carry:?}");
        }
    }

    #[test]
    fn what_is_too_long_is_refused_and_the_one_before_stays() {
        let mut memos = Memos::default();
        memos.set(0, "k", b"1234", plan(1, Carry::Keep)).expect("short enough");
        let refused = memos.set(0, "k", b"12345", plan(1, Carry::Keep));
        assert_eq!(&*refused.unwrap_err(), "its memo has 5 bytes, and it declares at most 4");
        assert_eq!(memos.get(0, "k", plan(1, Carry::Keep)), b"1234");
    }
}
