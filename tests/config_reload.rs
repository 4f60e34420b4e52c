//! The configuration changed while events flow: what did not change keeps its connection, and nothing is
//! lost, repeated or out of order.

use std::fs;

use serde_json::Value;

use crate::support::{Collector, Host, HostDir, Reply, Sim, count_lines, ids, wait_until};

const MAIN: &str = "[pipeline.main]\nfrom = [\"hq\"]\nto = [\"archive\"]\n\
                    [sink.archive]\nkind = \"file\"\npath = \"events.jsonl\"\n";
/// Reloads are told to this file.
const NEWS: &str = "[pipeline.news]\nfrom = [\"trommel\"]\nthrough = []\nto = [\"told\"]\n\
                    [sink.told]\nkind = \"file\"\npath = \"told.jsonl\"\n";
const RATE: &[&str] = &["--rate", "2000", "--streams", "ap-events,wids,audit-trail-events"];

impl Host {
    /// Writes the configuration as it is by now, and waits until the host has taken it over.
    pub fn reconfigure(&self) {
        let count = || self.reloads("applied");
        let before = count();
        self.dir.write_config();
        wait_until("the configuration to take effect", || count() > before);
    }

    /// Has the host read its configuration again.
    fn hangup(&self) {
        self.running.signal(rustix::process::Signal::HUP);
    }

    fn reloads(&self, result: &str) -> u64 {
        self.page().value("trommel_config_reloads_total", &[("result", result)]) as u64
    }

    fn connections(&self, stream: &str) -> Option<u64> {
        let labels = [("source", "hq"), ("stream", stream)];
        self.page().find("trommel_stream_connections_total", &labels).map(|n| n as u64)
    }

    /// What `NEWS` was told of an action.
    fn told(&self, action: &str) -> Vec<Value> {
        let mut told = self.lines("told.jsonl");
        told.retain(|event| event["data"]["action"] == action);
        told
    }

    fn flows(&self, file: &str) {
        let path = self.path(file);
        let now = count_lines(&path);
        wait_until(&format!("200 more events in {file}"), || count_lines(&path) >= now + 200);
    }
}

/// Puts a directory in the place of a sink's file, which then takes nothing. What was in the file is in
/// the other from then on.
fn block(host: &Host, file: &str, moved: &str) {
    let (file, moved) = (host.path(file), host.path(moved));
    fs::create_dir(&moved).unwrap();
    let exchange = rustix::fs::RenameFlags::EXCHANGE;
    rustix::fs::renameat_with(rustix::fs::CWD, &file, rustix::fs::CWD, &moved, exchange).unwrap();
}

/// Waits until a pipeline waits for its sink, with more than a batch behind it.
fn is_stuck(host: &Host, pipeline: &str) {
    wait_until("the pipeline to wait for its sink", || {
        let queue = host.page().value("trommel_queue_events", &[("pipeline", pipeline)]);
        host.get("/readyz").contains("waits for sink") && queue > 2_000.0
    });
}

/// Each event that was sent of a stream, in the order of sending.
fn sent(sim: &mut Sim, stream: &str) -> Vec<String> {
    let ledger = sim.stop();
    let of_stream = ledger.iter().filter(|line| line.stream == stream && line.sent > 0);
    of_stream.map(|line| line.id.clone()).collect()
}

/// Stops the simulator, then the host, and holds what is in the files against the ledger.
fn all_arrived_once_in_order(sim: &mut Sim, host: &mut Host, files: &[&str], stream: &str) {
    let sent = sent(sim, stream);
    let arrived = |host: &Host| {
        let lines: Vec<Value> = files.iter().flat_map(|file| host.lines(file)).collect();
        ids(&lines, stream)
    };
    wait_until("all that was sent", || arrived(host).len() >= sent.len());
    let tally = host.stop();
    assert_eq!((tally.in_flight, tally.dead_lettered), (0, 0));
    assert!(arrived(host) == sent, "{stream}: not once and in order");
}

