//! What the host shows of itself: metrics that tell the truth, health that looks, and a server that
//! whoever may connect does no harm to.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::{
    Host, HostDir, Page, Running, Sim, TROMMEL, count_lines, output_of, repository, wait_for,
    wait_until,
};

/// A host in which every kind of thing happens.
const EVERYTHING: &str = r#"
[pipeline.main]
from = ["hq"]
through = ["10-filter", "20-transform", "30-alert", "90-export"]
to = ["archive", "nowhere"]
[pipeline.bad]
from = ["hq"]
through = ["11-bad"]
to = ["nowhere"]
[pipeline.alerts]
from = ["trommel"]
through = []
to = ["nowhere"]
[sink.archive]
kind = "file"
path = "events.jsonl"
[sink.nowhere]
kind = "null"
"#;

/// Runs it until all is settled. How many events there were.
fn everything() -> (Sim, Host, u64) {
    const COUNT: u64 = 2_000;
    let streams = "ap-events,audit-trail-events";
    let sim = Sim::start(&["--rate", "max", "--count", "1000", "--streams", streams]);
    let dir = HostDir::new(&sim, &["ap-events", "audit-trail-events"], EVERYTHING);
    dir.plugin("10-filter", "misbehave-filter", "[config]\nmode = \"figures\"\n");
    dir.plugin("11-bad", "misbehave-filter", "[config]\nmode = \"trap\"\non_id_suffix = \"a7\"\n");
    dir.plugin("20-transform", "transform", "");
    dir.plugin("30-alert", "misbehave-alert", "[config]\nmode = \"raise\"\n");
    dir.plugin("90-export", "misbehave-export", "");
    let host = dir.run();
    wait_until("all events", || {
        host.settled("main") == COUNT && host.settled("bad") == COUNT && host.settled("alerts") > 0
    });
    // An event counts as ended before what it took is measured, and a plugin serves before that is counted.
    wait_until("the figures", || {
        let page = host.page();
        let measured =
            |pipeline| page.find("trommel_event_to_sink_seconds_count", &[("pipeline", pipeline)]);
        page.find("trommel_reloads_total", &[("result", "loaded")]) == Some(5.0)
            && ["main", "bad"].map(measured) == [Some(COUNT as f64); 2]
    });
    (sim, host, COUNT)
}

#[test]
fn figures_tell_the_truth() {
    let (_sim, mut host, count) = everything();
    let page = host.page();
    let of = |name: &str, labels: &[(&str, &str)]| page.value(name, labels) as u64;
    let main = ("pipeline", "main");
    assert_eq!(of("trommel_received_total", &[main]), count);
    assert_eq!(of("trommel_delivered_total", &[main]), count);
    assert_eq!(of("trommel_in_flight", &[main]), 0);
    assert_eq!(of("trommel_event_to_sink_seconds_count", &[main]), count, "one per event");
    assert_eq!(of("trommel_queue_events", &[main]), 0);
    assert_eq!(of("trommel_pipeline_held", &[main]), 0);
    let batches = of("trommel_batches_total", &[main]);
    for plugin in ["10-filter", "20-transform", "90-export"] {
        let labels = [main, ("plugin", plugin)];
        assert_eq!(of("trommel_plugin_events_total", &labels), count, "{plugin}");
        assert_eq!(of("trommel_plugin_calls_total", &labels), batches, "{plugin}");
        assert_eq!(of("trommel_plugin_call_seconds_count", &labels), batches, "{plugin}");
        let memory = of("trommel_plugin_memory_bytes", &[("plugin", plugin)]);
        let instances = of("trommel_plugin_instances", &[("plugin", plugin)]);
        let limit = of("trommel_plugin_memory_limit_bytes", &[("plugin", plugin)]);
        assert!(instances >= 1 && limit == 64 << 20, "{plugin}: {instances} of {limit}");
        assert!(memory >= instances << 16 && memory <= instances * limit, "{plugin}: {memory}");
        assert_eq!(of("trommel_plugin_state", &[("plugin", plugin), ("state", "serving")]), 1);
    }
    assert_eq!(of("trommel_sink_write_seconds_count", &[("sink", "archive")]), batches);
    assert_eq!(of("trommel_sink_retries_total", &[("sink", "archive")]), 0);

    // Every event that was trapped on: alone, so once more than half of its halvings.
    let dead = of("trommel_dead_lettered_total", &[("pipeline", "bad")]);
    let by_reason = |reason| of("trommel_dead_letters_total", &[("pipeline", "bad"), reason]);
    assert!(dead > 0);
    assert_eq!((by_reason(("reason", "trap")), by_reason(("reason", "timeout"))), (dead, 0));
    let traps = [("pipeline", "bad"), ("plugin", "11-bad"), ("reason", "trap")];
    assert!(of("trommel_plugin_failures_total", &traps) >= dead);

    for stream in ["ap-events", "audit-trail-events"] {
        let labels = [("source", "hq"), ("stream", stream)];
        assert_eq!(of("trommel_stream_frames_total", &labels), count / 2);
        assert!(of("trommel_stream_bytes_total", &labels) > 64 * count / 2);
        assert_eq!(of("trommel_stream_connections_total", &labels), 1);
        assert_eq!(of("trommel_duplicates_total", &labels), 0);
        let states = ["connecting", "streaming", "renewing", "waiting", "failing", "stopped"];
        let is_in =
            states.map(|s| of("trommel_stream_state", &[labels[0], labels[1], ("state", s)]));
        assert_eq!(is_in, [0, 1, 0, 0, 0, 0], "{stream}");
        let last = page.value("trommel_stream_last_event_timestamp_seconds", &labels);
        assert!(last > page.value("process_start_time_seconds", &[]), "{last}");
        assert!(page.value("trommel_stream_seconds_since_last_event", &labels) < 60.0);
    }

    // What a guest counts stands under the name it chose, whatever is in it.
    let name = ("name", "seen \"so\" far\\\n");
    assert_eq!(of("trommel_plugin_counter_total", &[("plugin", "10-filter"), name]), count);
    assert_eq!(of("trommel_reloads_total", &[("result", "loaded")]), 5);
    assert!(of("trommel_alerts_raised", &[]) > 0);
    assert!(of("process_resident_memory_bytes", &[]) > 1 << 20);
    assert!(page.value("process_cpu_seconds_total", &[]) > 0.0);
    host.stop();
}

