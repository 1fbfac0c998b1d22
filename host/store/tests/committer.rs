//! Group commit: order, delay, back-pressure, failure and recovery.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use stillhouse_store::fault::FaultDisk;
use stillhouse_store::{Batch, BatchError, CommitError, CommitOptions, Committer, Health, Map, Sequence, Store};

const DEADLINE: Duration = Duration::from_secs(60);
const LONG: Duration = Duration::from_secs(600);

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < DEADLINE, "waited for: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn batch(position: u64, length: usize) -> Batch {
    let mut batch = Batch::default();
    batch.append(Sequence::Log, position, 0, &vec![position as u8; length]);
    batch
}

fn started(disk: &FaultDisk, options: CommitOptions) -> (Arc<Store>, Committer) {
    let store = Arc::new(Store::open_on(disk.clone()).unwrap());
    let committer = Committer::start(store.clone(), options, |_| {}).unwrap();
    (store, committer)
}

fn quick() -> CommitOptions {
    let pause = Duration::from_millis(1);
    CommitOptions { delay_max: pause, retry_first: pause, retry_max: 4 * pause, ..CommitOptions::default() }
}

#[test]
fn batches_are_committed_together_and_in_order() {
    let store = Arc::new(Store::open_on(FaultDisk::new(1)).unwrap());
    let told = Arc::new(Mutex::new(Vec::new()));
    let options = CommitOptions { delay_max: LONG, ..quick() };
    let committer = Committer::start(store.clone(), options, {
        let (told, store) = (told.clone(), store.clone());
        move |ticket| told.lock().unwrap().push((ticket, store.next(Sequence::Log)))
    });
    let committer = committer.unwrap();
    for position in 0..100 {
        assert_eq!(committer.submit(batch(position, 10)), Ok(position + 1));
    }
    assert_eq!((committer.committed(), store.next(Sequence::Log)), (0, 0), "they wait for more");
    committer.flush().unwrap();
    assert_eq!((committer.committed(), store.next(Sequence::Log)), (100, 100));
    assert_eq!(committer.counts().commits, 1);
    let ticket = committer.submit(batch(100, 10)).unwrap();
    let mut value = Batch::default();
    value.put(Map::Meta, b"key", b"value".to_vec());
    committer.submit(value).unwrap();
    committer.stop().unwrap();
    committer.wait(ticket).unwrap();
    assert_eq!(committer.submit(Batch::default()), Err(CommitError::Stopped));
    assert_eq!(*told.lock().unwrap(), [(100, 100), (102, 101)]);
    assert_eq!(store.get(Map::Meta, b"key").unwrap().unwrap(), b"value");
    let counts = committer.counts();
    assert_eq!((counts.commits, counts.batches, counts.waiting_bytes, counts.failures), (2, 102, 0, 0));
}

#[test]
fn a_batch_waits_no_longer_than_it_may() {
    let (store, committer) =
        started(&FaultDisk::new(1), CommitOptions { delay_max: Duration::from_millis(30), ..quick() });
    let begun = Instant::now();
    let ticket = committer.submit(batch(0, 10)).unwrap();
    committer.wait(ticket).unwrap();
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(30) && took < DEADLINE, "{took:?}");
    assert_eq!(store.next(Sequence::Log), 1);
    assert_eq!(committer.health(), Health::Fine);

    let options = CommitOptions { delay_max: LONG, bytes_max: 1000, ..quick() };
    let (store, committer) = started(&FaultDisk::new(1), options);
    for position in 0..4 {
        committer.submit(batch(position, 300)).unwrap();
    }
    committer.wait(4).unwrap();
    assert_eq!((store.next(Sequence::Log), committer.counts().commits), (4, 1), "so many bytes do not wait");
}

#[test]
fn a_batch_that_does_not_follow_is_refused_and_harms_no_other() {
    let (store, committer) = started(&FaultDisk::new(1), quick());
    committer.submit(batch(0, 10)).unwrap();
    let refused = CommitError::Batch(BatchError::OutOfOrder { sequence: Sequence::Log, expected: 1, came: 0 });
    assert_eq!(committer.submit(batch(0, 10)), Err(refused));
    let mut broken = batch(1, 10);
    broken.append(Sequence::Log, 9, 0, b"");
    assert!(matches!(committer.submit(broken), Err(CommitError::Batch(_))));
    assert_eq!(committer.submit(batch(1, 10)), Ok(2));
    committer.flush().unwrap();
    assert_eq!(store.next(Sequence::Log), 2);
}