#[test]
fn streams_come_and_go_and_the_others_keep_their_connection() {
    let mut sim = Sim::start(RATE);
    let mut host = HostDir::new(&sim, &["ap-events"], MAIN).run();
    host.flows("events.jsonl");
    host.dir.streams("hq", "[\"ap-events\", \"wids\"]");
    host.reconfigure();
    wait_until("the stream that was added", || host.connections("wids") == Some(1));
    wait_until("its events", || !host.ids("events.jsonl", "wids").is_empty());
    host.dir.streams("hq", "[\"audit-trail-events\", \"ap-events\"]");
    host.reconfigure();
    wait_until("the third", || host.connections("audit-trail-events") == Some(1));
    assert_eq!(host.connections("wids"), None, "what was removed is not shown");
    host.dir.streams("hq", "[\"ap-events\"]");
    host.reconfigure();
    host.flows("events.jsonl");
    assert_eq!(host.connections("ap-events"), Some(1));
    assert!(host.get("/healthz").contains("ok"));
    all_arrived_once_in_order(&mut sim, &mut host, &["events.jsonl"], "ap-events");
}

#[test]
fn only_streams_of_a_source_that_changed_reconnect() {
    let mut sim = Sim::start(RATE);
    let mut dir = HostDir::empty();
    dir.source("lab", &sim, &["wids"]);
    dir.add("max_frame = \"1MiB\"\n");
    dir.source("hq", &sim, &["ap-events"]);
    dir.add("[pipeline.main]\nfrom = [\"hq\", \"lab\"]\nto = [\"archive\"]\n");
    dir.add("[sink.archive]\nkind = \"file\"\npath = \"events.jsonl\"\n");
    let mut host = dir.run();
    let lab = |host: &Host| {
        let labels = [("source", "lab"), ("stream", "wids")];
        host.page().find("trommel_stream_connections_total", &labels)
    };
    wait_until("both streams", || {
        lab(&host) == Some(1.0) && host.connections("ap-events") == Some(1)
    });
    host.dir.replace("max_frame = \"1MiB\"", "max_frame = \"2MiB\"");
    host.reconfigure();
    wait_until("another connection, counted on", || lab(&host) == Some(2.0));
    host.flows("events.jsonl");
    assert_eq!(host.connections("ap-events"), Some(1));
    host.wait_for_log("source.lab: changed, reconnects");
    host.wait_for_log("gap: the configuration changed");
    let gaps = |source, stream| {
        let labels = [("source", source), ("stream", stream)];
        host.page().value("trommel_stream_gaps_total", &labels) as u64
    };
    assert_eq!((gaps("lab", "wids"), gaps("hq", "ap-events")), (1, 0));
    all_arrived_once_in_order(&mut sim, &mut host, &["events.jsonl"], "ap-events");
}

#[test]
fn a_stream_that_comes_back_waits_for_the_end_of_the_one_before() {
    let mut sim = Sim::start(&["--rate", "5000", "--streams", "ap-events,wids"]);
    let mut host = HostDir::new(&sim, &["ap-events", "wids"], MAIN);
    host.replace("to = [\"archive\"]", "through = [\"10-late\"]\nto = [\"archive\"]");
    let mut host = host.run();
    let waits = |host: &Host| {
        let page = host.page();
        let main = [("pipeline", "main")];
        let room = page.value("trommel_queue_events_limit", &main);
        page.value("trommel_queue_events", &main) > room * 0.99
    };
    // Held for want of a plugin: connections wait for room, with more behind it.
    wait_until("a full queue", || waits(&host) && host.connections("ap-events") == Some(1));
    host.dir.streams("hq", "[\"wids\"]");
    host.reconfigure();
    host.dir.streams("hq", "[\"wids\", \"ap-events\"]");
    host.reconfigure();
    host.dir.plugin("10-late", "filter", "");
    wait_until("the stream that came back", || host.connections("ap-events") == Some(1));
    all_arrived_once_in_order(&mut sim, &mut host, &["events.jsonl"], "ap-events");
}

