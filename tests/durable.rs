//! The whole program with a store: sinks, posts, dead letters, another configuration, and what can be asked of
//! the log afterwards.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::cli::PATIENCE;
use crate::place::Place;

pub const CONFIG: &str = "[order]\nidle_after = \"1h\"\n[[input]]\nformat = \"cloudevents\"\n\
    [signal.probe]\nmapper = \"status\"\nhold_down = \"5s\"\nhold_open = \"5s\"\n";

pub fn signal(id: usize, second: usize, key: &str, status: &str) -> String {
    let (minute, second) = (second / 60, second % 60);
    format!(
        r#"{{"specversion":"1.0","id":"{id}","source":"s","type":"probe","subject":"{key}","time":"2026-01-01T00:{minute:02}:{second:02}Z","data":{{"status":"{status}"}}}}"#
    ) + "\n"
}

/// Entities that fail for a while, one after the other.
pub fn episodes(count: usize) -> String {
    let mut lines = String::new();
    for at in 0..count {
        let key = format!("k{}", at % 5);
        lines += &signal(3 * at, 30 * at, &key, "up");
        lines += &signal(3 * at + 1, 30 * at + 1, &key, "down");
        lines += &signal(3 * at + 2, 30 * at + 15, &key, "up");
    }
    // Somebody else speaks later, so that the last hold passes.
    lines + &signal(3 * count, 30 * count + 60, "z", "up")
}

pub fn waits_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "{what}: not in time");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A server that keeps the bodies of posts, after it has failed the first `fails`.
fn sink(fails: usize) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let bodies: Arc<Mutex<Vec<String>>> = Arc::default();
    let kept = Arc::clone(&bodies);
    std::thread::spawn(move || {
        let mut left = fails;
        for stream in listener.incoming().flatten() {
            let Ok(body) = posted(&stream) else { continue };
            let status = if left > 0 { "500 Internal Server Error" } else { "202 Accepted" };
            if left == 0 {
                kept.lock().unwrap().push(body);
            }
            left = left.saturating_sub(1);
            let mut stream = stream;
            let _ = write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        }
    });
    (format!("http://{address}/"), bodies)
}

fn posted(stream: &TcpStream) -> std::io::Result<String> {
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        if line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().unwrap_or(0);
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(String::from_utf8_lossy(&body).into_owned())
}

#[test]
fn a_sink_gets_every_event_once_in_the_order_of_its_keys_over_failures() {
    let (url, bodies) = sink(7);
    let config = format!("{CONFIG}[sink.pager]\nurl = \"{url}\"\nfirst_retry = \"10ms\"\nbreaker_open = \"50ms\"\n");
    let place = Place::new(&format!("{config}[sink.archive]\nfile = \"archive.jsonl\"\n"));
    place.write("in", &episodes(40));
    place.ok("run -q -c x.toml -i in -o out --store s");
    let out = place.read("out");
    assert_eq!(out.lines().count(), 80);
    let archive: Vec<String> = place.read("archive.jsonl").lines().map(str::to_owned).collect();
    is_what_left(&archive, &out);
    let bodies = bodies.lock().unwrap().clone();
    is_what_left(&bodies, &out);
}

/// Each event once, and those of a key in their order.
fn is_what_left(bodies: &[String], out: &str) {
    let mut sorted: Vec<&str> = bodies.iter().map(String::as_str).collect();
    sorted.sort_unstable();
    let mut left: Vec<&str> = out.lines().collect();
    left.sort_unstable();
    assert_eq!(sorted, left, "each once");
    for key in 0..5 {
        let of = |lines: &mut dyn Iterator<Item = &str>| -> Vec<String> {
            lines.filter(|line| line.contains(&format!("\"subject\":\"k{key}\""))).map(str::to_owned).collect()
        };
        assert_eq!(of(&mut bodies.iter().map(String::as_str)), of(&mut out.lines()), "in order");
    }
}