/// While nothing can be written, so much is held and no more; then it goes on by itself, and nothing is missing.
#[test]
fn while_the_disk_fails_those_who_submit_wait_and_nothing_is_lost() {
    for (kind, words) in [
        (io::ErrorKind::StorageFull, "no room to write the store (storage): "),
        (io::ErrorKind::ReadOnlyFilesystem, "mount its disk for writing"),
        (io::ErrorKind::Other, "look at that disk"),
    ] {
        let disk = FaultDisk::new(7);
        let (store, committer) = started(&disk, CommitOptions { queue_bytes_max: 20_000, ..quick() });
        committer.submit(batch(0, 10)).unwrap();
        committer.flush().unwrap();
        disk.fail(0..u64::MAX, kind);
        let submitted = AtomicU64::new(1);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for position in 1..200 {
                    committer.submit(batch(position, 996)).unwrap();
                    submitted.fetch_add(1, Ordering::Relaxed);
                }
            });
            until("back-pressure", || committer.counts().waits > 0);
            until("several attempts", || committer.counts().failures > 3);
            let counts = committer.counts();
            assert_eq!((counts.waiting_bytes, submitted.load(Ordering::Relaxed), counts.batches), (20_000, 21, 1));
            let Health::Failing { attempts, error, .. } = committer.health() else {
                panic!("{:?}", committer.health())
            };
            assert!(attempts > 3 && error.contains(words), "{error}");
            let health = committer.health().to_string();
            assert!(health.starts_with("failing for ") && health.ends_with("it goes on by itself"), "{health}");
            assert_eq!(
                store.read(Sequence::Log, 0).unwrap().map(Result::unwrap).count(),
                1,
                "it can be read meanwhile"
            );
            disk.fail(0..0, kind);
        });
        committer.flush().unwrap();
        assert_eq!(committer.health(), Health::Fine);
        assert!(committer.counts().waited_us > 0);
        let records: Vec<_> = store.read(Sequence::Log, 0).unwrap().map(|record| record.unwrap().bytes()[0]).collect();
        assert_eq!(records, (0..200).collect::<Vec<u8>>());
    }
}

/// Whichever operation fails, once or for a while, also where a commit was done and its success could not be told:
/// each record is there once, and a loss of power right afterwards takes nothing that was told to be committed.
#[test]
fn whichever_operation_fails_each_record_is_there_once() {
    let mut failures = 0;
    for from in 0..60 {
        for count in [1, 2, 7] {
            let disk = FaultDisk::new(from * 31 + count);
            let (store, committer) = started(&disk, quick());
            let operations = disk.operations();
            disk.fail(operations + from..operations + from + count, io::ErrorKind::Other);
            for position in 0..4 {
                let ticket = committer.submit(batch(position, 3000)).unwrap();
                until("a commit", || committer.committed() == ticket);
            }
            failures += committer.counts().failures;
            drop((committer, store));
            disk.reboot();
            let store = Store::open_on(disk).unwrap();
            let records: Vec<_> =
                store.read(Sequence::Log, 0).unwrap().map(|record| record.unwrap().bytes()[0]).collect();
            assert_eq!(records, [0, 1, 2, 3], "{count} operations fail from {from} on");
        }
    }
    assert!(failures > 100, "{failures} attempts failed");
}

#[test]
fn stopping_while_the_disk_fails_tells_what_is_not_committed() {
    let disk = FaultDisk::new(1);
    let (store, committer) = started(&disk, CommitOptions { retry_first: LONG, retry_max: LONG, ..quick() });
    disk.fail(0..u64::MAX, io::ErrorKind::StorageFull);
    let ticket = committer.submit(batch(0, 96)).unwrap();
    until("a failure", || committer.counts().failures > 0);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| committer.wait(ticket));
        let refused = committer.stop().unwrap_err();
        assert!(matches!(&refused, CommitError::Uncommitted { batches: 1, bytes: 100, .. }), "{refused}");
        assert!(refused.to_string().contains("no room to write"), "{refused}");
        assert_eq!(waiting.join().unwrap(), Err(CommitError::Stopped));
    });
    assert_eq!(store.next(Sequence::Log), 0);
}

#[test]
fn a_slow_commit_is_told() {
    let options = CommitOptions { slow_after: Duration::ZERO, ..quick() };
    let (_store, committer) = started(&FaultDisk::new(1), options);
    committer.submit(batch(0, 10)).unwrap();
    committer.flush().unwrap();
    assert!(committer.health().to_string().starts_with("slow: a commit takes "));
}

#[test]
fn a_panic_of_who_is_told_ends_the_committer_and_nobody_waits_for_ever() {
    let store = Arc::new(Store::open_on(FaultDisk::new(1)).unwrap());
    let committer = Committer::start(store.clone(), quick(), |_| panic!("planned")).unwrap();
    assert_eq!(committer.submit(batch(0, 10)), Ok(1));
    committer.wait(1).unwrap();
    until("the end", || committer.submit(Batch::default()) == Err(CommitError::Stopped));
    committer.wait(100).unwrap_err();
    assert_eq!(store.next(Sequence::Log), 1);
}
