//! How often a sink is tried, how long it is waited for, and how much is under way.

/// The bounds of one sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Events that are under way at the same time; 0 counts as 1.
    pub in_flight_max: usize,
    /// Events that are known here and not settled; 0 counts as 1. At the bound the sink takes no more:
    /// the outbox grows.
    pub window_max: usize,
    /// Attempts after which an event becomes a dead letter; `None`: it is tried for ever. 0 counts as 1.
    /// The count begins anew with each start of the program.
    pub attempts_max: Option<u32>,
    /// The wait before the second attempt, before jitter. It doubles with each attempt.
    pub first_retry_us: i64,
    /// The longest wait between two attempts, also where the sink asks for a longer one.
    pub retry_max_us: i64,
    /// How long an answer may take.
    pub timeout_us: i64,
    /// Failures in a row at which the breaker opens; 0: it never does.
    pub breaker_failures: u32,
    /// How long the breaker stays open before one event is sent as a probe.
    pub breaker_open_us: i64,
}

impl Default for Policy {
    /// 8 under way, 4,096 in the window, tried for ever after 1 s to 5 min, an answer within 30 s; ten
    /// failures in a row open the breaker for 30 s.
    fn default() -> Self {
        Self {
            in_flight_max: 8,
            window_max: 4096,
            attempts_max: None,
            first_retry_us: 1_000_000,
            retry_max_us: 300_000_000,
            timeout_us: 30_000_000,
            breaker_failures: 10,
            breaker_open_us: 30_000_000,
        }
    }
}

impl Policy {
    /// How long to wait after attempt number `attempt` (from 1) has failed: exponential, with equal
    /// jitter, so between half of the doubled wait and all of it, and at
    /// least 1 µs. The same for the same arguments.
    ///
    /// Source: Brooker, "Exponential Backoff and Jitter", AWS Architecture Blog, 2015.
    pub fn backoff_us(&self, seed: u64, position: u64, attempt: u32) -> i64 {
        let first = self.first_retry_us.max(1);
        let doubled = 1i64.checked_shl(attempt.saturating_sub(1)).filter(|factor| *factor > 0);
        let wait =
            doubled.and_then(|factor| first.checked_mul(factor)).unwrap_or(i64::MAX).min(self.retry_max_us.max(1));
        let half = wait / 2;
        let spread = (wait - half).unsigned_abs() + 1;
        (half + (mixed(mixed(seed ^ position) ^ u64::from(attempt)) % spread) as i64).max(1)
    }
}

/// The output function of SplitMix64 (Steele, Lea and Flood 2014): neighbours become strangers.
fn mixed(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_bound_and_are_spread_over_the_upper_half() {
        let policy = Policy { first_retry_us: 1000, retry_max_us: 60_000, ..Policy::default() };
        for (attempt, whole) in [(1, 1000), (2, 2000), (6, 32_000), (7, 60_000), (64, 60_000), (u32::MAX, 60_000)] {
            let waits: Vec<_> = (0..500).map(|position| policy.backoff_us(7, position, attempt)).collect();
            assert!(waits.iter().all(|wait| (whole / 2..=whole).contains(wait)), "attempt {attempt}: {waits:?}");
            let mean = waits.iter().sum::<i64>() / 500;
            assert!((whole * 70 / 100..whole * 80 / 100).contains(&mean), "attempt {attempt}: {mean} of {whole}");
        }
        assert_eq!(policy.backoff_us(7, 3, 2), policy.backoff_us(7, 3, 2));
        assert_ne!(policy.backoff_us(7, 3, 6), policy.backoff_us(8, 3, 6));
    }

    #[test]
    fn bounds_that_make_no_sense_do_no_harm() {
        for us in [i64::MIN, -1, 0, i64::MAX] {
            let policy = Policy { first_retry_us: us, retry_max_us: us, ..Policy::default() };
            assert!((1..=us.max(1)).contains(&policy.backoff_us(1, 1, 9)));
        }
    }
}