#[test]
fn both_formats_say_the_same() {
    let (_sim, host, _) = everything();
    let accept = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3";
    let (head, body) = host.ask(&format!("GET /metrics HTTP/1.0\r\naccept: {accept}\r\n\r\n"));
    assert!(head.contains("application/openmetrics-text; version=1.0.0; charset=utf-8"), "{head}");
    assert!(body.ends_with("# EOF\n") && body.contains("# TYPE trommel_received counter\n"));
    let open = Page::read(&body);
    let (head, body) = host.ask("GET /metrics HTTP/1.0\r\n\r\n");
    assert!(head.contains("text/plain; version=0.0.4"), "{head}");
    assert!(!body.contains("EOF") && body.contains("# TYPE trommel_received_total counter\n"));
    let classic = Page::read(&body);
    assert_eq!(open.0.keys().collect::<Vec<_>>(), classic.0.keys().collect::<Vec<_>>());
    for (name, family) in &open.0 {
        assert_eq!(family.samples.len(), classic.0[name].samples.len(), "{name}");
    }
}

#[test]
fn docs_dashboard_and_rules_name_what_there_is() {
    let (_sim, host, _) = everything();
    let page = host.page();
    let mut rows: Vec<String> = page.0.iter().map(row).collect();
    rows.sort();
    let docs = std::fs::read_to_string(repository().join("docs/metrics.md")).unwrap();
    let is_row = |line: &&str| line.starts_with("| `trommel_") || line.starts_with("| `process_");
    let mut told: Vec<&str> = docs.lines().filter(is_row).collect();
    told.sort_unstable();
    assert_eq!(told.join("\n"), rows.join("\n"), "docs/metrics.md");

    let dashboard = repository().join("packaging/grafana/trommel.json");
    let dashboard: serde_json::Value =
        serde_json::from_slice(&std::fs::read(dashboard).unwrap()).unwrap();
    let mut expressions = Vec::new();
    find_expressions(&dashboard, &mut expressions);
    assert!(expressions.len() > 20, "{expressions:?}");
    let rules = repository().join("packaging/prometheus/trommel.rules.yml");
    let rules = std::fs::read_to_string(rules).unwrap();
    let told = rules.lines().filter_map(|line| line.trim().strip_prefix("expr: "));
    expressions.extend(told.map(str::to_owned));
    for expression in &expressions {
        check_expression(expression, &page);
    }
    for name in page.0.keys().filter(|name| !NOT_DRAWN.contains(&&***name)) {
        let is_drawn = expressions.iter().any(|expression| expression.contains(&**name));
        assert!(is_drawn, "{name} is neither on the dashboard nor in a rule");
    }
    for annotation in rules.split("$labels.").skip(1) {
        let end = annotation.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap();
        assert!(is_label(&annotation[..end], &page), "$labels.{}", &annotation[..end]);
    }
}

