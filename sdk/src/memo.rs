//! What a suppressor remembers of each entity.
//!
//! The host stores a few bytes for each entity, hands them over with its next candidate, and takes
//! what the rule leaves. A memo begins as its `Default`, and is that again where the host has
//! forgotten it or where the bytes cannot be read.
//!
//! ```
//! use stillhouse_sdk::prelude::*;
//!
//! #[derive(Candidate)]
//! struct Problem {
//!     healthy: bool,
//! }
//!
//! /// How many problems the entity had.
//! #[derive(Memo, Default)]
//! #[memo(version = 1)]
//! struct Seen {
//!     problems: u16,
//! }
//!
//! fn judge(problem: Problem, _: &(), seen: &mut Seen) -> Verdict {
//!     if problem.healthy {
//!         return emit();
//!     }
//!     seen.problems = seen.problems.saturating_add(1);
//!     if seen.problems == 1 { suppress("once is no news", 0) } else { emit() }
//! }
//!
//! fn cases() -> Vec<JudgeCase> {
//!     let bad = [("healthy", "false")];
//!     vec![
//!         judge_case("the first time", &[], &bad).suppresses("once is no news", 0).leaves(&Seen { problems: 1 }),
//!         judge_case("the third time", &[], &bad).memo(&Seen { problems: 2 }).emits().leaves(&Seen { problems: 3 }),
//!         judge_case("all is well", &[], &[("healthy", "true")]).emits().leaves(&Seen { problems: 0 }),
//!     ]
//! }
//!
//! suppressor! { name: "once", version: "0.1.0", settings: (), memo: Seen, judge: judge, cases: cases }
//! # fn main() { stillhouse_sdk::testing::check_suppressor::<Rule>() }
//! ```

pub use crate::bindings::suppressor::exports::stillhouse::rules::suppressor_rule::Carry;

/// What a suppressor remembers of an entity: `#[derive(Memo)]`, or by hand for a layout of its own.
pub trait Memo: Default {
    /// The version of the layout. Raise it when the same bytes would mean something else.
    const VERSION: u32;

    /// What becomes of the memos of another version; with [`Carry::Keep`], [`Memo::read`] must know
    /// its layout.
    const CARRY: Carry = Carry::Reset;

    /// The most bytes that it may have, from 1 to 4,096.
    const BYTES_MAX: u32;

    /// Reads what [`Memo::write`] wrote, or `None` where the bytes are nothing that it writes. They may
    /// be anything, and so may what is read from them: no arithmetic on it may overflow.
    fn read(bytes: &[u8]) -> Option<Self>;

    /// Appends at most [`Memo::BYTES_MAX`] bytes.
    fn write(&self, out: &mut Vec<u8>);
}

/// A rule that remembers nothing.
impl Memo for () {
    const VERSION: u32 = 0;
    const BYTES_MAX: u32 = 0;

    fn read(_: &[u8]) -> Option<Self> {
        Some(())
    }

    fn write(&self, _: &mut Vec<u8>) {}
}

/// A part of a memo that always has the same number of bytes, least significant first.
pub trait Fixed: Sized {
    /// How many.
    const BYTES: usize;

    /// Appends them.
    fn put(&self, out: &mut Vec<u8>);

    /// Reads them.
    ///
    /// # Panics
    /// If there are not [`Fixed::BYTES`] of them.
    fn get(bytes: &[u8]) -> Self;
}

macro_rules! fixed_numbers {
    ($($type:ty),*) => {$(
        impl Fixed for $type {
            const BYTES: usize = size_of::<$type>();

            fn put(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }

            fn get(bytes: &[u8]) -> Self {
                Self::from_le_bytes(bytes.try_into().expect("as many bytes as it has"))
            }
        }
    )*};
}
fixed_numbers!(u8, u16, u32, u64, i8, i16, i32, i64, f32, f64);

impl Fixed for bool {
    const BYTES: usize = 1;

    fn put(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }

    fn get(bytes: &[u8]) -> Self {
        bytes[0] != 0
    }
}

impl<T: Fixed, const N: usize> Fixed for [T; N] {
    const BYTES: usize = N * T::BYTES;

    fn put(&self, out: &mut Vec<u8>) {
        self.iter().for_each(|part| part.put(out));
    }

    fn get(bytes: &[u8]) -> Self {
        std::array::from_fn(|at| T::get(&bytes[at * T::BYTES..(at + 1) * T::BYTES]))
    }
}

/// Reads the next part of a memo. Called by the derive.
///
/// # Panics
/// If too few bytes are left.
#[doc(hidden)]
pub fn take<T: Fixed>(rest: &mut &[u8]) -> T {
    let (part, after) = rest.split_at(T::BYTES);
    *rest = after;
    T::get(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_fixed_size_are_read_back() {
        let mut bytes = Vec::new();
        let array = [-2_i16, 300];
        array.put(&mut bytes);
        true.put(&mut bytes);
        1.5_f32.put(&mut bytes);
        assert_eq!(bytes, [0xFE, 0xFF, 0x2C, 0x01, 1, 0, 0, 0xC0, 0x3F]);
        let mut rest = bytes.as_slice();
        assert_eq!((take::<[i16; 2]>(&mut rest), take::<bool>(&mut rest), take::<f32>(&mut rest)), (array, true, 1.5));
        assert!(rest.is_empty());
    }
}
