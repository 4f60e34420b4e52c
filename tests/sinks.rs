//! Events into sinks: servers that take them, refuse them, hang or answer half, and which sink gets
//! which events.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::support::{
    Collector, Host, HostDir, Posted, Reply, Sim, TROMMEL, count_lines, json_lines, wait_until,
};

/// A host that replays events into the sink `siem` and the file `events.jsonl`.
fn replay(events: usize, siem: &str) -> (HostDir, String) {
    let mut dir = HostDir::empty();
    let lines = dir.replay("ap-events", events);
    assert_eq!(lines.lines().count(), events);
    dir.add("[pipeline.main]\nfrom = [\"hq\"]\nto = [\"siem\", \"archive\"]\n");
    dir.add("[sink.archive]\nkind = \"file\"\npath = \"events.jsonl\"\n");
    dir.add(&format!("[sink.siem]\nkind = \"http\"\n{siem}\n"));
    (dir, lines)
}

fn ndjson(collector: &Collector, more: &str) -> String {
    format!("url = \"{}/in\"\nformat = \"ndjson\"\n{more}", collector.url)
}

fn archive(host: &Host) -> String {
    std::fs::read_to_string(host.path("events.jsonl")).unwrap()
}

fn letters(host: &Host) -> Vec<serde_json::Value> {
    json_lines(&host.path("data/dead-letters.jsonl"))
}

fn keys(posted: &[Posted]) -> Vec<&str> {
    posted.iter().map(|post| &*post.headers["idempotency-key"]).collect()
}

fn id_of(line: &str) -> String {
    serde_json::from_str::<serde_json::Value>(line).unwrap()["id"].as_str().unwrap().to_owned()
}

/// The first `bad` replies, then yes.
fn at_first(mut bad: Vec<Reply>) -> Collector {
    bad.reverse();
    Collector::start(move |_| bad.pop().unwrap_or(Reply::status(200)))
}

#[test]
fn bodies_have_the_form_that_was_asked_for() {
    let collector = Collector::start(|_| Reply::status(200));
    let (mut dir, lines) = replay(700, &ndjson(&collector, "gzip = true\nmax_events = 300"));
    std::fs::write(dir.path("secret"), "Bearer s3cr3t-value\n").unwrap();
    dir.replace("[\"siem\", ", "[\"siem\", \"plain\", ");
    dir.add(&format!(
        "[sink.plain]\nkind = \"http\"\nurl = \"{}/plain?x=1\"\nmax_bytes = \"16KiB\"\n\
         headers = {{ Authorization = {{ file = \"secret\" }}, X-Tenant = \"lab\" }}\n",
        collector.url
    ));
    let mut host = dir.run();
    let tally = host.end();
    assert_eq!((tally.received, tally.delivered), (700, 700));
    let (zipped, plain): (Vec<_>, Vec<_>) =
        collector.posted().into_iter().partition(|post| post.line == "POST /in HTTP/1.1");
    let mut text = String::new();
    for post in &zipped {
        assert_eq!(post.headers["content-type"], "application/x-ndjson");
        assert_eq!(post.headers["content-encoding"], "gzip");
        assert_eq!(post.headers["content-length"], post.body.len().to_string());
        let start = text.len();
        flate2::read::GzDecoder::new(&*post.body).read_to_string(&mut text).unwrap();
        assert!(text[start..].lines().count() <= 300);
    }
    assert_eq!(text, lines);
    let mut lines = lines.lines();
    for post in &plain {
        assert_eq!(post.line, "POST /plain?x=1 HTTP/1.1");
        assert_eq!(post.headers["content-type"], "application/cloudevents-batch+json");
        assert_eq!(post.headers["authorization"], "Bearer s3cr3t-value");
        assert_eq!(post.headers["x-tenant"], "lab");
        assert_eq!(post.headers["content-length"], post.body.len().to_string());
        assert!(!post.headers.contains_key("content-encoding"));
        assert!(!post.headers.contains_key("transfer-encoding"));
        assert!(post.body.len() <= (16 << 10) + 1);
        let batch: Vec<serde_json::Value> = serde_json::from_slice(&post.body).unwrap();
        let those: Vec<_> = lines.by_ref().take(batch.len()).collect();
        assert_eq!(post.body, format!("[{}]", those.join(",")).as_bytes());
    }
    assert_eq!(lines.next(), None, "each event once");
    let posted = collector.posted();
    assert_eq!(BTreeSet::from_iter(keys(&posted)).len(), posted.len(), "a key for each request");
}

