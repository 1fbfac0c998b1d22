//! A circuit breaker: whether a sink is spoken to at all.
//!
//! closed → (so many failures in a row) → open → (after some time, with one probe) → half-open →
//! closed, or open again. A sink that refuses an event has answered, and is no failure.

/// Whether a sink is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// Everything is sent.
    Closed,
    /// Nothing is sent.
    Open,
    /// One event is under way as a probe.
    HalfOpen,
}

/// How much may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Allows {
    All,
    Probe,
    Nothing,
}

#[derive(Clone, Debug)]
pub(crate) struct Breaker {
    failures_max: u32,
    open_us: i64,
    state: State,
}

#[derive(Clone, Debug)]
enum State {
    Closed { failures: u32 },
    Open { until_us: i64 },
    HalfOpen { probe: u64 },
}

impl Breaker {
    pub fn new(failures_max: u32, open_us: i64) -> Self {
        Self { failures_max, open_us, state: State::Closed { failures: 0 } }
    }

    pub fn state(&self) -> BreakerState {
        match self.state {
            State::Closed { .. } => BreakerState::Closed,
            State::Open { .. } => BreakerState::Open,
            State::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    pub fn allows(&self, now_us: i64) -> Allows {
        match self.state {
            State::Closed { .. } => Allows::All,
            State::Open { until_us } if until_us <= now_us => Allows::Probe,
            State::Open { .. } | State::HalfOpen { .. } => Allows::Nothing,
        }
    }

    /// When a probe may be sent, while it is open.
    pub fn open_until_us(&self) -> Option<i64> {
        match self.state {
            State::Open { until_us } => Some(until_us),
            State::Closed { .. } | State::HalfOpen { .. } => None,
        }
    }

    pub fn sent(&mut self, position: u64) {
        if let State::Open { .. } = self.state {
            self.state = State::HalfOpen { probe: position };
        }
    }

    /// The sink took or refused what is at `position`.
    pub fn answered(&mut self, position: u64) {
        match &mut self.state {
            State::Closed { failures } => *failures = 0,
            State::HalfOpen { probe } if *probe == position => self.state = State::Closed { failures: 0 },
            // What was sent before it opened says nothing of the sink as it is now.
            State::Open { .. } | State::HalfOpen { .. } => {}
        }
    }

    /// The sink failed, or did not answer.
    pub fn failed(&mut self, position: u64, now_us: i64) {
        match &mut self.state {
            State::Closed { failures } => {
                *failures = failures.saturating_add(1);
                if self.failures_max > 0 && *failures >= self.failures_max {
                    self.open(now_us);
                }
            }
            State::HalfOpen { probe } if *probe == position => self.open(now_us),
            State::Open { .. } | State::HalfOpen { .. } => {}
        }
    }

    fn open(&mut self, now_us: i64) {
        self.state = State::Open { until_us: now_us.saturating_add(self.open_us.max(1)) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_after_failures_in_a_row_and_closes_with_a_probe() {
        let mut breaker = Breaker::new(2, 100);
        breaker.failed(0, 0);
        breaker.answered(1);
        breaker.failed(2, 10);
        assert_eq!(breaker.allows(10), Allows::All, "not in a row");
        breaker.failed(3, 20);
        assert_eq!((breaker.state(), breaker.open_until_us()), (BreakerState::Open, Some(120)));
        assert_eq!((breaker.allows(119), breaker.allows(120)), (Allows::Nothing, Allows::Probe));
        // What was under way when it opened changes nothing.
        breaker.failed(4, 110);
        breaker.answered(5);
        assert_eq!(breaker.open_until_us(), Some(120));
        breaker.sent(6);
        breaker.answered(7);
        breaker.failed(8, 130);
        assert_eq!((breaker.state(), breaker.allows(500)), (BreakerState::HalfOpen, Allows::Nothing));
        breaker.failed(6, 130);
        assert_eq!(breaker.open_until_us(), Some(230));
        breaker.sent(6);
        breaker.answered(6);
        assert_eq!((breaker.state(), breaker.allows(230)), (BreakerState::Closed, Allows::All));
    }

    #[test]
    fn with_no_bound_it_stays_closed() {
        let mut breaker = Breaker::new(0, 100);
        (0..1000).for_each(|position| breaker.failed(position, 0));
        assert_eq!(breaker.state(), BreakerState::Closed);
    }
}