#[test]
fn pipelines_and_sinks_come_change_and_go_while_the_source_stays() {
    let mut sim = Sim::start(RATE);
    let mut host = HostDir::new(&sim, &["ap-events"], &format!("{MAIN}{NEWS}"));
    host.plugin("10-stamp", "misbehave-transform", "[config]\nmode = \"stamp\"\nn = 7\n");
    host.replace("from = [\"hq\"]\nto", "from = [\"hq\"]\nthrough = []\nto");
    let mut host = host.run_with(|command| {
        command.arg("--no-watch");
    });
    host.flows("events.jsonl");
    // A file that changed is not looked at, a signal is obeyed.
    host.dir.add("[pipeline.second]\nfrom = [\"hq\"]\nthrough = []\nto = [\"other\"]\n");
    host.dir.add("[sink.other]\nkind = \"file\"\npath = \"other.jsonl\"\n");
    host.dir.write_config();
    host.flows("events.jsonl");
    assert_eq!(host.reloads("applied"), 0);
    host.hangup();
    wait_until("the second pipeline", || count_lines(&host.path("other.jsonl")) > 200);
    wait_until("the change to be counted", || host.reloads("applied") == 1);

    // Through a plugin.
    host.dir.replace(
        "from = [\"hq\"]\nthrough = []\nto = [\"archive\"]",
        "from = [\"hq\"]\nto = [\"archive\"]",
    );
    host.dir.write_config();
    host.hangup();
    wait_until("stamped events", || {
        host.lines("events.jsonl").last().is_some_and(|event| event["data"]["stamp"] == 7)
    });
    // Another name, another file: what was queued comes first.
    host.dir.replace("[pipeline.main]", "[pipeline.renamed]");
    host.dir.write_config();
    host.hangup();
    wait_until("the pipeline by its new name", || {
        host.page().find("trommel_delivered_total", &[("pipeline", "renamed")]) > Some(200.0)
    });
    wait_until("the old one to end", || {
        host.page().find("trommel_delivered_total", &[("pipeline", "main")]).is_none()
    });
    // The same file, put aside from now on.
    host.dir.replace("path = \"events.jsonl\"", "path = \"events.jsonl\"\nrotate_size = \"1GiB\"");
    host.dir.write_config();
    host.hangup();
    host.wait_for_log("sink.archive: changed, opened anew");
    host.flows("events.jsonl");
    // And without the second.
    host.dir.replace("[pipeline.second]\nfrom = [\"hq\"]\nthrough = []\nto = [\"other\"]\n", "");
    host.dir.replace("[sink.other]\nkind = \"file\"\npath = \"other.jsonl\"\n", "");
    host.dir.write_config();
    host.hangup();
    host.wait_for_log("pipeline.second removed");
    host.flows("events.jsonl");
    assert!(host.get("/healthz").contains("ok"));
    assert_eq!(host.connections("ap-events"), Some(1));
    wait_until("the changes to be told", || host.told("config").len() >= 5);
    let told = host.told("config");
    assert!(told.len() == 5, "{told:?}");
    assert_eq!(
        (&told[0]["type"], &told[0]["subject"]),
        (&"trommel.reload".into(), &"config".into())
    );
    assert_eq!(told[1]["data"]["changes"], serde_json::json!(["pipeline.main: through changed"]));
    all_arrived_once_in_order(&mut sim, &mut host, &["events.jsonl"], "ap-events");
    // What the second pipeline got is a run of its own without a hole.
    let second = host.ids("other.jsonl", "ap-events");
    let all = host.ids("events.jsonl", "ap-events");
    let start = all.iter().position(|id| *id == second[0]).unwrap();
    assert!(all[start..].starts_with(&second), "the second pipeline has a hole");
}

