//! The journal as people handle it: replayed through plugins, exported, imported, verified.

use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};

use serde_json::Value;

use crate::dlq::{Said, command};
use crate::support::{HostDir, Sim, count_lines, plugin, wait_until};

const COUNT: usize = 1_000;
const TO_FILE: &str = "[pipeline.main]\nfrom = [\"hq\"]\nto = [\"archive\"]\n\
    [sink.archive]\nkind = \"file\"\npath = \"events.jsonl\"\n";
const DROPS: &str = "[config]\nmode = \"drop\"\non_id_suffix = \"7\"\n";

/// A folder whose host has run and received these lines.
fn received() -> (HostDir, String) {
    let mut dir = HostDir::empty();
    let lines = dir.replay("ap-events", COUNT);
    dir.add(TO_FILE);
    let mut host = dir.run();
    assert_eq!(host.end().delivered, COUNT as u64);
    (host.dir, lines)
}

fn ids(lines: &str) -> Vec<String> {
    let id = |line: &str| {
        let event: Value = serde_json::from_str(line).expect(line);
        event["id"].as_str().unwrap().to_owned()
    };
    lines.lines().map(id).collect()
}

fn well(said: Said) -> String {
    assert_eq!(said.code, 0, "{said:?}");
    said.out
}

#[test]
fn what_was_received_is_replayed_through_plugins_of_today() {
    let (dir, lines) = received();
    assert!(well(command(&dir, &["replay"])) == lines, "as it was received");
    let before = fs::read(dir.path("events.jsonl")).unwrap();

    dir.plugin("10-some", "misbehave-filter", DROPS);
    let kept: Vec<String> = ids(&lines).into_iter().filter(|id| !id.ends_with('7')).collect();
    let out = well(command(&dir, &["replay", "--pipeline", "main"]));
    assert_eq!(ids(&out), kept);
    let file = plugin("misbehave-filter").to_str().unwrap().to_owned();
    let given = dir.path("given.toml");
    fs::write(&given, "[config]\nmode = \"fault\"\non_id_suffix = \"7\"\n").unwrap();
    let args = ["replay", "--plugin", &file, "--plugin-config", given.to_str().unwrap(), "--count"];
    let said = command(&dir, &args);
    let dead = COUNT - kept.len();
    let counts = format!(
        "replay read={COUNT} events={} filtered=0 dead_lettered={dead} alerts=0\n",
        kept.len()
    );
    assert_eq!(said.out, counts, "{said:?}");
    assert!(said.err.contains("would be a dead letter: misbehave-filter fault: told to"));
    let exports = plugin("misbehave-export").to_str().unwrap().to_owned();
    let said = command(&dir, &["replay", "--plugin", &exports]);
    assert!(said.code == 2 && said.err.contains("an export plugin"), "{said:?}");
    assert!(fs::read(dir.path("events.jsonl")).unwrap() == before, "no sink was written to");
    let said = command(&dir, &["replay", "--pipeline", "other"]);
    assert!(said.code == 2 && said.err.contains("known: main"), "{said:?}");
}

#[test]
fn a_part_is_replayed_by_record_by_time_by_id_and_by_type() {
    let (dir, lines) = received();
    let all = ids(&lines);
    let part = |args: &[&str]| ids(&well(command(&dir, &[&["replay"], args].concat())));
    assert_eq!(part(&["--from-seq", "11", "--to-seq", "20"]), all[10..20]);
    assert_eq!(part(&["--from-id", &all[400], "--to-id", &all[600]]), all[400..=600]);
    assert_eq!(part(&["--from", "1h", "--stream", "ap-events", "--source", "hq"]), all);
    for nothing in [["--to", "1h"], ["--stream", "x"], ["--from-seq", "1001"], ["--types", "x"]] {
        assert_eq!(part(&nothing), Vec::<String>::new(), "{nothing:?}");
    }
    let said = command(&dir, &["replay", "--from-id", "nobody"]);
    assert!(said.code == 1 && said.err.contains("\"nobody\" was found"), "{said:?}");
    let types: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let ty = types[0]["type"].as_str().unwrap();
    let of_type = types.iter().filter(|event| event["type"] == ty);
    let of_type: Vec<&str> = of_type.map(|event| event["id"].as_str().unwrap()).collect();
    assert_eq!(part(&["--types", ty]), of_type);
}