fn row((name, family): (&String, &crate::support::Family)) -> String {
    let labels: Vec<String> = family.labels().iter().map(|label| format!("`{label}`")).collect();
    format!("| `{name}` | {} | {} | {} |", family.kind, labels.join(", "), family.help)
        .replace("|  |", "| |")
}

fn find_expressions(value: &serde_json::Value, found: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(map) => {
            for (key, value) in map {
                match (key.as_str(), value.as_str()) {
                    ("expr" | "definition", Some(text)) => found.push(text.to_owned()),
                    _ => find_expressions(value, found),
                }
            }
        }
        serde_json::Value::Array(items) => {
            items.iter().for_each(|item| find_expressions(item, found));
        }
        _ => {}
    }
}

/// What says little on a dashboard.
const NOT_DRAWN: &[&str] = &[
    "trommel_reload_pause_seconds",
    "trommel_stream_state_timestamp_seconds",
    "trommel_stream_last_event_timestamp_seconds",
    "trommel_stream_gaps_total",
    "trommel_journal_segments",
    "trommel_config_reloads_total",
    "process_virtual_memory_bytes",
];

/// Labels that the server adds which scrapes, and that of a histogram's bounds.
const ADDED: &[&str] = &["job", "instance", "le"];

fn is_label(name: &str, page: &Page) -> bool {
    ADDED.contains(&name) || page.0.values().any(|family| family.labels().contains(name))
}

/// Every metric that an expression names is on the page, and has the labels it is asked for.
fn check_expression(expression: &str, page: &Page) {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let mut rest = expression;
    while let Some(start) = rest.find(|c: char| is_word(c) || c == '"') {
        rest = &rest[start..];
        if let Some(quoted) = rest.strip_prefix('"') {
            rest = quoted.split_once('"').map_or("", |(_, after)| after);
            continue;
        }
        let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        rest = after;
        if ["by", "without", "on", "ignoring", "group_left", "group_right"].contains(&word)
            && let Some(list) = rest.trim_start().strip_prefix('(')
        {
            let (list, after) = list.split_once(')').expect(expression);
            for label in list.split(',').map(str::trim).filter(|label| !label.is_empty()) {
                assert!(is_label(label, page), "no metric has the label {label:?}: {expression}");
            }
            rest = after;
        } else if word.starts_with("trommel_") || word.starts_with("process_") {
            let bare = ["_bucket", "_sum", "_count"].iter().find_map(|s| word.strip_suffix(s));
            let family = page.0.get(word).or_else(|| page.0.get(bare?));
            let family = family.unwrap_or_else(|| panic!("there is no {word}: {expression}"));
            if let Some(matchers) = rest.strip_prefix('{') {
                let (matchers, after) = matchers.split_once('}').expect(expression);
                for matcher in matchers.split(',') {
                    let label = matcher.split(['=', '!']).next().unwrap().trim();
                    let has = ADDED.contains(&label) || family.labels().contains(label);
                    assert!(has, "{word} has no label {label:?}: {expression}");
                }
                rest = after;
            }
        }
    }
}

#[test]
fn the_dashboard_is_one_that_grafana_draws() {
    let path = repository().join("packaging/grafana/trommel.json");
    let board: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    assert!(board["schemaVersion"].as_u64().unwrap() >= 36, "Grafana 10 and later");
    let source = &board["templating"]["list"][0];
    assert_eq!((&source["type"], &source["name"]), (&"datasource".into(), &"datasource".into()));
    let mut ids = BTreeSet::new();
    let mut taken = BTreeSet::new();
    for panel in board["panels"].as_array().unwrap() {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{panel}");
        let at = |key: &str| panel["gridPos"][key].as_u64().unwrap();
        assert!(at("x") + at("w") <= 24, "{panel}");
        for x in at("x")..at("x") + at("w") {
            for y in at("y")..at("y") + at("h") {
                assert!(taken.insert((x, y)), "two panels at {x}, {y}: {panel}");
            }
        }
        if panel["type"] != "row" {
            assert_eq!(panel["datasource"]["uid"], "${datasource}", "{panel}");
            assert!(panel["targets"][0]["expr"].is_string(), "{panel}");
        }
    }
}