#[test]
fn a_wrong_configuration_changes_nothing_and_says_why() {
    let mut sim = Sim::start(RATE);
    let mut host = HostDir::new(&sim, &["ap-events"], &format!("{MAIN}{NEWS}"));
    fs::write(host.path("in-the-way"), "a file").unwrap();
    host.add("# end\n");
    let mut host = host.run();
    host.flows("events.jsonl");
    let wrong = [
        ("# end", "[sink.x]\nkind = \"fil\"\n# end", "\"fil\" is not a kind of sink"),
        ("kind = \"fil\"", "kind = \"file\"\npat = \"x\"", "did you mean \"path\"?"),
        // What cannot be told from the file alone: nothing of the change takes effect.
        ("pat = \"x\"", "path = \"in-the-way/x\"", "cannot open"),
    ];
    for (number, (from, to, says)) in wrong.into_iter().enumerate() {
        host.dir.replace(from, to);
        host.dir.write_config();
        wait_until(&format!("{says:?} to be told"), || {
            host.reloads("failed") == number as u64 + 1 && host.running.log().contains(says)
        });
        host.flows("events.jsonl");
    }
    fs::write(host.path("trommel.toml"), "").unwrap();
    wait_until("an empty file to be refused", || host.reloads("failed") == 4);
    fs::remove_file(host.path("trommel.toml")).unwrap();
    host.hangup();
    wait_until("no file to be told", || host.reloads("failed") == 5);
    // Mended, it is as it was: nothing is new.
    host.dir.replace("[sink.x]\nkind = \"file\"\npath = \"in-the-way/x\"\n", "");
    host.dir.write_config();
    wait_until("the old one to be read", || host.reloads("unchanged") == 1);
    // What cannot change is named, and the rest is done.
    host.dir.replace(
        "listen = \"127.0.0.1:0\"\n",
        "listen = \"127.0.0.1:0\"\ndata_dir = \"elsewhere\"\n",
    );
    host.dir.streams("hq", "[\"ap-events\", \"wids\"]");
    host.reconfigure();
    host.wait_for_log("data_dir stays as it was until a restart");
    wait_until("the stream that was added", || host.connections("wids") == Some(1));
    assert!(!host.path("elsewhere").exists());
    assert_eq!(host.connections("ap-events"), Some(1));
    wait_until("the failures to be told", || host.told("config-failed").len() >= 5);
    let told = host.told("config-failed");
    let failed: Vec<_> =
        told.iter().map(|event| event["data"]["error"].as_str().unwrap()).collect();
    assert!(failed.len() == 5 && failed[0].contains("is not a kind of sink"), "{failed:?}");
    all_arrived_once_in_order(&mut sim, &mut host, &["events.jsonl"], "ap-events");
}

#[test]
fn what_plugins_remember_outlives_a_change_of_sinks_and_of_plugins() {
    let mut sim = Sim::start(&["--rate", "500", "--streams", "ap-events"]);
    let mut host = HostDir::new(&sim, &["ap-events"], MAIN);
    host.replace("to = [\"archive\"]", "through = [\"10-count\"]\nto = [\"archive\"]");
    host.plugin("10-count", "misbehave-alert", "[config]\ncount = true\n");
    host.plugin("20-other", "filter", "");
    let mut host = host.run();
    host.flows("events.jsonl");
    host.dir.replace("to = [\"archive\"]", "to = [\"archive\", \"more\"]");
    host.dir.add("[sink.more]\nkind = \"file\"\npath = \"more.jsonl\"\n");
    host.reconfigure();
    host.flows("more.jsonl");
    host.dir.replace("[\"10-count\"]", "[\"20-other\", \"10-count\"]");
    host.reconfigure();
    // However long the changes took, there were events until now.
    let sent: u64 = sim.stop().iter().map(|line| line.sent).sum();
    wait_until("all events", || host.settled("main") >= sent);
    // Then it tells what it has counted.
    host.dir.plugin("10-count", "misbehave-alert", "[config]\nmode = \"tick-raise\"\n");
    wait_until("the count", || !host.lines("data/alerts.jsonl").is_empty());
    let summary = host.lines("data/alerts.jsonl")[0]["data"]["summary"].to_string();
    assert!(summary.contains(&format!("count {sent}")), "{summary}");
    host.stop();
}