#[test]
fn alerts_are_raised_at_the_time_of_the_events() {
    let (dir, _) = received();
    let file = plugin("misbehave-alert").to_str().unwrap().to_owned();
    let given = dir.path("given.toml");
    fs::write(&given, "[config]\nmode = \"raise\"\n").unwrap();
    let args =
        ["replay", "--plugin", &file, "--plugin-config", given.to_str().unwrap(), "--alerts"];
    let out = well(command(&dir, &args));
    let first: Value = serde_json::from_str(out.lines().next().unwrap()).unwrap();
    assert_eq!(
        (&first["type"], &first["data"]["edge"]),
        (&"trommel.alert".into(), &"raise".into())
    );
    assert!(
        !dir.path("data/alerts.jsonl").exists()
            || fs::read(dir.path("data/alerts.jsonl")).unwrap().is_empty()
    );
}

#[test]
fn what_was_exported_is_imported_and_delivered() {
    let (dir, lines) = received();
    let file = dir.path("frames.jsonl");
    let said = command(&dir, &["journal", "export", file.to_str().unwrap()]);
    assert!(said.code == 0 && said.err.contains("1,000 frames exported"), "{said:?}");
    let said = command(&dir, &["journal", "export", file.to_str().unwrap()]);
    assert!(said.code == 3 && said.err.contains("File exists"), "nothing is overwritten: {said:?}");
    assert!(said.err.contains("hint: it writes new files only"), "{said:?}");

    // To where no host has run: its pipeline begins with them.
    let mut other = HostDir::empty();
    let empty = other.path("hq.frames");
    fs::write(&empty, "").unwrap();
    other.add(&format!(
        "[source.hq]\nkind = \"replay\"\npath = \"{}\"\nstream = \"ap-events\"\n",
        empty.display()
    ));
    other.add(TO_FILE);
    other.write_config();
    let said = command(&other, &["journal", "import", file.to_str().unwrap()]);
    // And nothing of a segment that was not made to its end.
    assert_eq!(said.err, "1,000 frames imported: records 1 to 1000\n");
    let again = well(command(&other, &["journal", "export"]));
    assert!(again == fs::read_to_string(&file).unwrap(), "all of it, with its times");
    let mut host = other.run();
    assert_eq!(host.end().delivered, COUNT as u64);
    assert!(fs::read_to_string(host.path("events.jsonl")).unwrap() == lines);
    let log = host.running.log();
    assert!(!log.contains("ERROR"), "nothing is amiss: {log}");
    assert_eq!(well(command(&host.dir, &["gaps"])), "no gaps\n", "no stream was ever connected");
}

#[test]
fn what_makes_no_sense_is_not_imported() {
    let mut dir = HostDir::empty();
    dir.replay("ap-events", 1);
    dir.add(TO_FILE);
    dir.write_config();
    let file = dir.path("frames.jsonl");
    let good =
        r#"{"time":"2026-11-21T00:00:00Z","source":"hq","stream":"s","kind":"text","frame":""}"#;
    for (bad, says) in
        [("{", "line 3: EOF"), ("{\"seq\":1}", "line 3: missing field"), ("\u{0}", "line 3")]
    {
        fs::write(&file, format!("{good}\n\n{bad}\n")).unwrap();
        let said = command(&dir, &["journal", "import", file.to_str().unwrap()]);
        assert!(said.code == 1 && said.err.contains(says), "{said:?}");
        assert!(!said.err.contains("line 1"), "{said:?}");
        assert!(said.err.contains("; import the rest from line 3 on"), "{said:?}");
    }
    fs::write(&file, format!("{good}\n{good}\n?\n")).unwrap();
    let said = command(&dir, &["journal", "import", file.to_str().unwrap()]);
    let hint = "\nhint: the 2 frames before it are in the journal, as records 4 to 5; import the rest \
                from line 3 on\n";
    assert!(said.err.ends_with(hint), "{said:?}");
    fs::write(&file, "?\n").unwrap();
    let said = command(&dir, &["journal", "import", file.to_str().unwrap()]);
    assert!(said.err.contains("hint: nothing of it is in the journal"), "{said:?}");
    assert_eq!(well(command(&dir, &["journal", "export"])).lines().count(), 5);
}