#[test]
fn what_a_sink_refuses_is_a_dead_letter_that_can_be_sent_again() {
    let refusing = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = refusing.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in refusing.incoming().flatten() {
            let _ = posted(&stream);
            let _ = write!(stream, "HTTP/1.1 422 No\r\ncontent-length: 4\r\nconnection: close\r\n\r\nnope");
        }
    });
    let place = Place::new(&format!("{CONFIG}[sink.pager]\nurl = \"http://{address}/\"\n"));
    place.write("in", &(episodes(1) + "no signal\n"));
    place.ok("run -q -c x.toml -i in -o out --store s");
    let listed = place.ok("dlq list --store s");
    assert_eq!(listed.lines().count(), 4, "three events, and the bad line: {listed}");
    assert!(listed.contains("422") && listed.contains("nope"), "{listed}");
    let name = listed.lines().find(|line| line.starts_with("sink/")).unwrap().split(' ').next().unwrap().to_owned();
    let shown: Value = serde_json::from_str(&place.ok(&format!("dlq show --store s {name}"))).unwrap();
    assert!(shown["type"].as_str().unwrap().starts_with("stillhouse."), "{shown}");
    let (url, bodies) = sink(0);
    place.write("y.toml", &format!("{CONFIG}[sink.pager]\nurl = \"{url}\"\n"));
    place.ok("dlq retry --store s -c y.toml sink/pager");
    assert_eq!(bodies.lock().unwrap().len(), 3);
    // What could not be read is taken in once more, and is as bad as before.
    place.ok("dlq retry --store s -c y.toml source");
    place.ok("run -q -c x.toml -i in -o out --store s");
    let ledger: Value = serde_json::from_str(&place.ok("ledger --store s --json")).unwrap();
    assert_eq!((&ledger["received"], &ledger["dead_lettered"]), (&6.into(), &2.into()));
    place.ok("dlq drop --store s sink");
    assert_eq!(place.ok("dlq list --store s sink"), "");
    place.ok("replay -q --store s --verify");
}

