//! The courier between an outbox and a sink.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use stillhouse_delivery::courier::{Courier, CourierConfig, CourierError, End};
use stillhouse_delivery::metrics::{SinkMetrics, text};
use stillhouse_delivery::sender::http::{HttpConfig, HttpSender};
use stillhouse_delivery::sender::{Ended, Event, Load, Sender, Sent};
use stillhouse_delivery::{BreakerState, Cursor, Outcome, Policy};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::fake_outbox::{FakeOutbox, event, events};
use crate::fake_sink::{FakeSink, Way, answer, ok, until};

type Ways = dyn Fn(&Event, usize) -> Option<Outcome> + Send + Sync;

/// A sink that answers as told, by event and call; `None`: it does not answer.
#[derive(Clone)]
struct Told {
    ways: Arc<Ways>,
    calls: Arc<Mutex<Vec<u64>>>,
    load: Load,
}

impl Told {
    fn new(ways: impl Fn(&Event, usize) -> Option<Outcome> + Send + Sync + 'static) -> Self {
        Self { ways: Arc::new(ways), calls: Arc::default(), load: Load { batch_max: 1, calls_max: 8, timed: true } }
    }

    fn calls(&self) -> Vec<u64> {
        self.calls.lock().expect("no panic").clone()
    }
}

impl Sender for Told {
    fn load(&self) -> Load {
        self.load
    }

    async fn send(&self, batch: Vec<Arc<Event>>) -> Result<Sent, Ended> {
        let mut outcomes = Vec::new();
        for event in batch {
            let call = {
                let mut calls = self.calls.lock().expect("no panic");
                calls.push(event.position);
                calls.iter().filter(|position| **position == event.position).count()
            };
            match (self.ways)(&event, call) {
                Some(outcome) => outcomes.push(outcome),
                None => std::future::pending().await,
            }
        }
        Ok(Sent { outcomes, mark: None })
    }
}

/// A courier at work.
struct Work {
    metrics: Arc<SinkMetrics>,
    stop: oneshot::Sender<()>,
    run: JoinHandle<Result<End, CourierError>>,
}

impl Work {
    fn new(config: CourierConfig, sender: impl Sender, outbox: &FakeOutbox) -> Self {
        let metrics = SinkMetrics::new("told");
        let (stop, stopped) = oneshot::channel::<()>();
        let courier = Courier::new(config, sender, outbox.clone(), outbox.clone(), metrics.clone());
        Self { metrics, stop, run: tokio::spawn(courier.run(async { drop(stopped.await) })) }
    }

    async fn ended(self) -> Result<End, CourierError> {
        self.run.await.expect("no panic")
    }

    async fn stopped(self) -> Result<End, CourierError> {
        self.stop.send(()).ok();
        self.run.await.expect("no panic")
    }
}

/// With a policy for real sinks on this machine.
fn quick(policy: Policy) -> CourierConfig {
    let policy = Policy { first_retry_us: 1000, retry_max_us: 20_000, timeout_us: 200_000, ..policy };
    CourierConfig { policy, ..CourierConfig::default() }
}