/// Posts 200 events in four requests; the first one meets these replies before it is taken.
fn delivers_after(bad: Vec<Reply>, settings: &str) {
    let tries = bad.len() + 1;
    let collector = at_first(bad);
    let settings = format!("{settings}max_events = 50");
    let (dir, lines) = replay(200, &ndjson(&collector, &settings));
    let mut host = dir.run();
    let tally = host.end();
    assert_eq!((tally.delivered, tally.dead_lettered), (200, 0));
    assert_eq!(collector.taken_text(), lines);
    assert_eq!(archive(&host), lines);
    let posted = collector.posted();
    assert_eq!(posted.len(), tries + 3, "only what was not taken is sent again");
    assert_eq!(BTreeSet::from_iter(keys(&posted[..tries])).len(), 1, "one request, one key");
    assert_eq!(BTreeSet::from_iter(keys(&posted)).len(), 4);
    let log = host.running.log();
    assert_eq!(log.matches("sink fails; its pipeline waits").count(), 1, "told once: {log}");
    assert!(log.contains("sink works again"), "{log}");
}

#[test]
fn after_failures_each_event_is_delivered_once_and_in_order() {
    delivers_after([500, 408, 425, 502].map(Reply::status).to_vec(), "");
}

#[test]
fn after_half_answers_each_event_is_delivered_once_and_in_order() {
    let half_header = Reply::status(200).half_header();
    let half_body = Reply::status(200).body("tak").half();
    let half_refusal = Reply::status(429).body("too ma").half();
    delivers_after(vec![Reply::nothing(), half_header, half_body, half_refusal], "");
}

#[test]
fn after_no_answer_each_event_is_delivered_once_and_in_order() {
    // Long enough for answers that do come.
    delivers_after(vec![Reply::hang(), Reply::hang()], "timeout = \"5s\"\n");
}

#[test]
fn who_asks_for_time_gets_it() {
    let (noted, times) = mpsc::channel();
    let mut asked = false;
    let mut others = 0;
    let note = move || noted.send(Instant::now()).unwrap();
    let collector = Collector::start(move |post| match post.line.contains("/asked") {
        true if !std::mem::replace(&mut asked, true) => {
            note();
            Reply::status(429).header("retry-after", "8")
        }
        true => {
            note();
            Reply::status(200)
        }
        false if others < 3 => {
            others += 1;
            Reply::status(503)
        }
        _ => Reply::status(200),
    });
    let mut dir = HostDir::empty();
    dir.replay("ap-events", 10);
    for name in ["asked", "other"] {
        let url = format!("{}/{name}", collector.url);
        dir.add(&format!(
            "[pipeline.{name}]\nfrom = [\"hq\"]\nto = [\"{name}\"]\n\
             [sink.{name}]\nkind = \"http\"\nurl = \"{url}\"\n"
        ));
    }
    assert_eq!(dir.run().end().delivered, 20);
    let posted = collector.posted();
    assert_eq!(posted.len(), 6);
    let last = posted.last().unwrap();
    assert!(last.line.contains("/asked"), "not before all tries of the other: {posted:#?}");
    let times: Vec<_> = times.try_iter().collect();
    let [first, second] = times[..] else { panic!("{posted:#?}") };
    assert!(second - first >= Duration::from_secs(8), "{:?}", second - first);
}

#[test]
fn a_receiver_that_is_not_there_yet_is_waited_for() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // Bound, so that nobody else gets the port, and not listening.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let siem = format!("url = \"http://{}\"\nformat = \"ndjson\"", socket.local_addr().unwrap());
    let (dir, lines) = replay(100, &siem);
    let mut host = dir.run();
    host.wait_for_log("sink fails; its pipeline waits");
    assert!(host.running.log().contains("refused"), "{}", host.running.log());
    let listener = runtime.block_on(async { socket.listen(16).unwrap().into_std().unwrap() });
    listener.set_nonblocking(false).unwrap();
    let collector = Collector::on(listener, |_| Reply::status(200));
    assert_eq!(host.end().delivered, 100);
    assert_eq!(collector.taken_text(), lines);
}

