//! An outbox and its commits, in memory.

use std::sync::{Arc, Mutex};

use stillhouse_delivery::Cursor;
use stillhouse_delivery::courier::{Commit, DeadLetter, Outbox, Settled};
use stillhouse_delivery::sender::{Event, Mark};
use tokio::sync::watch;

pub fn event(position: u64, key: &str) -> Event {
    let bytes = format!(r#"{{"id":"e-{position}","subject":"{key}"}}"#);
    Event { position, key: key.into(), id: format!("e-{position}"), bytes: bytes.into(), since_us: 0 }
}

/// Events of these keys.
pub fn events(keys: &[&str]) -> Vec<Event> {
    keys.iter().enumerate().map(|(position, key)| event(position as u64, key)).collect()
}

/// What survives a crash.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Kept {
    pub cursor: Cursor,
    pub mark: Option<Mark>,
    pub dead: Vec<DeadLetter>,
    pub commits: u64,
}

#[derive(Clone)]
pub struct FakeOutbox {
    events: Arc<watch::Sender<Vec<Event>>>,
    kept: Arc<Mutex<Kept>>,
    /// Refuses to commit.
    pub full: bool,
}

impl FakeOutbox {
    pub fn new(events: Vec<Event>) -> Self {
        Self { events: Arc::new(watch::Sender::new(events)), kept: Arc::default(), full: false }
    }

    pub fn push(&self, key: &str) {
        self.events.send_modify(|events| events.push(event(events.len() as u64, key)));
    }

    pub fn end(&self) -> u64 {
        self.events.borrow().len() as u64
    }

    pub fn kept(&self) -> Kept {
        self.kept.lock().expect("no panic").clone()
    }

    pub fn is_settled(&self) -> bool {
        self.kept().cursor == Cursor::at(self.end())
    }
}

impl Outbox for FakeOutbox {
    async fn wait_for(&self, position: u64) {
        let mut events = self.events.subscribe();
        events.wait_for(|events| events.last().is_some_and(|event| event.position >= position)).await.ok();
    }

    fn read(&self, from: u64, max: usize) -> Result<Vec<Event>, String> {
        let events = self.events.borrow();
        Ok(events.iter().filter(|event| event.position >= from).take(max).cloned().collect())
    }
}

impl Commit for FakeOutbox {
    async fn commit(&self, settled: Settled) -> Result<(), String> {
        if self.full {
            return Err("the disk is full".into());
        }
        // A crash can come first.
        for _ in 0..5 {
            tokio::task::yield_now().await;
        }
        let mut kept = self.kept.lock().expect("no panic");
        kept.cursor = settled.cursor;
        kept.mark = settled.mark;
        kept.dead.extend(settled.dead);
        kept.commits += 1;
        Ok(())
    }
}
