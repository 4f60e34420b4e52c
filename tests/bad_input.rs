//! What is wrong with what a host is given: its configuration, its plugin directory, its machine. It
//! says what and where, loses nothing, and where it runs already it goes on. The whole list, with
//! the tests of frames, streams and sinks, is docs/bad-input.md.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{
    Host, HostDir, Sim, TROMMEL, count_lines, output_of, plugin, repository, wait_for, wait_until,
};

/// A pipeline that needs no plugin, so that it goes on whatever lies in the plugin directory.
const STEADY: &str = "[pipeline.main]\nfrom = [\"hq\"]\nthrough = []\nto = [\"archive\"]\n\
    [sink.archive]\nkind = \"file\"\npath = \"events.jsonl\"\n";

/// A host whose events flow, with nothing in its plugin directory.
fn steady() -> (Sim, Host) {
    let sim = Sim::start(&["--rate", "200", "--streams", "ap-events"]);
    let host = HostDir::new(&sim, &["ap-events"], STEADY).run();
    wait_until("events", || count_lines(&host.path("events.jsonl")) > 10);
    (sim, host)
}

/// How the host shows a plugin, once it has one that it has looked at.
fn row(host: &Host, name: &str) -> Option<Value> {
    let rows: Value = serde_json::from_str(&host.get("/api/v1/plugins")).unwrap();
    let found = rows.as_array().unwrap().iter().find(|row| row["name"] == name).cloned();
    found.filter(|row| row["state"] != "compiling")
}

/// The plugin does not load, for a reason that says so; the host tells it and goes on.
fn refused(host: &Host, name: &str, says: &str) {
    let error = wait_for(&format!("{name} to be refused: {says}"), || {
        let row = row(host, name)?;
        let error = row["error"].as_str()?.to_owned();
        error.contains(says).then_some(error)
    });
    let first = error.lines().next().unwrap();
    wait_until("the log to say so", || host.running.log().contains(first));
    let before = count_lines(&host.path("events.jsonl"));
    wait_until("more events", || count_lines(&host.path("events.jsonl")) > before + 20);
}

fn component(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap()
}