#[tokio::test]
async fn a_sink_that_behaves_badly_gets_all_in_order() {
    let requests = Arc::new(AtomicUsize::new(0));
    let sink = FakeSink::new(move |_| match requests.fetch_add(1, Ordering::Relaxed) % 11 {
        1 => answer("500 No", "", ""),
        3 => Way::Last(Vec::new()),
        4 => answer("429 Slow", "retry-after: 3600\r\n", ""),
        6 => Way::Hang,
        // Twice at once: the second answer belongs to no request.
        8 => Way::Last(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".repeat(2)),
        9 => Way::Last(b"HTTP/1.1 503 No\r\ncontent-length: 9999\r\n\r\nhalf".to_vec()),
        _ => ok(),
    })
    .await;
    let keys: Vec<_> = (0..120).map(|position| ["a", "b", "c", "d", "e"][position * 7 % 5]).collect();
    let outbox = FakeOutbox::new(events(&keys));
    let sender = HttpSender::new(&HttpConfig::new(&sink.url())).expect("a sender");
    let config = quick(Policy { breaker_failures: 4, breaker_open_us: 20_000, ..Policy::default() });
    let work = Work::new(config, sender, &outbox);
    until(|| outbox.is_settled()).await;
    let reading = work.metrics.reading().expect("it began");
    assert_eq!((reading.status.delivered, reading.status.dead), (120, 0));
    assert!(reading.status.failures > 20 && reading.status.retries > 20, "{reading:?}");
    assert_eq!(work.stopped().await, Ok(End::Stopped));
    // What the sink saw first of each id is in order, for each key.
    let mut seen: Vec<usize> = Vec::new();
    for request in sink.requests() {
        let id = request.header("idempotency-key").and_then(|id| id[2..].parse().ok()).expect("an id");
        if !seen.contains(&id) {
            seen.push(id);
        }
    }
    assert_eq!(seen.len(), 120);
    for key in ["a", "b", "c", "d", "e"] {
        assert!(seen.iter().filter(|position| keys[**position] == key).is_sorted(), "{key}: {seen:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn silence_is_a_timeout_and_tried_again() {
    let outbox = FakeOutbox::new(events(&["a", "a"]));
    let told = Told::new(|event, call| (event.position == 1 || call == 3).then_some(Outcome::Accepted));
    let work = Work::new(CourierConfig::default(), told.clone(), &outbox);
    until(|| outbox.is_settled()).await;
    assert_eq!(told.calls(), [0, 0, 0, 1]);
    let status = work.metrics.reading().expect("it began").status;
    assert_eq!(status.last_error.as_deref(), Some("no answer within 30000 ms"));
    outbox.push("b");
    until(|| outbox.is_settled()).await;
    assert_eq!(work.stopped().await, Ok(End::Stopped));
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_is_kept_before_its_key_goes_on() {
    let outbox = FakeOutbox::new(events(&["a", "a", "b"]));
    let kept = outbox.clone();
    let told = Told::new(move |event, _| match event.position {
        0 => Some(Outcome::Refused("never".into())),
        1 => {
            assert_eq!(kept.kept().dead.len(), 1, "the dead letter is not kept yet");
            Some(Outcome::Accepted)
        }
        _ => Some(Outcome::Failed("broken".into())),
    });
    let config =
        CourierConfig { policy: Policy { attempts_max: Some(3), ..Policy::default() }, ..CourierConfig::default() };
    let work = Work::new(config, told, &outbox);
    until(|| outbox.is_settled()).await;
    let dead = outbox.kept().dead;
    let told: Vec<_> = dead.iter().map(|dead| (dead.event.position, dead.attempts, &*dead.reason)).collect();
    assert_eq!(told, [(0, 1, "never"), (2, 3, "broken")]);
    assert_eq!(dead[1].event.bytes, event(2, "b").bytes);
    assert_eq!(work.stopped().await, Ok(End::Stopped));
}

/// The last attempt got no answer: that too makes a dead letter.
#[tokio::test(start_paused = true)]
async fn silence_to_the_end_is_a_dead_letter() {
    let outbox = FakeOutbox::new(events(&["a", "b"]));
    let told = Told { load: Load { batch_max: 1, calls_max: 1, timed: true }, ..Told::new(|_, _| None) };
    let config =
        CourierConfig { policy: Policy { attempts_max: Some(2), ..Policy::default() }, ..CourierConfig::default() };
    let work = Work::new(config, told, &outbox);
    until(|| outbox.is_settled()).await;
    assert_eq!(outbox.kept().dead.len(), 2);
    assert_eq!(work.stopped().await, Ok(End::Stopped));
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_is_down_is_left_alone_and_seen_in_the_metrics() {
    let outbox = FakeOutbox::new(events(&["a", "b", "c", "d"]));
    let up = Arc::new(AtomicBool::new(false));
    let is_up = up.clone();
    let told = Told::new(move |_, _| match is_up.load(Ordering::Relaxed) {
        true => Some(Outcome::Accepted),
        false => Some(Outcome::Failed("down".into())),
    });
    let policy = Policy { breaker_failures: 4, breaker_open_us: 60_000_000, ..Policy::default() };
    let work = Work::new(CourierConfig { policy, ..CourierConfig::default() }, told.clone(), &outbox);
    tokio::time::sleep(Duration::from_secs(3630)).await;
    let calls = told.calls().len();
    assert!((20..=4 + 60).contains(&calls), "four, and not more than a probe a minute: {calls}");
    let reading = work.metrics.reading().expect("it began");
    assert_eq!((reading.status.breaker, reading.status.waiting), (BreakerState::Open, 4));
    let page = text(std::slice::from_ref(&work.metrics), outbox.end(), 5_000_000);
    assert!(page.contains("stillhouse_sink_breaker_state{sink=\"told\"} 2\n"), "{page}");
    up.store(true, Ordering::Relaxed);
    until(|| outbox.is_settled()).await;
    assert_eq!(work.stopped().await, Ok(End::Stopped));
}

#[tokio::test(start_paused = true)]
async fn a_restart_sends_again_only_what_was_not_settled() {
    let outbox = FakeOutbox::new(events(&["a", "b", "b", "c"]));
    let first = Told::new(|event, _| (event.key != "b").then_some(Outcome::Accepted));
    let config = CourierConfig { drain_timeout: Duration::from_secs(5), ..CourierConfig::default() };
    let work = Work::new(config, first.clone(), &outbox);
    until(|| outbox.kept().cursor.is_settled(3)).await;
    let before = tokio::time::Instant::now();
    assert_eq!(work.stopped().await, Ok(End::Stopped));
    assert_eq!(before.elapsed().as_secs(), 5, "what is under way is waited for, up to the bound");
    let mut calls = first.calls();
    calls.sort_unstable();
    assert_eq!(calls, [0, 1, 3]);
    let second = Told::new(|_, _| Some(Outcome::Accepted));
    let config = CourierConfig { cursor: outbox.kept().cursor, ..CourierConfig::default() };
    let work = Work::new(config, second.clone(), &outbox);
    until(|| outbox.is_settled()).await;
    assert_eq!(second.calls(), [1, 2]);
    assert_eq!(work.stopped().await, Ok(End::Stopped));
}

#[tokio::test(start_paused = true)]
async fn what_is_answered_while_it_stops_counts() {
    let outbox = FakeOutbox::new(events(&["a"]));
    struct Slow;
    impl Sender for Slow {
        fn load(&self) -> Load {
            Load { batch_max: 1, calls_max: 1, timed: true }
        }
        async fn send(&self, _: Vec<Arc<Event>>) -> Result<Sent, Ended> {
            tokio::time::sleep(Duration::from_secs(3)).await;
            Ok(Sent { outcomes: vec![Outcome::Accepted], mark: None })
        }
    }
    let work = Work::new(CourierConfig::default(), Slow, &outbox);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(work.stopped().await, Ok(End::Stopped));
    assert!(outbox.is_settled());
}

#[tokio::test(start_paused = true)]
async fn what_is_held_has_a_bound_in_bytes() {
    let outbox = FakeOutbox::new(events(&["a"; 50]));
    let config = CourierConfig { held_bytes_max: 60, ..CourierConfig::default() };
    let open = Arc::new(AtomicBool::new(false));
    let is_open = open.clone();
    let told = Told::new(move |_, _| is_open.load(Ordering::Relaxed).then_some(Outcome::Accepted));
    let work = Work::new(config, told, &outbox);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(work.metrics.reading().expect("it began").status.waiting, 3, "26 bytes each: the third is the last");
    open.store(true, Ordering::Relaxed);
    until(|| outbox.is_settled()).await;
    // What is settled is held no more.
    open.store(false, Ordering::Relaxed);
    (0..10).for_each(|_| outbox.push("a"));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(work.metrics.reading().expect("it began").status.waiting, 3);
    open.store(true, Ordering::Relaxed);
    until(|| outbox.is_settled()).await;
    assert_eq!(work.stopped().await, Ok(End::Stopped));
}

#[tokio::test(start_paused = true)]
async fn batches_hold_one_event_of_a_key() {
    let outbox = FakeOutbox::new(events(&["a", "b", "a", "c", "b", "d"]));
    let sizes = Arc::new(Mutex::new(Vec::new()));
    struct Batches(Arc<Mutex<Vec<Vec<u64>>>>);
    impl Sender for Batches {
        fn load(&self) -> Load {
            Load { batch_max: 100, calls_max: 1, timed: true }
        }
        async fn send(&self, batch: Vec<Arc<Event>>) -> Result<Sent, Ended> {
            self.0.lock().expect("no panic").push(batch.iter().map(|event| event.position).collect());
            Ok(Sent { outcomes: vec![Outcome::Accepted; batch.len()], mark: None })
        }
    }
    // The policy would allow less than a batch.
    let policy = Policy { in_flight_max: 1, ..Policy::default() };
    let work = Work::new(CourierConfig { policy, ..CourierConfig::default() }, Batches(sizes.clone()), &outbox);
    until(|| outbox.is_settled()).await;
    assert_eq!(*sizes.lock().expect("no panic"), [vec![0, 1, 3, 5], vec![2, 4]]);
    assert_eq!(work.stopped().await, Ok(End::Stopped));
}

#[tokio::test(start_paused = true)]
async fn what_no_attempt_mends_ends_it_in_words() {
    let accepts = || Told::new(|_, _| Some(Outcome::Accepted));
    let gap = FakeOutbox::new(vec![event(0, "a"), event(5, "a")]);
    let error = Work::new(CourierConfig::default(), accepts(), &gap).ended().await.expect_err("a gap");
    assert_eq!(error, CourierError::Gap { sink: "told".into(), expected: 1, came: 5 });
    let mut full = FakeOutbox::new(events(&["a"]));
    full.full = true;
    let error = Work::new(CourierConfig::default(), accepts(), &full).ended().await.expect_err("full");
    assert_eq!(error.to_string(), "sink told: what was delivered cannot be noted: the disk is full");
    assert_eq!(full.kept().cursor, Cursor::default());
}