#[test]
fn an_event_that_is_refused_is_a_dead_letter_and_the_others_arrive() {
    let mut dir = HostDir::empty();
    let lines = dir.replay("ap-events", 300);
    let ids: Vec<String> = lines.lines().map(id_of).collect();
    let (bad, large) = (ids[17].clone(), ids[230].clone());
    let collector = Collector::start(move |post| {
        let text = String::from_utf8_lossy(&post.body);
        if text.contains(&bad) {
            Reply::status(422).body("no\nfield 'x', sent with s3cr3t-value")
        } else if text.contains(&large) {
            Reply::status(413)
        } else {
            Reply::status(200)
        }
    });
    std::fs::write(dir.path("secret"), "Bearer s3cr3t-value").unwrap();
    dir.add("[pipeline.main]\nfrom = [\"hq\"]\nto = [\"siem\", \"archive\"]\n");
    dir.add("[sink.archive]\nkind = \"file\"\npath = \"events.jsonl\"\n");
    dir.add("[sink.siem]\nkind = \"http\"\nheaders = { Authorization = { file = \"secret\" } }\n");
    dir.add(&ndjson(&collector, ""));
    let mut host = dir.run();
    let tally = host.end();
    assert_eq!((tally.delivered, tally.dead_lettered), (298, 2));
    let expected: Vec<_> =
        lines.lines().enumerate().filter(|(n, _)| ![17, 230].contains(n)).collect();
    let taken = collector.taken_text();
    assert_eq!(
        taken.lines().collect::<Vec<_>>(),
        expected.iter().map(|(_, l)| *l).collect::<Vec<_>>()
    );
    assert_eq!(archive(&host), lines, "the other sink gets all");
    let letters = letters(&host);
    let told: Vec<_> =
        letters.iter().map(|letter| letter["event"]["id"].as_str().unwrap()).collect();
    assert_eq!(told, [&ids[17], &ids[230]]);
    for letter in &letters {
        assert_eq!((&letter["reason"], &letter["pipeline"]), (&"refused".into(), &"main".into()));
        assert!(letter["plugin"].is_null() && letter["raw"].is_string(), "{letter}");
    }
    assert_eq!(letters[0]["detail"], "sink.siem: status 422: no field 'x', sent with ***");
    assert_eq!(letters[1]["detail"], "sink.siem: status 413");
}

#[test]
fn requests_become_as_small_as_the_receiver_wants_them() {
    const MOST: usize = 20_000;
    let collector = Collector::start(|post| match post.body.len() {
        0..=MOST => Reply::status(200),
        _ => Reply::status(413),
    });
    let (dir, lines) = replay(2_000, &ndjson(&collector, ""));
    let mut host = dir.run();
    assert_eq!(host.end().delivered, 2_000);
    assert_eq!(collector.taken_text(), lines);
    let too_large = collector.posted().iter().filter(|post| post.status == 413).count();
    assert!(too_large < 10, "the size is learnt, not found anew each time: {too_large}");
    assert!(host.running.log().contains("smaller from now on"), "{}", host.running.log());
}

#[test]
fn a_wrong_setting_costs_no_event_and_is_told_with_what_to_do() {
    let is_mended = Arc::new(AtomicBool::new(false));
    let mended = Arc::clone(&is_mended);
    let mut statuses = [401, 403, 404, 301, 415, 409].into_iter().cycle();
    let collector = Collector::start(move |_| match mended.load(Ordering::SeqCst) {
        true => Reply::status(200),
        false => Reply::status(statuses.next().unwrap()).body("go away"),
    });
    let (dir, lines) = replay(500, &ndjson(&collector, ""));
    let mut host = dir.run();
    host.wait_for_log("hint: ");
    let log = host.running.log();
    assert!(log.contains("status 401: go away") && log.contains("headers.Authorization"), "{log}");
    wait_until("a second try", || collector.posted().len() >= 2);
    is_mended.store(true, Ordering::SeqCst);
    let tally = host.end();
    assert_eq!((tally.delivered, tally.dead_lettered), (500, 0));
    assert_eq!(collector.taken_text(), lines);
    let log = host.running.log();
    assert_eq!(log.matches("sink fails; its pipeline waits").count(), 1, "told once: {log}");
}