#[test]
fn files_that_are_no_plugins_are_told_apart() {
    let (_sim, mut host) = steady();
    let empty = "(component)";
    let core = "(module (import \"env\" \"exit\" (func)))";
    let other_version = "(component (instance $i)
        (export \"trommel:plugin/lifecycle@0.2.0\" (instance $i))
        (export \"trommel:plugin/filter@0.2.0\" (instance $i)))";
    let no_lifecycle = "(component (instance $i)
        (export \"trommel:plugin/filter@0.1.0\" (instance $i)))";
    let two_roles = "(component (instance $i)
        (export \"trommel:plugin/lifecycle@0.1.0\" (instance $i))
        (export \"trommel:plugin/filter@0.1.0\" (instance $i))
        (export \"trommel:plugin/alert@0.1.0\" (instance $i)))";
    let hollow = "(component (instance $i)
        (export \"trommel:plugin/lifecycle@0.1.0\" (instance $i))
        (export \"trommel:plugin/filter@0.1.0\" (instance $i)))";
    let missing_import = "(component
        (import \"acme:clouds/rain@1.0.0\" (instance (export \"fall\" (func))))
        (instance $i)
        (export \"trommel:plugin/lifecycle@0.1.0\" (instance $i))
        (export \"trommel:plugin/filter@0.1.0\" (instance $i)))";
    for (name, wasm, says) in [
        ("empty-file", Vec::new(), "is not WebAssembly"),
        ("text", b"#!/bin/sh\nrm -rf /\n".to_vec(), "is not WebAssembly"),
        ("half", fs::read(plugin("filter")).unwrap()[..5_000].to_vec(), "does not compile"),
        ("bare", wat::parse_str("(module)").unwrap(), "exports nothing"),
        ("core", wat::parse_str(core).unwrap(), "is a core module that cannot"),
        ("no-world", component(empty), "exports nothing"),
        ("version", component(other_version), "exports trommel:plugin/lifecycle@0.2.0"),
        ("no-lifecycle", component(no_lifecycle), "exports trommel:plugin/filter@0.1.0"),
        ("two-roles", component(two_roles), "exports the roles filter, alert"),
        ("hollow", component(hollow), "cannot be linked"),
        ("import", component(missing_import), "acme:clouds/rain@1.0.0"),
    ] {
        host.dir.plugin_file(name, &wasm, "");
        refused(&host, name, says);
    }
    let page = host.page();
    let failed = [("plugin", "version"), ("state", "failed")];
    assert_eq!(page.value("trommel_plugin_state", &failed) as u64, 1);
    assert_eq!(page.value("trommel_reloads_total", &[("result", "failed")]) as u64, 11);
    let tally = host.stop();
    assert_eq!((tally.dead_lettered, tally.filtered), (0, 0));
}

#[test]
fn a_file_larger_than_the_limit_is_not_read() {
    let (_sim, host) = steady();
    let path = host.path("plugins.d/10-huge.wasm");
    // A hole: it takes no room, and is larger than any plugin.
    let file = fs::File::create(&path).unwrap();
    file.set_len(1 << 40).unwrap();
    drop(file);
    refused(&host, "10-huge", "has 1099511627776 bytes; 67108864 is the most");
    fs::remove_file(path).unwrap();
    // So is its configuration.
    host.dir.plugin("20-filter", "filter", "");
    wait_until("the plugin", || row(&host, "20-filter").is_some_and(|r| r["state"] == "serving"));
    let file = fs::File::create(host.path("plugins.d/20-filter.toml")).unwrap();
    file.set_len(1 << 40).unwrap();
    drop(file);
    refused(&host, "20-filter", "20-filter.toml: has 1099511627776 bytes; 1048576 is the most");
    let resident = host.page().value("process_resident_memory_bytes", &[]);
    assert!(resident < f64::from(1 << 30), "{resident} bytes");
}

#[test]
fn a_link_is_followed_where_it_leads_to_a_file() {
    let (_sim, host) = steady();
    let elsewhere = host.path("versions");
    fs::create_dir(&elsewhere).unwrap();
    fs::copy(plugin("filter"), elsewhere.join("filter-1.wasm")).unwrap();
    symlink("../versions/filter-1.wasm", host.path("plugins.d/10-linked.wasm")).unwrap();
    let serves = |version: &str| {
        row(&host, "10-linked")
            .is_some_and(|row| row["state"] == "serving" && row["role"] == version)
    };
    wait_until("the plugin behind the link", || serves("filter"));
    // Another link in its place is another version.
    fs::copy(plugin("transform"), elsewhere.join("transform-1.wasm")).unwrap();
    symlink("../versions/transform-1.wasm", host.path("plugins.d/.new")).unwrap();
    fs::rename(host.path("plugins.d/.new"), host.path("plugins.d/10-linked.wasm")).unwrap();
    wait_until("what it leads to now", || serves("transform"));

    symlink("nowhere.wasm", host.path("plugins.d/20-dangling.wasm")).unwrap();
    refused(&host, "20-dangling", "cannot be read: No such file or directory");
    symlink("30-loop.wasm", host.path("plugins.d/30-loop.wasm")).unwrap();
    refused(&host, "30-loop", "cannot be read: Too many levels of symbolic links");
    symlink("/dev/zero", host.path("plugins.d/40-zero.wasm")).unwrap();
    refused(&host, "40-zero", "cannot be read: it is not a file");
}

#[test]
fn what_is_no_file_is_not_opened() {
    let (_sim, host) = steady();
    fs::create_dir(host.path("plugins.d/10-directory.wasm")).unwrap();
    refused(&host, "10-directory", "cannot be read: it is not a file");
    // Whoever opened this to read would wait for ever for somebody to write.
    let fifo = host.path("plugins.d/20-pipe.wasm");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    refused(&host, "20-pipe", "cannot be read: it is not a file");
    // So would the host that starts with it there.
    let mut dir = HostDir::empty();
    dir.add("[pipeline.main]\nfrom = [\"trommel\"]\nthrough = []\n");
    let fifo = dir.path("plugins.d/20-pipe.wasm");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let mut starting = dir.run();
    starting.wait_for_log("it is not a file");
    starting.stop();
}

#[test]
fn a_file_that_comes_and_goes_is_never_loaded_by_halves() {
    let (_sim, mut host) = steady();
    let wasm = fs::read(plugin("filter")).unwrap();
    let ghost = host.path("plugins.d/10-ghost.wasm");
    for attempt in 0.. {
        assert!(attempt < 5, "each time a half lay there for 100 ms");
        let before = host.running.log().len();
        let mut is_slow = false;
        for _ in 0..40 {
            host.dir.plugin_file("10-ghost", &wasm, "");
            fs::remove_file(&ghost).unwrap();
            let begun = Instant::now();
            fs::write(&ghost, &wasm[..1_000]).unwrap();
            fs::remove_file(&ghost).unwrap();
            is_slow |= begun.elapsed() > Duration::from_millis(100);
        }
        host.dir.plugin_file("10-ghost", &wasm, "");
        let is_serving = |row: Value| row["state"] == "serving";
        wait_until("the plugin", || row(&host, "10-ghost").is_some_and(is_serving));
        if !is_slow {
            let log = host.running.log().split_off(before);
            assert!(!log.contains("does not compile"), "a half was loaded: {log}");
            break;
        }
        // A half that lies there for long is rightly taken for a whole.
        fs::remove_file(&ghost).unwrap();
        wait_until("it to be gone", || row(&host, "10-ghost").is_none());
    }
    host.stop();
}

#[test]
fn plugins_of_one_name_are_told_apart_by_their_files() {
    let sim = Sim::start(&["--rate", "max", "--count", "200", "--streams", "ap-events"]);
    let rest = "[pipeline.main]\nfrom = [\"hq\"]\nto = [\"archive\"]\n\
        [sink.archive]\nkind = \"file\"\npath = \"events.jsonl\"\n";
    let dir = HostDir::new(&sim, &["ap-events"], rest);
    // Both describe themselves as `misbehave-filter`.
    dir.plugin(
        "10-first",
        "misbehave-filter",
        "[config]\nmode = \"fault\"\non_id_suffix = \"7\"\n",
    );
    dir.plugin(
        "20-second",
        "misbehave-filter",
        "[config]\nmode = \"fault\"\non_id_suffix = \"8\"\n",
    );
    let mut host = dir.run();
    wait_until("all events", || host.settled("main") == 200);
    host.stop();
    let letters = host.lines("data/dead-letters.jsonl");
    let by = |plugin: &str, end: char| {
        let of = letters.iter().filter(|letter| letter["plugin"] == plugin);
        let ids: Vec<&str> = of.map(|l| l["event"]["id"].as_str().unwrap()).collect();
        assert!(!ids.is_empty() && ids.iter().all(|id| id.ends_with(end)), "{plugin}: {ids:?}");
        ids.len()
    };
    assert_eq!(by("10-first", '7') + by("20-second", '8'), letters.len());
}

/// Runs `trommel run` on a folder that cannot do, to its end.
fn does_not_start(dir: &HostDir) -> (Option<i32>, String) {
    let mut command = Command::new(TROMMEL);
    command.args(["run", "--config"]).arg(dir.write_config());
    let output = output_of(&mut command);
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

const SMALL: &str = "[pipeline.main]\nfrom = [\"trommel\"]\nthrough = []\n";

#[test]
fn a_port_in_use_is_named() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut dir = HostDir::empty();
    dir.add(SMALL);
    dir.replace("127.0.0.1:0", &address.to_string());
    let (code, text) = does_not_start(&dir);
    assert_eq!(code, Some(3), "{text}");
    assert!(
        text.contains(&format!("cannot listen on {address}: Address already in use")),
        "{text}"
    );
    assert!(text.contains("hint: another port, or port 0"), "{text}");
}

#[test]
fn a_data_directory_that_cannot_be_written_is_named() {
    // Where no file can be made whoever asks, root included.
    for (place, says) in [
        ("/proc/trommel", "cannot create /proc/trommel"),
        ("/proc/self", "cannot write to /proc/self"),
    ] {
        let mut dir = HostDir::empty();
        dir.replace("listen", &format!("data_dir = \"{place}\"\nlisten"));
        dir.add(SMALL);
        let (code, text) = does_not_start(&dir);
        assert_eq!(code, Some(3), "{text}");
        assert!(text.contains(says) && text.contains("hint: data_dir names it"), "{text}");
    }
    // A file stands where it should be, and a directory where one of its files should be.
    let mut dir = HostDir::empty();
    dir.add(SMALL);
    fs::write(dir.path("data"), "").unwrap();
    let (code, text) = does_not_start(&dir);
    assert_eq!((code, text.contains("cannot create")), (Some(3), true), "{text}");
    fs::remove_file(dir.path("data")).unwrap();
    fs::create_dir_all(dir.path("data/dead-letters.jsonl")).unwrap();
    let (code, text) = does_not_start(&dir);
    assert_eq!(
        (code, text.contains("dead-letters.jsonl: Is a directory")),
        (Some(3), true),
        "{text}"
    );
}

#[test]
fn a_plugin_directory_that_cannot_be_had_is_named() {
    let mut dir = HostDir::empty();
    dir.add(SMALL);
    fs::remove_dir(dir.path("plugins.d")).unwrap();
    fs::write(dir.path("plugins.d"), "").unwrap();
    let (code, text) = does_not_start(&dir);
    assert_eq!(code, Some(3), "{text}");
    assert!(text.contains("cannot use the plugin directory"), "{text}");
}

#[test]
fn a_plugin_directory_that_goes_away_unloads_nothing() {
    let sim = Sim::start(&["--rate", "300", "--streams", "ap-events"]);
    let rest = STEADY.replace("through = []", "through = [\"10-filter\"]");
    let dir = HostDir::new(&sim, &["ap-events"], &rest);
    dir.plugin("10-filter", "filter", "");
    let mut host = dir.run();
    wait_until("events", || count_lines(&host.path("events.jsonl")) > 10);
    fs::rename(host.path("plugins.d"), host.path("away")).unwrap();
    host.wait_for_log("the plugin directory cannot be read");
    let before = count_lines(&host.path("events.jsonl"));
    wait_until("more events", || count_lines(&host.path("events.jsonl")) > before + 300);
    fs::rename(host.path("away"), host.path("plugins.d")).unwrap();
    host.dir.plugin("20-late", "filter", "");
    wait_until("what comes after it is back", || {
        row(&host, "20-late").is_some_and(|row| row["state"] == "serving")
    });
    let log = host.running.log();
    assert!(!log.contains("held: plugin \"10-filter\" is not there"), "{log}");
    assert_eq!(log.matches("cannot be read").count(), 1, "told once, not with every look: {log}");
    host.stop();
}

#[test]
fn two_things_of_one_name_are_an_error_with_a_line() {
    let mut dir = HostDir::empty();
    dir.add(SMALL);
    dir.add(SMALL);
    let (code, text) = does_not_start(&dir);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("duplicate key") && text.contains("line 5"), "{text}");
}

#[test]
fn alerts_about_alerts_cannot_go_round() {
    // Where alerts come from no alert plugin is run: not by name, and not because it lies there.
    let sim = Sim::start(&["--rate", "max", "--count", "50", "--streams", "ap-events"]);
    let rest = "[pipeline.main]\nfrom = [\"hq\"]\nto = [\"archive\"]\n\
        [pipeline.round]\nfrom = [\"trommel\", \"hq\"]\nto = [\"told\"]\n\
        [pipeline.named]\nfrom = [\"trommel\"]\nthrough = [\"30-alert\"]\n\
        [sink.archive]\nkind = \"file\"\npath = \"events.jsonl\"\n\
        [sink.told]\nkind = \"file\"\npath = \"told.jsonl\"\n";
    let dir = HostDir::new(&sim, &["ap-events"], rest);
    // It raises an alert for every type of event that it sees.
    dir.plugin("30-alert", "misbehave-alert", "[config]\nmode = \"raise\"\n");
    let mut host = dir.run();
    host.wait_for_log("held: plugin \"30-alert\" is an alert plugin");
    wait_until("all events", || host.settled("main") == 50);
    wait_until("alerts told", || {
        let told = host.lines("told.jsonl");
        told.iter().any(|event| event["type"] == "trommel.alert")
    });
    host.stop();
    let alerts = host.lines("data/alerts.jsonl");
    assert!(alerts.iter().all(|alert| alert["data"]["pipeline"] == "main"), "{alerts:?}");
    let types: std::collections::BTreeSet<_> =
        host.lines("events.jsonl").iter().map(|event| event["type"].to_string()).collect();
    assert_eq!(alerts.len(), types.len(), "one for each type, and none about an alert");
    let mut check = Command::new(TROMMEL);
    check.args(["check", "--config"]).arg(host.path("trommel.toml"));
    let output = output_of(&mut check);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{text}");
    let says = "pipeline.named.through: \"30-alert\" is an alert plugin\n\
                hint: \"trommel\" is where alerts come from";
    assert!(text.contains(says), "{text}");
}

/// Every test that docs/bad-input.md names is there.
#[test]
fn the_table_names_tests_that_exist() {
    let docs = fs::read_to_string(repository().join("docs/bad-input.md")).unwrap();
    let mut rows = 0;
    for line in docs.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| input")) {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        assert_eq!(cells.len(), 4, "input, what is said, what happens, test: {line}");
        assert!(cells.iter().all(|cell| !cell.is_empty()), "{line}");
        for named in cells[3].split(", ") {
            let (file, test) = named.trim_matches('`').split_once("::").expect(line);
            assert!(has_test(file, test), "{named} does not exist: {line}");
        }
        rows += 1;
    }
    assert!(rows >= 80, "{rows} rows");
}

/// `file` is one of tests/ without its ending, or a path in the repository.
fn has_test(file: &str, test: &str) -> bool {
    let path = match file.contains('/') {
        true => Path::new(file).to_owned(),
        false => Path::new("tests").join(format!("{file}.rs")),
    };
    let text = fs::read_to_string(repository().join(path)).unwrap_or_default();
    text.contains(&format!("fn {test}("))
        || (file == "matrix" && text.contains(&format!("\n    {test}: ")))
        || repository().join("tests/config/invalid").join(format!("{test}.toml")).is_file()
}
