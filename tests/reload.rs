//! Plugins replaced while events flow: nothing lost, nothing twice, each version's events in one run.

use std::collections::{BTreeSet, HashMap};
use std::io::{BufRead as _, BufReader};

use serde::Deserialize;

use crate::support::{HostDir, Sim, count_lines, plugin, wait_for, wait_until};

/// A file that differs from all others by a section that does nothing.
fn numbered(wasm: &[u8], number: u8) -> Vec<u8> {
    let mut wasm = wasm.to_vec();
    // A custom section: id 0, 3 bytes: a name of one byte, and the number.
    wasm.extend([0, 3, 1, b'n', number]);
    wasm
}

#[test]
fn twenty_replacements_at_full_speed_lose_and_repeat_nothing() {
    let mut sim = Sim::start(&["--rate", "max", "--streams", "ap-events,audit-trail-events"]);
    // Without a journal, which would hold what is sent ahead: gigabytes.
    let host = HostDir::new(
        &sim,
        &["ap-events", "audit-trail-events"],
        "[pipeline.main]\nfrom = [\"hq\"]\nto = [\"archive\"]\n\
         [sink.archive]\nkind = \"file\"\npath = \"events.jsonl\"\n",
    )
    .without_journal();
    let filtered = "com.hpe.greenlake.network-monitoring.v1alpha1.aps.stats.radio";
    host.plugin(
        "10-filter",
        "filter",
        &format!("[config]\ndrop = [{{ type = \"{filtered}\" }}]\n"),
    );
    let stamp = std::fs::read(plugin("misbehave-transform")).unwrap();
    let config = |n: u8| format!("[config]\nmode = \"stamp\"\nn = {n}\n");
    host.plugin_file("20-stamp", &numbered(&stamp, 0), &config(0));
    let mut host = host.run();
    for n in 1..=20 {
        wait_for(&format!("version {} to take effect", n - 1), || {
            last_stamp(&host.path("events.jsonl")).filter(|stamp| *stamp == n - 1)
        });
        host.dir.plugin_file("20-stamp", &numbered(&stamp, n), &config(n));
    }
    wait_for("version 20 to take effect", || {
        last_stamp(&host.path("events.jsonl")).filter(|stamp| *stamp == 20)
    });
    wait_until("200,000 events", || host.settled("main") >= 200_000);
    sim.end();
    let mut sent: HashMap<String, Vec<String>> = HashMap::new();
    let mut all = 0;
    each_line(&sim.ledger(), |line: Sent| {
        all += line.sent;
        if line.sent > 0 && line.ty != filtered {
            sent.entry(line.stream).or_default().push(line.id);
        }
    });
    wait_until("all that was sent", || host.settled("main") == all);
    let tally = host.stop();
    assert_eq!((tally.dead_lettered, tally.in_flight), (0, 0));

    let mut at_sink: HashMap<String, Vec<String>> = HashMap::new();
    let mut stamps = Vec::new();
    each_line(&host.path("events.jsonl"), |line: Stamped| {
        at_sink.entry(line.stream).or_default().push(line.id);
        if stamps.last() != Some(&line.data.stamp) {
            stamps.push(line.data.stamp);
        }
    });
    assert!(at_sink == sent, "the sink holds the ledger without what was filtered, in order");
    assert_eq!(stamps, (0..=20).collect::<Vec<_>>(), "each version's events are one unbroken run");
}

/// What counts of a line of the ledger: there are millions.
#[derive(Deserialize)]
struct Sent {
    stream: String,
    id: String,
    #[serde(rename = "type")]
    ty: String,
    sent: u64,
}

/// What counts of a line of the sink.
#[derive(Deserialize)]
struct Stamped {
    stream: String,
    id: String,
    data: Stamp,
}

#[derive(Deserialize)]
struct Stamp {
    stamp: u64,
}

/// Reads a file of JSON line by line.
fn each_line<T: serde::de::DeserializeOwned>(path: &std::path::Path, mut take: impl FnMut(T)) {
    for line in BufReader::new(std::fs::File::open(path).unwrap()).lines() {
        take(serde_json::from_str(&line.unwrap()).unwrap());
    }
}

/// The stamp of the last whole line of a file.
fn last_stamp(path: &std::path::Path) -> Option<u8> {
    use std::io::{Read as _, Seek as _, SeekFrom};
    let mut file = std::fs::File::open(path).ok()?;
    let end = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(end.saturating_sub(64 << 10))).ok()?;
    let mut tail = Vec::new();
    file.read_to_end(&mut tail).ok()?;
    let tail = String::from_utf8_lossy(&tail);
    let whole = &tail[..tail.rfind('\n')?];
    let event: serde_json::Value = serde_json::from_str(whole.rsplit('\n').next()?).ok()?;
    u8::try_from(event["data"]["stamp"].as_u64()?).ok()
}

