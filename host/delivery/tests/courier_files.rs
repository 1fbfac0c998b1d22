//! A file has each event once, whatever is killed when.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use stillhouse_delivery::courier::{Courier, CourierConfig, CourierError, End};
use stillhouse_delivery::metrics::SinkMetrics;
use stillhouse_delivery::sender::file::FileSender;

use crate::chance::Chance;
use crate::fake_outbox::{FakeOutbox, events};
use crate::fake_sink::until;

/// A life that goes on where the last one was committed.
fn courier(path: &Path, outbox: &FakeOutbox) -> Result<Courier<FileSender, FakeOutbox, FakeOutbox>, String> {
    let kept = outbox.kept();
    let sender = FileSender::open(path, kept.mark, 3)?;
    let config = CourierConfig { cursor: kept.cursor, ..CourierConfig::default() };
    Ok(Courier::new(config, sender, outbox.clone(), outbox.clone(), SinkMetrics::new("file")))
}

fn append(path: &Path, bytes: &[u8]) {
    use std::io::Write;
    std::fs::OpenOptions::new().append(true).open(path).expect("opened").write_all(bytes).expect("written");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_line_is_there_once_after_any_crash() {
    let mut crashes = 0;
    for seed in 0..25 {
        let mut chance = Chance::new(seed);
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("events.jsonl");
        let names: Vec<_> = (0..300).map(|_| chance.pick(&["a", "b", "c", "d"])).collect();
        let outbox = FakeOutbox::new(events(&names));
        while !outbox.is_settled() {
            // The dead one's last write may still hold the lock.
            let mut made = courier(&path, &outbox);
            while made.as_ref().is_err_and(|error| error.contains("another process")) {
                tokio::time::sleep(Duration::from_millis(1)).await;
                made = courier(&path, &outbox);
            }
            let run = tokio::spawn(made.unwrap_or_else(|error| panic!("{error}")).run(std::future::pending()));
            let lives = Duration::from_micros(chance.between(0, 4000) as u64);
            tokio::select! {
                () = tokio::time::sleep(lives) => {}
                () = until(|| outbox.is_settled()) => {}
            }
            run.abort();
            if let Ok(ended) = run.await {
                panic!("seed {seed}: it ends by itself: {ended:?}");
            }
            crashes += 1;
            if chance.percent(50) && outbox.kept().mark.is_some() {
                // A write that was torn. None is begun before it is committed where the file ends.
                append(&path, &b"{\"id\":\"torn"[..chance.between(1, 11) as usize]);
            }
        }
        drop(open_when_free(&path, &outbox).await);
        let text = std::fs::read_to_string(&path).expect("text");
        let mut newest: BTreeMap<&str, usize> = BTreeMap::new();
        assert_eq!(text.lines().count(), names.len(), "seed {seed}: {text}");
        for line in text.lines() {
            let position: usize = line[9..].split('"').next().and_then(|n| n.parse().ok()).expect("a number");
            let before = newest.insert(names[position], position);
            assert!(before < Some(position), "seed {seed}: {position} after {before:?}");
        }
    }
    assert!(crashes > 100, "there were only {crashes} crashes");
}

async fn open_when_free(path: &Path, outbox: &FakeOutbox) -> FileSender {
    loop {
        match FileSender::open(path, outbox.kept().mark, 3) {
            Ok(sender) => return sender,
            Err(error) if error.contains("another process") => tokio::time::sleep(Duration::from_millis(1)).await,
            Err(error) => panic!("{error}"),
        }
    }
}

/// Writes two events, does something to the file, and writes a third.
async fn meddled(meddle: impl FnOnce(&Path)) -> (CourierError, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("events.jsonl");
    let outbox = FakeOutbox::new(events(&["a", "b"]));
    let run = tokio::spawn(courier(&path, &outbox).expect("opened").run(std::future::pending()));
    until(|| outbox.is_settled()).await;
    meddle(&path);
    outbox.push("c");
    let error = run.await.expect("no panic").expect_err("it needs a person");
    // Nor does a start with the same mark make it worse.
    let before = std::fs::read(&path).ok();
    let again = courier(&path, &outbox).err().unwrap_or_default();
    assert!(again.is_empty() || std::fs::read(&path).ok() == before, "it is left as it is");
    (error, again)
}

#[tokio::test]
async fn a_file_that_somebody_else_changed_is_left_alone() {
    let shortened = |path: &Path| drop(std::fs::File::options().write(true).open(path).expect("opened").set_len(5));
    let moved = |path: &Path| std::fs::rename(path, path.with_extension("old")).expect("moved");
    let replaced = |path: &Path| {
        std::fs::remove_file(path).expect("removed");
        std::fs::write(path, "x".repeat(1000)).expect("written");
    };
    let (error, again) = meddled(shortened).await;
    assert!(error.to_string().contains("it has 5 bytes, and 54 were written: somebody shortened it"), "{error}");
    assert!(again.contains("it has 5 bytes"), "{again}");
    let (error, again) = meddled(moved).await;
    assert!(error.to_string().contains("events.jsonl: it was moved or removed"), "{error}");
    assert!(again.contains("moved or removed"), "{again}");
    let (error, again) = meddled(replaced).await;
    assert!(error.to_string().contains("events.jsonl: it was moved or removed"), "{error}");
    assert!(again.contains("its bytes before 54 are not those that were written"), "{again}");
    let (error, again) = meddled(|path| append(path, b"mine\n")).await;
    assert!(error.to_string().contains("it has 59 bytes, and 54 were written: somebody else writes"), "{error}");
    assert_eq!(again, "", "after a crash that is what is cut off");
}

#[tokio::test]
async fn what_is_there_before_the_first_start_stays() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("events.jsonl");
    std::fs::write(&path, "earlier\n").expect("written");
    let outbox = FakeOutbox::new(events(&["a"]));
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let run = tokio::spawn(courier(&path, &outbox).expect("opened").run(async { drop(stopped.await) }));
    until(|| outbox.is_settled()).await;
    let error = FileSender::open(&path, None, 1).err().expect("locked");
    assert!(error.contains("events.jsonl: another process writes it"), "{error}");
    stop.send(()).expect("it runs");
    assert_eq!(run.await.expect("no panic"), Ok(End::Stopped));
    assert_eq!(std::fs::read_to_string(&path).expect("text"), "earlier\n{\"id\":\"e-0\",\"subject\":\"a\"}\n");
    std::fs::write(&path, "no end").expect("written");
    let refused = |path: &Path| FileSender::open(path, None, 1).err().expect("refused");
    assert!(refused(&path).contains("its last line has no end"));
    assert!(refused(folder.path()).contains("no regular file"));
    assert!(refused(&folder.path().join("none/events.jsonl")).contains("none/events.jsonl: No such file"));
}

/// `/dev/full` is no regular file; a file size limit would end the process. So a file that cannot grow is
/// left to the tests of the whole program.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_device_is_refused() {
    let error = FileSender::open(Path::new("/dev/full"), None, 1).err().expect("refused");
    assert!(error.contains("/dev/full: is no regular file"), "{error}");
}