const HELD: &str = "[pipeline.main]\nfrom = [\"hq\"]\nthrough = [\"10-late\"]\nto = [\"out\"]\n\
    [sink.out]\nkind = \"null\"\n";

#[test]
fn a_held_pipeline_shows_its_queue_and_is_not_ready() {
    let sim = Sim::start(&["--rate", "max", "--count", "3000", "--streams", "ap-events"]);
    let mut host = HostDir::new(&sim, &["ap-events"], HELD).without_journal().run();
    let main = [("pipeline", "main")];
    wait_until("events to wait", || host.page().find("trommel_in_flight", &main) == Some(3_000.0));
    let page = host.page();
    assert_eq!(page.value("trommel_pipeline_held", &main) as u64, 1);
    assert_eq!(page.value("trommel_queue_events", &main) as u64, 3_000);
    let bytes = page.value("trommel_queue_bytes", &main);
    let limit = page.value("trommel_queue_bytes_limit", &main);
    assert!(bytes > 3_000.0 * 64.0 && bytes < limit, "{bytes} of {limit}");
    let (head, body) = host.ask("GET /readyz HTTP/1.0\r\n\r\n");
    assert!(head.starts_with("HTTP/1.0 503"), "{head}");
    assert_eq!(body, "pipeline \"main\" is held: plugin \"10-late\" is not there\n");
    assert_eq!(host.get("/healthz"), "ok\n");
    host.dir.plugin("10-late", "filter", "");
    wait_until("all events", || host.settled("main") == 3_000);
    wait_until("the host to be ready", || host.get("/readyz") == "ready\n");
    assert_eq!(host.page().value("trommel_queue_events", &main) as u64, 0);
    wait_until("all to be measured", || {
        host.page().find("trommel_event_to_sink_seconds_count", &main) == Some(3_000.0)
    });
    host.stop();
}

#[test]
fn a_plugin_that_is_gone_leaves_no_figures_behind() {
    let sim = Sim::start(&["--rate", "200", "--streams", "ap-events"]);
    let rest = "[pipeline.main]\nfrom = [\"hq\"]\nto = [\"out\"]\n[sink.out]\nkind = \"null\"\n";
    let dir = HostDir::new(&sim, &["ap-events"], rest);
    dir.plugin("10-filter", "filter", "");
    let host = dir.run();
    wait_until("the plugin to be called", || {
        host.metrics()
            .contains("trommel_plugin_calls_total{pipeline=\"main\",plugin=\"10-filter\"}")
    });
    std::fs::remove_file(host.path("plugins.d/10-filter.wasm")).unwrap();
    wait_until("it to be forgotten", || !host.metrics().contains("10-filter"));
    wait_until("that to be counted", || {
        host.page().find("trommel_reloads_total", &[("result", "removed")]) == Some(1.0)
    });
}

#[test]
fn a_plugin_may_not_fill_the_page() {
    let sim = Sim::start(&["--rate", "max", "--count", "10", "--streams", "ap-events"]);
    let rest = "[pipeline.main]\nfrom = [\"hq\"]\nto = [\"out\"]\n[sink.out]\nkind = \"null\"\n";
    let dir = HostDir::new(&sim, &["ap-events"], rest);
    let toml = "[config]\nmode = \"figure-flood\"\namount = 5000\n";
    dir.plugin("10-flood", "misbehave-filter", toml);
    let mut host = dir.run();
    wait_until("all events", || host.settled("main") == 10);
    let own = &host.page().0["trommel_plugin_counter_total"];
    assert_eq!(own.samples.len(), 100, "names beyond the limit cost the call");
    let tally = host.stop();
    assert_eq!(tally.dead_lettered, 10);
}

#[test]
fn a_sink_that_fails_is_counted_and_nothing_is_lost() {
    let sim = Sim::start(&["--rate", "max", "--count", "50", "--streams", "ap-events"]);
    let rest = "[pipeline.main]\nfrom = [\"hq\"]\nthrough = []\nto = [\"full\"]\n\
                [sink.full]\nkind = \"file\"\npath = \"/dev/full\"\n";
    let host = HostDir::new(&sim, &["ap-events"], rest).run();
    let retries =
        |host: &Host| host.page().value("trommel_sink_retries_total", &[("sink", "full")]);
    wait_until("the third try", || retries(&host) >= 3.0);
    wait_until("all events", || {
        host.page().find("trommel_in_flight", &[("pipeline", "main")]) == Some(50.0)
    });
    let writes = host.page().value("trommel_sink_write_seconds_count", &[("sink", "full")]);
    assert!(writes >= 3.0, "{writes}");
}