#[test]
fn half_written_files_are_never_loaded() {
    use std::io::Write as _;
    let sim = Sim::start(&["--rate", "200", "--streams", "ap-events"]);
    let mut host = HostDir::new(
        &sim,
        &["ap-events"],
        "[pipeline.main]\nfrom = [\"hq\"]\nto = [\"archive\"]\n\
         [sink.archive]\nkind = \"file\"\npath = \"events.jsonl\"\n",
    )
    .run();
    wait_until("events", || count_lines(&host.path("events.jsonl")) > 10);
    let wasm = std::fs::read(plugin("filter")).unwrap();
    let path = host.path("plugins.d/10-filter.wasm");
    let (first, second) = wasm.split_at(wasm.len() / 2);
    for attempt in 0.. {
        assert!(attempt < 5, "it takes more than 2 s for 60 events");
        let before = host.running.log().len();
        let mut file = std::fs::File::create(&path).unwrap();
        file.write_all(first).unwrap();
        let begun = std::time::Instant::now();
        // Half of it lies there while events pass.
        let now = count_lines(&host.path("events.jsonl"));
        wait_until("events", || count_lines(&host.path("events.jsonl")) > now + 60);
        file.write_all(second).unwrap();
        drop(file);
        // After 3 s it is looked at, whoever has it open.
        if begun.elapsed().as_millis() < 2_000 {
            wait_until("the plugin", || host.running.log()[before..].contains("takes effect"));
            let log = host.running.log().split_off(before);
            assert!(!log.contains("ERROR"), "the half was looked at: {log}");
            break;
        }
        std::fs::remove_file(&path).unwrap();
        wait_until("it to be forgotten", || !host.metrics().contains("10-filter"));
    }
    host.stop();
}

#[test]
fn what_does_not_load_leaves_the_version_before_serving() {
    let sim = Sim::start(&["--rate", "500", "--streams", "ap-events"]);
    let host = HostDir::new(
        &sim,
        &["ap-events"],
        "[pipeline.main]\nfrom = [\"hq\"]\nto = [\"archive\"]\n\
         [sink.archive]\nkind = \"file\"\npath = \"events.jsonl\"\n",
    );
    let stamp = |mode: &str| format!("[config]\nmode = \"{mode}\"\nn = 7\n");
    host.plugin("10-stamp", "misbehave-transform", &stamp("stamp"));
    let mut host = host.run();
    wait_until("events", || count_lines(&host.path("events.jsonl")) > 10);
    let good = std::fs::read(plugin("misbehave-transform")).unwrap();
    for (wasm, toml, says) in [
        (&b"no wasm"[..], stamp("stamp"), "is not WebAssembly"),
        (&good[..], stamp("configure-trap"), "told to trap in configure"),
        (&good[..], stamp("configure-error"), "told to refuse its configuration"),
        (&good[..], "[config]\nmod = 1\n".to_owned(), "unknown field `mod`"),
        (&good[..], "[limits]\nmemory = \"64 parsecs\"\n".to_owned(), "is not a size"),
        (
            // It is read with the file before it, too, if that comes to rest first.
            &std::fs::read(plugin("misbehave-describe")).unwrap()[..],
            stamp("stamp"),
            "describe failed",
        ),
    ] {
        host.dir.plugin_file("10-stamp", wasm, &toml);
        wait_until(&format!("{says:?} to be told"), || {
            let rows = host.get("/api/v1/plugins");
            let rows: serde_json::Value = serde_json::from_str(&rows).unwrap();
            rows[0]["state"] == "failed" && rows[0]["error"].as_str().unwrap().contains(says)
        });
        host.wait_for_log(says);
    }
    let now = count_lines(&host.path("events.jsonl"));
    wait_until("more events", || count_lines(&host.path("events.jsonl")) > now + 200);
    host.dir.plugin("10-stamp", "misbehave-transform", "[config]\nmode = \"stamp\"\nn = 8\n");
    wait_for("the repaired version", || {
        last_stamp(&host.path("events.jsonl")).filter(|stamp| *stamp == 8)
    });
    host.stop();
    let stamps: BTreeSet<_> =
        host.lines("events.jsonl").iter().map(|e| e["data"]["stamp"].as_u64()).collect();
    assert_eq!(
        stamps,
        BTreeSet::from([Some(7), Some(8)]),
        "every event passed a version that served"
    );
}

#[test]
fn without_through_plugins_join_and_leave() {
    let mut sim = Sim::start(&["--rate", "500", "--streams", "ap-events"]);
    let mut host = HostDir::new(
        &sim,
        &["ap-events"],
        "[pipeline.main]\nfrom = [\"hq\"]\nto = [\"archive\"]\n\
         [sink.archive]\nkind = \"file\"\npath = \"events.jsonl\"\n",
    )
    .run();
    let stamp_is = |host: &crate::support::Host, wanted: Option<u8>| {
        let path = host.path("events.jsonl");
        count_lines(&path) > 10 && last_stamp(&path) == wanted
    };
    wait_until("events as they came", || stamp_is(&host, None));
    host.dir.plugin("10-stamp", "misbehave-transform", "[config]\nmode = \"stamp\"\nn = 1\n");
    wait_until("stamped events", || stamp_is(&host, Some(1)));
    // The configuration alone changes.
    std::fs::write(host.path("plugins.d/10-stamp.toml"), "[config]\nmode = \"stamp\"\nn = 2\n")
        .unwrap();
    wait_until("events stamped anew", || stamp_is(&host, Some(2)));
    std::fs::remove_file(host.path("plugins.d/10-stamp.wasm")).unwrap();
    wait_until("events as they came, again", || stamp_is(&host, None));
    let sent: u64 = sim.stop().iter().map(|line| line.sent).sum();
    wait_until("all that was sent", || host.settled("main") >= sent);
    let tally = host.stop();
    assert_eq!(tally.received, tally.delivered);
}