/// While a host writes, what it is just writing is no damage, and nothing of it is disturbed.
#[test]
fn what_a_running_host_writes_is_exported_and_verified_meanwhile() {
    let mut sim = Sim::without_ledger(&["--rate", "1000", "--streams", "ap-events"]);
    let mut host = HostDir::new(&sim, &["ap-events"], TO_FILE).run();
    let mut before = 0;
    for _ in 0..6 {
        wait_until("more events", || count_lines(&host.path("events.jsonl")) > before + 200);
        before = count_lines(&host.path("events.jsonl"));
        let said = command(&host.dir, &["journal", "verify", "--json"]);
        assert_eq!(said.code, 0, "{said:?}");
        let report: Value = serde_json::from_str(&said.out).unwrap();
        assert!(report["journal"]["records"].as_u64().unwrap() as usize >= before, "{report}");
        let frames = well(command(&host.dir, &["journal", "export"]));
        let seqs = frames.lines().map(|line| {
            let frame: Value = serde_json::from_str(line).expect(line);
            frame["seq"].as_u64().unwrap()
        });
        let seqs: Vec<u64> = seqs.collect();
        assert!(seqs.iter().copied().eq(1..=seqs.len() as u64), "all, in order");
        assert!(seqs.len() >= before, "{} exported, {before} at the sink", seqs.len());
    }
    sim.end();
    let sent = sim.sent().len() as u64;
    wait_until("all that was sent", || host.settled("main") >= sent);
    let tally = host.stop();
    assert_eq!((tally.in_flight, tally.dead_lettered), (0, 0));
    let exported = well(command(&host.dir, &["journal", "export"])).lines().count();
    assert_eq!(exported as u64, tally.received);
    let log = host.running.log();
    assert!(!log.contains("ERROR"), "{log}");
}

/// A host that was killed may leave a last write in part: no damage either.
#[test]
fn what_a_killed_host_left_is_no_damage() {
    let sim = Sim::without_ledger(&["--rate", "max", "--streams", "ap-events"]);
    let mut dir = HostDir::new(&sim, &["ap-events"], TO_FILE);
    for _ in 0..3 {
        let before = count_lines(&dir.path("events.jsonl"));
        let mut host = dir.run();
        wait_until("events", || count_lines(&host.path("events.jsonl")) > before + 500);
        host.running.signal(rustix::process::Signal::KILL);
        host.running.wait();
        dir = host.dir;
        let said = command(&dir, &["journal", "verify"]);
        assert_eq!(said.code, 0, "{said:?}");
    }
}

#[test]
fn a_flipped_bit_is_found_and_told_with_what_is_lost() {
    let (dir, _) = received();
    let said = command(&dir, &["journal", "verify"]);
    assert!(said.code == 0 && said.out.contains("journal: 1,000 good records"), "{said:?}");
    assert!(said.out.contains("store: "), "{said:?}");
    let segments = fs::read_dir(dir.path("data/journal")).unwrap();
    let mut segments: Vec<_> = segments.map(|entry| entry.unwrap().path()).collect();
    segments.retain(|path| path.extension().is_some_and(|end| end == "seg"));
    segments.sort();
    let mut file = fs::File::options().read(true).write(true).open(&segments[0]).unwrap();
    file.seek(SeekFrom::Start(100_000)).unwrap();
    let mut byte = [0];
    file.read_exact(&mut byte).unwrap();
    file.seek(SeekFrom::Start(100_000)).unwrap();
    file.write_all(&[byte[0] ^ 4]).unwrap();
    drop(file);

    let said = command(&dir, &["journal", "verify", "--json"]);
    assert_eq!(said.code, 1, "{said:?}");
    let report: Value = serde_json::from_str(&said.out).unwrap();
    let damage = &report["journal"]["damage"][0];
    let name = segments[0].file_name().unwrap().to_str().unwrap();
    assert_eq!(
        (&report["ok"], &damage["file"]),
        (&false.into(), &format!("journal/{name}").into())
    );
    assert!(damage["offset"].as_u64().unwrap() <= 100_000, "{damage}");
    let lost = damage["first_seq"].as_u64().unwrap();
    assert_eq!(damage["last_seq"], lost, "one record");
    let said = command(&dir, &["journal", "verify"]);
    assert!(said.code == 1 && said.out.contains(&format!("record {lost} is lost")), "{said:?}");
    // What is not whole does not end as if it were.
    for args in [&["replay", "--count"][..], &["journal", "export"]] {
        let said = command(&dir, args);
        assert!(said.code == 1 && said.err.contains("1 record cannot be read\nhint: "), "{said:?}");
        assert!(!said.out.is_empty(), "{said:?}");
    }
}