#[test]
fn a_pipeline_that_waits_goes_on_with_its_queue_once_it_is_told_to() {
    let mut sim = Sim::start(RATE);
    let mut host = HostDir::new(&sim, &["ap-events"], MAIN);
    host.replace("to = [\"archive\"]", "through = [\"not-there\"]\nto = [\"archive\"]");
    host.replace("path = \"events.jsonl\"", "path = \"/dev/full\"");
    let mut host = host.run();
    // First it is held for want of a plugin, then its sink does not take anything.
    wait_until("a full queue", || {
        host.page().value("trommel_queue_events", &[("pipeline", "main")]) > 2_000.0
    });
    host.dir.replace("[\"not-there\"]", "[]");
    host.reconfigure();
    host.wait_for_log("sink fails; its pipeline waits");
    host.dir.replace("path = \"/dev/full\"", "path = \"events.jsonl\"");
    host.reconfigure();
    host.flows("events.jsonl");
    assert_eq!(host.connections("ap-events"), Some(1));
    all_arrived_once_in_order(&mut sim, &mut host, &["events.jsonl"], "ap-events");
}

#[test]
fn each_pipeline_of_several_new_names_waits_for_the_one_before() {
    let mut sim = Sim::start(RATE);
    let mut host = HostDir::new(&sim, &["ap-events"], MAIN).run();
    host.flows("events.jsonl");
    block(&host, "events.jsonl", "moved.jsonl");
    is_stuck(&host, "main");
    for (from, to) in [("main", "second"), ("second", "third")] {
        host.dir.replace(&format!("[pipeline.{from}]"), &format!("[pipeline.{to}]"));
        host.reconfigure();
        // For the one before, and those before that.
        let waits = format!("pipeline \"{to}\" is held: it waits for pipeline ");
        wait_until(&waits, || host.get("/readyz").contains(&waits));
    }
    fs::remove_dir(host.path("events.jsonl")).unwrap();
    wait_until("the last one to have its turn", || host.settled("third") > 200);
    all_arrived_once_in_order(&mut sim, &mut host, &["moved.jsonl", "events.jsonl"], "ap-events");
}

#[test]
fn a_file_that_is_still_written_to_is_not_opened_a_second_time() {
    let mut sim = Sim::start(RATE);
    let (pipeline, sink) = MAIN.split_once("[sink").unwrap();
    let (pipeline, sink) =
        (pipeline.replace("\"archive\"", "\"archive\", \"slow\""), format!("[sink{sink}"));
    let slow = "[sink.slow]\nkind = \"file\"\npath = \"slow.jsonl\"\n";
    let idle =
        "[pipeline.idle]\nfrom = [\"hq\"]\nto = [\"nowhere\"]\n[sink.nowhere]\nkind = \"null\"\n";
    let before = format!("{pipeline}{sink}");
    let mut host = HostDir::new(&sim, &["ap-events"], &format!("{before}{slow}")).run();
    host.flows("slow.jsonl");
    block(&host, "slow.jsonl", "slow-moved.jsonl");
    is_stuck(&host, "main");
    // The pipeline and the file go, while much is queued for them; then the file comes back.
    host.dir.replace(&before, idle);
    host.reconfigure();
    let again = format!(
        "[pipeline.again]\nfrom = [\"hq\"]\nto = [\"file\"]\n{}",
        sink.replace("archive", "file")
    );
    host.dir.replace(idle, &again);
    host.reconfigure();
    wait_until("the new one to wait", || host.get("/readyz").contains("\"main\" to drain"));
    fs::remove_dir(host.path("slow.jsonl")).unwrap();
    wait_until("the new one to have its turn", || host.settled("again") > 200);
    let sent = sent(&mut sim, "ap-events");
    host.stop();
    let lines = |file: &str| host.ids(file, "ap-events");
    let (first, all) =
        ([lines("slow-moved.jsonl"), lines("slow.jsonl")].concat(), lines("events.jsonl"));
    assert!(all.starts_with(&first), "what the first pipeline had is there, and comes first");
    assert!(all.len() > first.len() + 200);
    // In the order of sending, none of them twice.
    let mut rest = sent.iter();
    assert!(all.iter().all(|id| rest.any(|sent| sent == id)), "not once and in order");
}