#[test]
fn a_sink_that_fails_shows_who_waits_and_why_until_it_works() {
    let sim = Sim::start(&["--rate", "100", "--streams", "ap-events"]);
    let rest = "[pipeline.main]\nfrom = [\"hq\"]\nthrough = []\nto = [\"out\", \"other\"]\n\
                [sink.out]\nkind = \"file\"\npath = \"out/events.jsonl\"\n\
                [sink.other]\nkind = \"null\"\n";
    let mut host = HostDir::new(&sim, &["ap-events"], rest).run();
    let (file, moved) = (host.path("out/events.jsonl"), host.path("out/moved.jsonl"));
    let failing = |host: &Host, sink| {
        host.page().find("trommel_sink_failing", &[("sink", sink)]).map(|failing| failing as u64)
    };
    wait_until("events", || count_lines(&file) > 10);
    assert_eq!((host.get("/readyz").as_str(), failing(&host, "out")), ("ready\n", Some(0)));
    // A directory takes its place, at once: else the sink might begin another file.
    std::fs::create_dir(&moved).unwrap();
    let exchange = rustix::fs::RenameFlags::EXCHANGE;
    rustix::fs::renameat_with(rustix::fs::CWD, &file, rustix::fs::CWD, &moved, exchange).unwrap();
    let ready = wait_for("the host not to be ready", || {
        let (head, body) = host.ask("GET /readyz HTTP/1.0\r\n\r\n");
        head.starts_with("HTTP/1.0 503").then_some(body)
    });
    let (start, end) =
        ("pipeline \"main\" waits for sink \"out\": ", "Is a directory (os error 21)\n");
    assert!(ready.starts_with(start) && ready.ends_with(end), "{ready}");
    assert_eq!(ready.lines().count(), 1, "{ready}");
    assert_eq!((failing(&host, "out"), failing(&host, "other")), (Some(1), Some(0)));
    assert_eq!(host.get("/healthz"), "ok\n", "it is no illness");
    let status = |args: &[&str]| {
        let mut command = Command::new(TROMMEL);
        command.arg("status").args(args).arg("--config").arg(host.path("trommel.toml"));
        String::from_utf8(output_of(&mut command).stdout).unwrap()
    };
    let report: serde_json::Value = serde_json::from_str(&status(&["--json"])).unwrap();
    let sinks = report["sinks"].as_array().unwrap();
    let of = |name: &str| sinks.iter().find(|sink| sink["name"] == name).unwrap();
    assert_eq!((&of("other")["trouble"], &of("other")["waiting"]), (&().into(), &().into()));
    assert_eq!(of("out")["waiting"], "main");
    assert!(of("out")["trouble"].as_str().unwrap().contains("Is a directory"), "{report}");
    assert!(of("out")["retries"].as_u64().unwrap() > 0, "{report}");
    let text = status(&[]);
    for words in ["fails, and pipeline \"main\" waits:", "Is a directory"] {
        assert!(text.contains(words), "{words} is not in {text}");
    }
    std::fs::remove_dir(&file).unwrap();
    wait_until("the host to be ready", || host.get("/readyz") == "ready\n");
    assert_eq!(failing(&host, "out"), Some(0));
    let delivered = host.stop().delivered;
    assert_eq!((count_lines(&file) + count_lines(&moved)) as u64, delivered, "nothing is lost");
}

#[test]
fn a_stream_that_is_not_up_says_so() {
    let mut sim = Sim::start(&["--rate", "100", "--streams", "ap-events"]);
    let rest = "[pipeline.main]\nfrom = [\"hq\"]\nthrough = []\nto = [\"out\"]\n\
                [sink.out]\nkind = \"file\"\npath = \"events.jsonl\"\n";
    let host = HostDir::new(&sim, &["ap-events"], rest).run();
    wait_until("events", || count_lines(&host.path("events.jsonl")) > 10);
    assert_eq!(host.get("/readyz"), "ready\n");
    sim.stop();
    let labels = [("source", "hq"), ("stream", "ap-events")];
    wait_until("tries that fail", || {
        host.page().value("trommel_stream_failures_total", &labels) >= 2.0
    });
    let ready = host.get("/readyz");
    assert!(ready.starts_with("stream hq/ap-events is "), "{ready}");
    assert_eq!(host.get("/healthz"), "ok\n", "a server that is away is no illness of the host");
    let up = [labels[0], labels[1], ("state", "streaming")];
    assert_eq!(host.page().value("trommel_stream_state", &up) as u64, 0);
}