#[test]
fn a_post_is_answered_when_it_is_committed() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let place = Place::new(&format!("{CONFIG}[intake]\nlisten = \"127.0.0.1:{port}\"\n"));
    place.write("in", "");
    let post = |body: &str| -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
        write!(
            stream,
            "POST /signals HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-ndjson\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
        .ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    };
    let body = episodes(3) + "{}\n";
    let mut host = place.start("run -q --follow -c x.toml -i in -o out --store s");
    let mut answer = None;
    waits_for("a post is answered", || {
        answer = post(&body);
        answer.is_some()
    });
    assert!(answer.as_deref().unwrap_or_default().contains(r#"{"accepted":11}"#), "{answer:?}");
    // It was answered, so it is there, whatever comes.
    host.kill().unwrap();
    host.wait().unwrap();
    let ledger: Value = serde_json::from_str(&place.ok("ledger --store s --json")).unwrap();
    assert_eq!(ledger["received"], 11);
    // Posted again, since the answer might have been lost, it is known.
    let mut host = place.start("run -q --follow -c x.toml -i in -o out --store s");
    waits_for("a post is answered again", || post(&body).is_some_and(|answer| answer.contains("200 OK")));
    host.kill().unwrap();
    host.wait().unwrap();
    let ledger: Value = serde_json::from_str(&place.ok("ledger --store s --json")).unwrap();
    assert_eq!((&ledger["received"], &ledger["merged_id"]), (&22.into(), &10.into()));
    // What has no id is called by its number, which goes on too.
    let letters = place.ok("dlq list --store s --json source");
    let id = |line: &str| serde_json::from_str::<Value>(line).unwrap()["event"]["data"]["id"].clone();
    assert_eq!(letters.lines().map(id).collect::<Vec<_>>(), ["11", "22"]);
    place.ok("replay -q --store s --verify");
}

#[test]
fn another_configuration_goes_on_with_the_state_and_all_of_it_can_be_replayed() {
    let place = Place::new(CONFIG);
    let all = episodes(40);
    let half = all.lines().take(60).map(|line| format!("{line}\n")).collect::<String>();
    place.write("in", &half);
    place.ok("run -q -c x.toml -i in -o out --store s");
    // Other holds, and a signal type that comes before the first by name.
    place.write(
        "y.toml",
        &(CONFIG.replace("hold_down = \"5s\"", "hold_down = \"9s\"") + "[signal.a]\nmapper = \"status\"\n"),
    );
    let more = signal(900, 3000, "y", "up").replace("\"probe\"", "\"a\"");
    place.write("in", &(all + &more));
    place.ok("run -q -c y.toml -i in -o out --store s");
    let out = place.read("out");
    assert_eq!(out.lines().count(), 80);
    let held = |line: &str| serde_json::from_str::<Value>(line).unwrap()["data"]["held_us"].as_i64().unwrap();
    let holds: Vec<i64> = out.lines().filter(|line| line.contains("\"to\":{\"state\":\"failing\"")).map(held).collect();
    assert_eq!(holds, [vec![5_000_000; 20], vec![9_000_000; 20]].concat());
    let verified = place.call("replay --store s --verify");
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
    assert_eq!(place.ok("replay -q --store s"), out, "also what it says in full");
    let scrubbed = place.ok("store scrub s");
    assert!(scrubbed.lines().count() >= 2 && !scrubbed.contains("ANOTHER"), "{scrubbed}");
    // A type whose state is there must stay.
    let gone = place.call("run -q -c z.toml -i in -o out --store s");
    assert_eq!(gone.status.code(), Some(2), "no such file");
    place.write("z.toml", &CONFIG.replace("probe", "other"));
    let gone = place.call("run -q -c z.toml -i in -o out --store s");
    let said = String::from_utf8_lossy(&gone.stderr).into_owned();
    assert!(!gone.status.success() && said.contains("there is no `[signal.\"probe\"]`"), "{said}");
}

#[test]
fn what_would_be_said_otherwise_and_why_something_was_said() {
    let place = Place::new(CONFIG);
    place.write("in", &(episodes(10) + &signal(99, 400, "k1", "down")));
    place.ok("run -q -c x.toml -i in -o out --store s");
    place.write("y.toml", &CONFIG.replace("hold_down = \"5s\"", "hold_down = \"20s\""));
    let diff = place.call("diff --store s -c y.toml --json");
    assert_eq!(diff.status.code(), Some(1), "something is other");
    let differences = String::from_utf8(diff.stdout).unwrap();
    assert_eq!(differences.lines().count(), 20, "no problem lasts 20 s, and so none ends");
    assert!(differences.lines().all(|line| line.contains("\"how\":\"no-longer\"")), "{differences}");
    place.write("same.toml", &format!("# the same\n{CONFIG}"));
    assert!(place.ok("diff --store s -c same.toml").contains("same"), "exit code 0");
    let shown = String::from_utf8(place.call("diff --store s -c y.toml --signals").stdout).unwrap();
    assert!(shown.contains("no longer") && shown.contains("\"subject\":\"k0\""), "{shown}");

    let first: Value = serde_json::from_str(place.read("out").lines().next().unwrap()).unwrap();
    let id = first["id"].as_str().unwrap();
    let why = place.ok(&format!("explain --store s {id}"));
    assert!(why.contains(first["data"]["provenance"]["mapper"]["digest"].as_str().unwrap()), "{why}");
    assert!(why.contains(&format!("an input of event {id}")), "{why}");
    let entity: Value = serde_json::from_str(&place.ok("explain --store s k1 --json")).unwrap();
    assert_eq!(entity["signals"].as_array().unwrap().len(), 7);
    assert_eq!(entity["events"].as_array().unwrap().len(), 4);
    let signal = place.ok("explain --store s --signal 1");
    assert!(signal.contains("an input of event"), "{signal}");
    let waiting = place.ok("explain --store s --signal 99");
    assert!(waiting.contains("did not last, waits"), "why there is none: {waiting}");
    assert_eq!(place.call("explain --store s nobody").status.code(), Some(1));
}

#[test]
fn nobody_has_to_read_to_the_end() {
    let place = Place::new(CONFIG);
    // More than a pipe holds.
    place.write("in", &(episodes(400) + &signal(9999, 12_400, "x", "nonsense")));
    place.ok("run -q -c x.toml -i in -o /dev/null --store s");
    place.write("y.toml", &CONFIG.replace("hold_down = \"5s\"", "hold_down = \"20s\""));
    let commands = [
        "diff --store s -c y.toml --json",
        "explain --store s k1 --json",
        "ledger --store s",
        "dlq list --store s",
        "store check s",
        "replay -q --store s",
    ];
    for command in commands {
        let mut started = place.command(command).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(started.stdout.take());
        let ended = started.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert!(ended.status.success() && said.is_empty(), "{command}: {said}");
    }
}

#[test]
fn a_store_that_cannot_be_used_is_refused_in_words() {
    let place = Place::new(CONFIG);
    place.write("in", &episodes(2));
    place.write("text", "this is no store\n");
    for (arguments, said) in [
        ("run -q -c x.toml -i in --store text", "text"),
        ("replay --store none", "none"),
        ("ledger --store text", "text"),
        ("store check text", "text"),
    ] {
        let refused = place.call(arguments);
        let told = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && told.contains(said) && !told.contains("panicked"), "{arguments}: {told}");
    }
    place.ok("run -q -c x.toml -i in -o out --store s");
    let mut bytes = std::fs::read(place.path("s")).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 4096].iter_mut().for_each(|byte| *byte ^= 0x55);
    std::fs::write(place.path("s"), bytes).unwrap();
    let checked = place.call("store check s");
    let told = [checked.stdout, checked.stderr].concat();
    let told = String::from_utf8_lossy(&told);
    assert!(checked.status.code() != Some(101), "{told}");
}