#[test]
fn redirects_are_not_followed() {
    let elsewhere = Collector::start(|_| Reply::status(200));
    let to = elsewhere.url.clone();
    let collector = Collector::start(move |_| Reply::status(307).header("location", &to));
    let (dir, _) = replay(10, &ndjson(&collector, ""));
    let mut host = dir.run();
    host.wait_for_log("redirects are not followed");
    assert!(host.running.log().contains(&elsewhere.url), "{}", host.running.log());
    assert_eq!(host.stop().in_flight, 10);
    assert!(elsewhere.posted().is_empty());
}

#[test]
fn a_receiver_that_hangs_holds_its_own_pipelines_and_no_stop() {
    let collector = Collector::start(|_| Reply::hang());
    let mut dir = HostDir::empty();
    let lines = dir.replay("ap-events", 1_000);
    dir.add("[pipeline.free]\nfrom = [\"hq\"]\nto = [\"archive\"]\n");
    dir.add("[sink.archive]\nkind = \"file\"\npath = \"events.jsonl\"\n");
    for name in ["one", "two"] {
        dir.add(&format!("[pipeline.{name}]\nfrom = [\"hq\"]\nto = [\"siem\"]\n"));
    }
    dir.add("[sink.siem]\nkind = \"http\"\ntimeout = \"10min\"\n");
    dir.add(&ndjson(&collector, ""));
    let mut host = dir.run();
    wait_until("1,000 events", || count_lines(&host.path("events.jsonl")) == 1_000);
    wait_until("a request", || !collector.posted().is_empty());
    // Within ten seconds, as `stop` asserts.
    let tally = host.stop();
    assert_eq!((tally.received, tally.delivered, tally.in_flight), (3_000, 1_000, 2_000));
    assert_eq!(archive(&host), lines);
    assert_eq!(collector.posted().len(), 1, "the sink is one pipeline's at a time");
}

#[test]
fn an_endless_answer_is_not_read_to_its_end() {
    let collector = Collector::start(|_| Reply::status(200).body(vec![b'x'; 32 << 20]));
    let (dir, lines) = replay(100, &ndjson(&collector, ""));
    assert_eq!(dir.run().end().delivered, 100);
    assert_eq!(collector.taken_text(), lines);
}

#[test]
fn the_same_events_have_the_same_key_in_another_run() {
    let is_up = Arc::new(AtomicBool::new(false));
    let up = Arc::clone(&is_up);
    let collector =
        Collector::start(move |_| Reply::status(if up.load(Ordering::SeqCst) { 200 } else { 503 }));
    let (dir, lines) = replay(200, &ndjson(&collector, "max_events = 50"));
    let mut host = dir.without_journal().run();
    wait_until("a second try", || collector.posted().len() >= 2);
    assert_eq!(host.stop().in_flight, 200);
    is_up.store(true, Ordering::SeqCst);
    let before = collector.posted().len();
    let mut host = host.dir.run();
    assert_eq!(host.end().delivered, 200);
    let posted = collector.posted();
    let all = keys(&posted);
    assert!(all[..before].iter().all(|key| *key == all[before]), "{all:?}");
    assert_eq!(BTreeSet::from_iter(&all).len(), 4);
    assert_eq!(collector.taken_text(), lines);
}

#[test]
fn no_secret_is_told_however_much_is_logged() {
    const SECRETS: [&str; 2] = ["correct-horse-battery", "hook-in-the-path"];
    let collector = Collector::start(|post| {
        let said = format!("you said {:?}", post.headers);
        if post.body.len() > 1_000 { Reply::status(400) } else { Reply::status(403) }.body(said)
    });
    let (dir, _) = replay(3, "url = { file = \"url\" }\nheaders = { X-Key = { file = \"key\" } }");
    std::fs::write(dir.path("key"), format!("Splunk {}", SECRETS[0])).unwrap();
    std::fs::write(dir.path("url"), format!("{}/{}", collector.url, SECRETS[1])).unwrap();
    let mut command = Command::new(TROMMEL);
    command.env("TROMMEL_LOG", "trace");
    let mut host = dir.run_by(command);
    host.wait_for_log("sink fails; its pipeline waits");
    host.stop();
    let posted = collector.posted();
    assert!(posted[0].line.contains(SECRETS[1]) && posted[0].headers["x-key"].contains(SECRETS[0]));
    let log = host.running.log();
    assert!(log.contains("you said"), "{log}");
    let letters = std::fs::read_to_string(host.path("data/dead-letters.jsonl")).unwrap();
    for secret in SECRETS {
        assert!(!log.contains(secret), "{secret} is in the log: {log}");
        assert!(!letters.contains(secret), "{secret} is in a dead letter: {letters}");
    }
}

