//! What may be removed: a pure function of what there is.

use crate::BlockInfo;

/// How much of a sequence is kept. What is older or more may be removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// For how long, by the time of the blocks.
    pub age_us: Option<i64>,
    /// How many bytes, as they are stored.
    pub bytes: Option<u64>,
}

/// The position from which on a sequence is kept: the oldest blocks go as long as each is too old, or all from it on
/// are too many bytes. What ends beyond `floor` stays, for somebody needs it, and so does the newest block.
#[must_use]
pub fn trim_to(blocks: &[BlockInfo], policy: Retention, now_us: i64, floor: u64) -> u64 {
    let mut bytes: u64 = blocks.iter().map(|block| u64::from(block.stored_bytes)).sum();
    let Some((newest, older)) = blocks.split_last() else { return 0 };
    for block in older {
        let is_old = policy.age_us.is_some_and(|age_us| block.time_us < now_us.saturating_sub(age_us));
        let is_much = policy.bytes.is_some_and(|bytes_max| bytes > bytes_max);
        if block.end() > floor || !(is_old || is_much) {
            return block.first;
        }
        bytes -= u64::from(block.stored_bytes);
    }
    newest.first
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Five blocks of 10 records and 100 bytes, at times 0, 10, 20, 30 and 40.
    fn blocks() -> Vec<BlockInfo> {
        let block = |at: u64| BlockInfo {
            first: at * 10,
            count: 10,
            raw_bytes: 1000,
            stored_bytes: 100,
            time_us: at as i64 * 10,
        };
        (0..5).map(block).collect()
    }

    fn kept(age_us: Option<i64>, bytes: Option<u64>, floor: u64) -> u64 {
        trim_to(&blocks(), Retention { age_us, bytes }, 50, floor)
    }

    #[test]
    fn the_old_and_the_many_go() {
        assert_eq!(kept(None, None, u64::MAX), 0);
        assert_eq!(kept(Some(30), None, u64::MAX), 20, "a block of exactly that age stays");
        assert_eq!(kept(Some(29), None, u64::MAX), 30);
        assert_eq!(kept(None, Some(500), u64::MAX), 0);
        assert_eq!(kept(None, Some(499), u64::MAX), 10);
        assert_eq!(kept(None, Some(200), u64::MAX), 30);
        assert_eq!(kept(Some(30), Some(200), u64::MAX), 30, "whichever removes more");
        assert_eq!(kept(Some(15), Some(400), u64::MAX), 40);
    }

    #[test]
    fn what_is_needed_stays_and_the_newest_too() {
        assert_eq!(kept(Some(0), Some(0), u64::MAX), 40);
        assert_eq!(kept(Some(0), None, 0), 0);
        assert_eq!(kept(Some(0), None, 29), 20, "the block that holds the floor stays");
        assert_eq!(kept(Some(0), None, 30), 30);
        assert_eq!(kept(Some(i64::MAX), Some(u64::MAX), 50), 0);
        assert_eq!(trim_to(&blocks(), Retention { age_us: Some(i64::MAX), bytes: None }, i64::MIN, 50), 0);
        assert_eq!(trim_to(&[], Retention { age_us: Some(0), bytes: Some(0) }, 50, 50), 0);
    }
}
