//! Delivery written slowly, from its definition: all events in one list, looked through each time, and
//! the breaker told anew from everything that ever happened.

use stillhouse_delivery::{BreakerState, Dead, Next, Outcome, Policy};

#[derive(Clone, Debug, PartialEq)]
enum Is {
    /// Not under way; not to be sent before this time.
    Waiting(i64),
    /// Sent; the answer must be there by this time.
    Sent(i64),
    Settled,
}

struct Event {
    key: String,
    attempts: u32,
    is: Is,
}

enum Fact {
    Sent(u64),
    Answered(u64),
    Failed(u64, i64),
}

pub struct Model {
    policy: Policy,
    seed: u64,
    events: Vec<Event>,
    facts: Vec<Fact>,
}

impl Model {
    pub fn new(policy: Policy, seed: u64) -> Self {
        Self { policy, seed, events: Vec::new(), facts: Vec::new() }
    }

    fn unsettled(&self) -> impl Iterator<Item = (u64, &Event)> {
        let events = self.events.iter().enumerate().map(|(position, event)| (position as u64, event));
        events.filter(|(_, event)| event.is != Is::Settled)
    }

    pub fn wants(&self) -> usize {
        self.policy.window_max - self.unsettled().count()
    }

    pub fn is_settled(&self, position: u64) -> bool {
        self.events.get(position as usize).is_some_and(|event| event.is == Is::Settled)
    }

    pub fn offer(&mut self, key: &str) -> bool {
        let takes = self.wants() > 0;
        if takes {
            self.events.push(Event { key: key.into(), attempts: 0, is: Is::Waiting(i64::MIN) });
        }
        takes
    }

    /// Its state, and until when it is open.
    pub fn breaker(&self) -> (BreakerState, i64) {
        let (mut state, mut in_a_row, mut until, mut probe) = (BreakerState::Closed, 0, 0, None);
        for fact in &self.facts {
            match (state, fact) {
                (BreakerState::Closed, Fact::Answered(_)) => in_a_row = 0,
                (BreakerState::Closed, Fact::Failed(_, now)) => {
                    in_a_row += 1;
                    if in_a_row == self.policy.breaker_failures {
                        (state, until) = (BreakerState::Open, now + self.policy.breaker_open_us);
                    }
                }
                (BreakerState::Open, Fact::Sent(position)) => {
                    (state, probe) = (BreakerState::HalfOpen, Some(*position));
                }
                (BreakerState::HalfOpen, Fact::Answered(position)) if probe == Some(*position) => {
                    (state, in_a_row) = (BreakerState::Closed, 0);
                }
                (BreakerState::HalfOpen, Fact::Failed(position, now)) if probe == Some(*position) => {
                    (state, until) = (BreakerState::Open, now + self.policy.breaker_open_us);
                }
                _ => {}
            }
        }
        (state, until)
    }

    fn sendable(&self, now: i64) -> Vec<u64> {
        let first_of_key =
            |position: u64, key: &str| self.unsettled().all(|(at, other)| other.key != key || at >= position);
        let due = |event: &Event| matches!(event.is, Is::Waiting(from) if from <= now);
        self.unsettled().filter(|(at, event)| due(event) && first_of_key(*at, &event.key)).map(|(at, _)| at).collect()
    }

    pub fn next(&mut self, now: i64) -> Next {
        loop {
            let overdue = self.unsettled().filter_map(|(at, event)| match event.is {
                Is::Sent(deadline) if deadline <= now => Some((deadline, at)),
                _ => None,
            });
            let Some((_, position)) = overdue.min() else { break };
            if let Some(dead) = self.failed(position, self.no_answer(), 0, now) {
                return Next::Dead(dead);
            }
        }
        let under_way = self.unsettled().filter(|(_, event)| matches!(event.is, Is::Sent(_))).count();
        let (breaker, until) = self.breaker();
        let sendable = self.sendable(now);
        let chosen = match breaker {
            _ if under_way >= self.policy.in_flight_max => None,
            BreakerState::Closed => sendable.first().copied(),
            BreakerState::Open if until <= now => {
                sendable.into_iter().min_by_key(|at| (self.events[*at as usize].attempts, *at))
            }
            _ => None,
        };
        if let Some(position) = chosen {
            self.facts.push(Fact::Sent(position));
            let event = &mut self.events[position as usize];
            event.attempts += 1;
            event.is = Is::Sent(now + self.policy.timeout_us);
            return Next::Send { position, attempt: event.attempts };
        }
        let mut times: Vec<i64> = self
            .unsettled()
            .filter_map(|(_, event)| match event.is {
                Is::Waiting(from) if from > now => Some(from),
                Is::Sent(deadline) => Some(deadline),
                _ => None,
            })
            .collect();
        if breaker == BreakerState::Open && until > now && self.unsettled().count() > 0 {
            times.push(until);
        }
        times.into_iter().min().map_or(Next::Idle, Next::WaitUntil)
    }

    fn no_answer(&self) -> String {
        format!("no answer within {} ms", self.policy.timeout_us / 1000)
    }

    fn failed(&mut self, position: u64, reason: String, after: i64, now: i64) -> Option<Dead> {
        self.facts.push(Fact::Failed(position, now));
        let event = &mut self.events[position as usize];
        if Some(event.attempts) == self.policy.attempts_max {
            event.is = Is::Settled;
            return Some(Dead { position, attempts: event.attempts, reason });
        }
        let own = self.policy.backoff_us(self.seed, position, event.attempts);
        event.is = Is::Waiting(now + own.max(after.min(self.policy.retry_max_us)));
        None
    }

    pub fn done(&mut self, position: u64, attempt: u32, outcome: Outcome, now: i64) -> Option<Dead> {
        let event = self.events.get_mut(position as usize)?;
        if event.is == Is::Settled || attempt == 0 || attempt > event.attempts {
            return None;
        }
        if outcome == Outcome::Accepted {
            event.is = Is::Settled;
            self.facts.push(Fact::Answered(position));
            return None;
        }
        if !matches!(event.is, Is::Sent(_)) || attempt < event.attempts {
            return None;
        }
        match outcome {
            Outcome::Accepted => None,
            Outcome::Refused(reason) => {
                event.is = Is::Settled;
                let attempts = event.attempts;
                self.facts.push(Fact::Answered(position));
                Some(Dead { position, attempts, reason })
            }
            Outcome::Failed(reason) => self.failed(position, reason, 0, now),
            Outcome::Later { reason, after_us } => self.failed(position, reason, after_us, now),
            Outcome::TimedOut => self.failed(position, self.no_answer(), 0, now),
        }
    }
}