#[test]
fn what_the_host_cannot_go_on_after_shows_in_its_health() {
    let sim = Sim::start(&["--rate", "100", "--streams", "ap-events"]);
    // The other pipeline is in a long call, so that stopping takes its time.
    let rest = "[pipeline.main]\nfrom = [\"hq\"]\nthrough = [\"20-late\"]\nto = [\"screen\"]\n\
                [pipeline.slow]\nfrom = [\"hq\"]\nthrough = [\"10-loop\"]\nto = [\"out\"]\n\
                [sink.screen]\nkind = \"stdout\"\n[sink.out]\nkind = \"null\"\n";
    let dir = HostDir::new(&sim, &["ap-events"], rest);
    let toml = "[config]\nmode = \"loop\"\n[limits]\ntime = \"60s\"\n";
    dir.plugin("10-loop", "misbehave-filter", toml);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let config = dir.write_config();
    let mut command = Command::new(TROMMEL);
    command.args(["run", "--config"]).arg(&config);
    let running = Running::start_into(&mut command, Stdio::from(writer), &dir.path("log"));
    let mut host = Host { dir, running };
    host.wait_for_log("plugin takes effect");
    wait_until("the long call", || {
        let (page, slow) = (host.page(), [("pipeline", "slow")]);
        let value = |name| page.find(name, &slow).unwrap_or(0.0);
        // More than waits in the queue: it was taken out of it.
        value("trommel_in_flight") > value("trommel_queue_events")
    });
    host.dir.plugin("20-late", "filter", "");
    let (head, body) = wait_for("an ill host", || {
        let answer = host.ask("GET /healthz HTTP/1.0\r\n\r\n");
        (answer.1 != "ok\n").then_some(answer)
    });
    assert!(head.starts_with("HTTP/1.0 503"), "{head}");
    assert_eq!(body, "sink.screen: standard output was closed\n");
    assert_eq!(host.running.wait().code(), Some(1));
}

#[test]
fn connections_that_say_nothing_keep_nobody_out() {
    let mut dir = HostDir::empty();
    dir.add("[pipeline.main]\nfrom = [\"trommel\"]\nthrough = []\n");
    let host = dir.without_journal().run();
    let handles = |host: &Host| host.page().value("process_open_fds", &[]);
    let before = handles(&host);
    let mut idle: Vec<TcpStream> = (0..300).map(|_| host.connect()).collect();
    // Half of them begin a request and never end it.
    for stream in idle.iter_mut().skip(150) {
        // It may be closed by now: others came after it.
        let _ = stream.write_all(b"GET /metrics HTTP/1.1\r\nx-slow: ");
    }
    let during = handles(&host);
    assert!(during - before <= 66.0, "{before} handles became {during}");
    // All of them are let go of by the host itself.
    for stream in &mut idle {
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut rest = Vec::new();
        let ended = stream.read_to_end(&mut rest);
        let is_timeout = ended.as_ref().is_err_and(|e| e.kind() == std::io::ErrorKind::WouldBlock);
        assert!(!is_timeout, "a connection stayed open");
    }
    wait_until("the handles to be free", || handles(&host) <= before + 2.0);
}

#[test]
fn odd_requests_are_refused() {
    let mut dir = HostDir::empty();
    dir.add("[pipeline.main]\nfrom = [\"trommel\"]\nthrough = []\n");
    let mut host = dir.run();
    let status = |request: &str| {
        let head = host.ask(request).0;
        head.split(' ').nth(1).unwrap_or_default().to_owned()
    };
    assert_eq!(status("GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n"), "200");
    assert_eq!(status("HEAD /metrics HTTP/1.1\r\nhost: x\r\n\r\n"), "200");
    for path in ["/metrics", "/healthz", "/readyz", "/api/v1/plugins"] {
        let request = format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n");
        assert_eq!(status(&request), "405", "{path}");
    }
    assert_eq!(status("GET /../../etc/passwd HTTP/1.1\r\nhost: x\r\n\r\n"), "404");
    let long = "x".repeat(20_000);
    assert_eq!(status(&format!("GET / HTTP/1.1\r\nhost: x\r\nx: {long}\r\n\r\n")), "431");
    assert_eq!(status("\0\0\r\n\r\n"), "400");
    assert_eq!(host.get("/healthz"), "ok\n");
    host.stop();
}