#[test]
fn sinks_of_one_server_keep_their_own_settings() {
    let sim = Sim::start(RATE);
    let collector = Collector::start(|_| Reply::status(200));
    let sink = |name: &str| {
        let url = format!("kind = \"http\"\nurl = \"{}/in\"\n", collector.url);
        format!("[sink.{name}]\n{url}headers = {{ X-Tenant = \"{name}\" }}\n")
    };
    let pipeline = |to: &str| format!("[pipeline.main]\nfrom = [\"hq\"]\nto = {to}\n");
    let posted = |name: &str| {
        let posted = collector.posted();
        posted.iter().filter(|post| post.headers["x-tenant"] == name).count()
    };
    let configs = [
        pipeline("[\"a\"]") + &sink("a"),
        pipeline("[\"a\", \"b\"]") + &sink("a") + &sink("b"),
        pipeline("[\"c\", \"d\"]") + &sink("c") + &sink("d"),
    ];
    let mut host = HostDir::new(&sim, &["ap-events"], &configs[0]).run();
    wait_until("a post", || posted("a") > 0);
    for (before, names) in [(0, ["a", "b"]), (1, ["c", "d"])] {
        host.dir.replace(&configs[before], &configs[before + 1]);
        host.reconfigure();
        let counts = names.map(posted);
        wait_until("posts of both", || (0..2).all(|n| posted(names[n]) > counts[n] + 2));
    }
    assert_eq!(host.stop().in_flight, 0);
}

#[test]
fn a_quiet_file_follows_its_settings_at_once() {
    let sim = Sim::start(&["--rate", "max", "--count", "50", "--streams", "ap-events"]);
    let mut host = HostDir::new(&sim, &["ap-events"], MAIN).run();
    wait_until("all events", || host.settled("main") == 50);
    // Nothing more comes.
    host.dir.replace("path = \"events.jsonl\"", "path = \"events.jsonl\"\nrotate_age = \"1s\"");
    host.reconfigure();
    wait_until("it to be put aside", || count_lines(&host.path("events.jsonl")) == 0);
    let names = fs::read_dir(host.path("")).unwrap().map(|entry| entry.unwrap().file_name());
    let names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
    let aside: Vec<_> = names.iter().filter(|name| name.starts_with("events.2")).collect();
    assert_eq!(aside.iter().map(|name| count_lines(&host.path(name))).sum::<usize>(), 50);
    host.stop();
}

#[test]
fn what_drains_does_not_wait_for_a_sink_that_was_removed() {
    let mut sim = Sim::start(RATE);
    let slow = "[sink.slow]\nkind = \"file\"\npath = \"slow.jsonl\"\n";
    let mut host = HostDir::new(&sim, &["ap-events"], &format!("{MAIN}{slow}"));
    host.replace("to = [\"archive\"]", "to = [\"slow\", \"archive\"]");
    let mut host = host.run();
    host.flows("slow.jsonl");
    block(&host, "slow.jsonl", "slow-moved.jsonl");
    is_stuck(&host, "main");
    host.dir.replace("to = [\"slow\", \"archive\"]", "to = [\"archive\"]");
    host.dir.replace(slow, "");
    host.dir.replace("[pipeline.main]", "[pipeline.again]");
    host.reconfigure();
    host.wait_for_log("a batch that waited for it goes on without it");
    wait_until("the new one to have its turn", || host.settled("again") > 200);
    all_arrived_once_in_order(&mut sim, &mut host, &["events.jsonl"], "ap-events");
}
