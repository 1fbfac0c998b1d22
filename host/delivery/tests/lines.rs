//! Lines on a pipe.

use std::sync::Arc;

use stillhouse_delivery::Outcome;
use stillhouse_delivery::courier::{Courier, CourierConfig, End};
use stillhouse_delivery::metrics::SinkMetrics;
use stillhouse_delivery::sender::lines::LineSender;
use stillhouse_delivery::sender::{Event, Sender};
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::fake_outbox::{FakeOutbox, event, events};
use crate::fake_sink::PATIENCE;

fn courier(
    writer: tokio::io::DuplexStream,
    outbox: &FakeOutbox,
) -> Courier<LineSender<tokio::io::DuplexStream>, FakeOutbox, FakeOutbox> {
    let sender = LineSender::new(writer, 4);
    Courier::new(CourierConfig::default(), sender, outbox.clone(), outbox.clone(), SinkMetrics::new("stdout"))
}

#[tokio::test]
async fn a_reader_that_goes_away_ends_it_quietly() {
    let outbox = FakeOutbox::new(events(&["a"; 1000]));
    let (writer, reader) = tokio::io::duplex(100);
    let run = tokio::spawn(courier(writer, &outbox).run(std::future::pending()));
    let mut lines = BufReader::new(reader).lines();
    for position in 0..10 {
        let line = lines.next_line().await.expect("read").expect("a line");
        assert_eq!(line.as_bytes(), &event(position, "a").bytes[..]);
    }
    drop(lines);
    let end = tokio::time::timeout(PATIENCE, run).await.expect("it ends").expect("no panic");
    assert_eq!(end, Ok(End::Closed));
    let cursor = outbox.kept().cursor;
    assert!((10..1000).contains(&cursor.next()), "what was read is noted: {cursor:?}");
}

/// Nothing is doubled because somebody reads slowly.
#[tokio::test(start_paused = true)]
async fn a_slow_reader_is_waited_for() {
    let outbox = FakeOutbox::new(events(&["a", "b", "c"]));
    let (writer, reader) = tokio::io::duplex(10);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let run = tokio::spawn(courier(writer, &outbox).run(async { drop(stopped.await) }));
    tokio::time::sleep(std::time::Duration::from_secs(3600)).await;
    let mut lines = BufReader::new(reader).lines();
    for position in 0..3 {
        let line = lines.next_line().await.expect("read").expect("a line");
        assert_eq!(line.as_bytes(), &outbox_event(position).bytes[..]);
    }
    while !outbox.is_settled() {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    stop.send(()).expect("it runs");
    assert_eq!(run.await.expect("no panic"), Ok(End::Stopped));
    assert_eq!(lines.next_line().await.expect("read"), None);
}

fn outbox_event(position: u64) -> Event {
    event(position, ["a", "b", "c"][position as usize])
}

#[tokio::test]
async fn an_event_of_two_lines_is_refused() {
    let sender = LineSender::new(Vec::new(), 4);
    let two = Event { bytes: "{\n}".into(), ..event(0, "a") };
    let sent = sender.send(vec![Arc::new(two), Arc::new(event(1, "b"))]).await.expect("written");
    assert!(
        matches!(&sent.outcomes[..], [Outcome::Refused(reason), Outcome::Accepted] if reason.contains("line break"))
    );
}