#[test]
fn certificates_are_verified() {
    let sim = Sim::start(&["--streams", "ap-events"]);
    let url = format!("url = \"{}/in\"\n", sim.ready.base_url);
    let (dir, _) = replay(10, &url);
    let mut host = dir.run();
    host.wait_for_log("is self-signed, or issued by an authority that is not trusted");
    host.wait_for_log("give that authority's certificate as ca_file");
    let ca = sim.ready.ca_file.display();
    let (dir, _) = replay(10, &format!("{url}ca_file = \"{ca}\"\n"));
    let mut host = dir.run();
    host.wait_for_log("look at the path of url");
}

#[test]
fn a_proxy_leads_to_the_receiver() {
    let proxy = Collector::start(|_| Reply::status(200));
    let siem =
        "url = \"http://collector.example/in\"\nformat = \"ndjson\"\nproxy = { file = \"proxy\" }";
    let (dir, lines) = replay(50, siem);
    let address = proxy.url.replace("http://", "http://alice:pass%3Aword@");
    std::fs::write(dir.path("proxy"), address).unwrap();
    assert_eq!(dir.run().end().delivered, 50);
    assert_eq!(proxy.taken_text(), lines);
    let post = &proxy.posted()[0];
    assert_eq!(post.line, "POST http://collector.example/in HTTP/1.1");
    assert_eq!(post.headers["host"], "collector.example");
    assert_eq!(post.headers["proxy-authorization"], "Basic YWxpY2U6cGFzczp3b3Jk");
}

#[test]
fn the_parts_of_a_split_event_arrive_under_ids_of_their_own() {
    let collector = Collector::start(|_| Reply::status(200));
    let (dir, lines) = replay(100, &ndjson(&collector, ""));
    dir.plugin("10-split", "misbehave-transform", "[config]\nmode = \"split\"\namount = 2\n");
    let tally = dir.run().end();
    assert_eq!((tally.received, tally.delivered), (100, 100));
    let expected: Vec<String> = lines
        .lines()
        .flat_map(|line| [format!("{}.1", id_of(line)), format!("{}.2", id_of(line))])
        .collect();
    assert_eq!(collector.taken_text().lines().map(id_of).collect::<Vec<_>>(), expected);
}

#[test]
fn a_sink_gets_the_types_it_takes() {
    let collector = Collector::start(|_| Reply::status(200));
    let types = "types = [\"*.aps.stats.radio\", \"*.aps.stats.device\"]";
    let (mut dir, lines) = replay(600, &ndjson(&collector, types));
    dir.replace("path = \"events.jsonl\"\n", "path = \"events.jsonl\"\ntypes = [\"*.stats.p*\"]\n");
    let mut host = dir.run();
    let tally = host.end();
    assert_eq!(tally.delivered, 600, "one that no sink takes is delivered all the same");
    let of = |wanted: &dyn Fn(&str) -> bool| -> String {
        let type_of = |line: &str| {
            let event: serde_json::Value = serde_json::from_str(line).unwrap();
            event["type"].as_str().unwrap().to_owned()
        };
        let lines = lines.lines().filter(|line| wanted(&type_of(line)));
        lines.map(|line| format!("{line}\n")).collect()
    };
    let posted = of(&|ty| ty.ends_with(".aps.stats.radio") || ty.ends_with(".aps.stats.device"));
    let filed = of(&|ty| ty.contains(".stats.p"));
    assert!(!posted.is_empty() && !filed.is_empty());
    assert!(posted.lines().count() + filed.lines().count() < 600);
    assert_eq!(collector.taken_text(), posted);
    assert_eq!(archive(&host), filed);
}
