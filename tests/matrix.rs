//! Every way in which the simulator can go wrong: the host goes on by itself, what each connection
//! brought is at the sink as far as it was sent, and the log and the status say what happened. The
//! rows are told in docs/faults.md.

use std::collections::HashSet;

use serde_json::Value;
use trommel::sim::central::FAULTS;

use crate::support::{Host, HostDir, Sim, repository, wait_until};

const ARCHIVE: &str = r#"
[pipeline.main]
from = ["hq"]
through = []
to = ["archive"]
[sink.archive]
kind = "file"
path = "events.jsonl"
"#;

/// A way to go wrong.
struct Row {
    /// What the simulator is told.
    faults: &'static [&'static str],
    /// What the host does about it.
    does: &'static str,
    /// How it shows besides the log.
    shown: Shown,
    /// What the source is told besides.
    source: &'static str,
    /// Events of the stream.
    count: u64,
    /// Whether the end of what a connection was sent may be lost with it.
    is_lossy: bool,
    /// What stands in the host's log.
    says: &'static str,
}

/// How a stream shows what happened to it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shown {
    /// Nothing happened to it.
    Streaming,
    /// Connections that ended.
    Waiting,
    /// Tries that failed, and come again by themselves soon.
    Trying,
    /// Tries that failed, for a reason that somebody must see to.
    Failing,
    /// Dead letters, for this reason.
    Letters(&'static str),
}

impl Shown {
    /// In the words of docs/faults.md.
    fn words(self) -> String {
        match self {
            Shown::Streaming => "`streaming`".to_owned(),
            Shown::Waiting => "`waiting` in between; `connections` counts".to_owned(),
            Shown::Trying => "`waiting`; `failures` counts".to_owned(),
            Shown::Failing => "`failing`, with a hint; `failures` counts".to_owned(),
            Shown::Letters(reason) => format!("`streaming`; dead letters (`{reason}`)"),
        }
    }

    /// Whether it is so.
    fn check(self, host: &Host, faults: &[&str]) {
        let report: Value = serde_json::from_str(&host.get("/api/v1/status")).unwrap();
        let (status, pipeline) = (&report["sources"][0], &report["pipelines"][0]);
        let of = |key: &str| status[key].as_u64().unwrap();
        let has = (of("connections") > 1, of("failures") > 0);
        let dead = pipeline["dead_lettered"].as_u64().unwrap();
        let told = match self {
            Shown::Streaming => has == (false, false) && dead == 0,
            Shown::Waiting => has.0,
            Shown::Trying | Shown::Failing => has.1,
            Shown::Letters(reason) => {
                let letters = host.lines("data/dead-letters.jsonl");
                dead > 0 && letters.iter().all(|letter| letter["reason"] == reason)
            }
        };
        assert!(told, "under {faults:?}: {report}");
    }
}

const fn row(
    faults: &'static [&'static str],
    does: &'static str,
    shown: Shown,
    says: &'static str,
) -> Row {
    Row { faults, does, shown, source: "", count: 2_000, is_lossy: false, says }
}

/// What is done after most ends.
const AGAIN: &str = "reads to the end, then connects again";
/// What is done about most refusals.
const LATER: &str = "tries again, later each time";
/// And about those that somebody must see to.
const SLOWLY: &str = "says what to do; tries again, slowly";
/// Who cannot be trusted is told nothing.
const REFUSES: &str = "sends nothing, says what is wrong with the certificate; tries again, slowly";

/// Runs a row to its end, and holds what is at the sink against what was sent.
fn check(row: &Row) {
    let mut args: Vec<String> = vec!["--rate".into(), "max".into(), "--streams".into()];
    args.extend(["ap-events".into(), "--count".into(), row.count.to_string()]);
    for fault in row.faults {
        args.extend(["--fault".into(), (*fault).into()]);
    }
    let sent_log = tempfile::TempDir::new().unwrap();
    let sent_log = sent_log.path().join("sent.jsonl");
    args.extend(["--sent".into(), sent_log.display().to_string()]);
    let mut sim = Sim::start(&args.iter().map(String::as_str).collect::<Vec<_>>());
    let mut dir = HostDir::new(&sim, &["ap-events"], ARCHIVE);
    dir.replace("kind = \"central\"\n", &format!("kind = \"central\"\n{}", row.source));
    let mut host = dir.run();
    wait_until(&format!("the last event, under {:?}", row.faults), || {
        assert!(host.running.ended().is_none(), "the host ended: {}", host.running.log());
        is_complete(&host, &sent(&sent_log), row.count)
    });
    let log = host.running.log();
    assert!(
        log.contains(row.says),
        "{:?} is not in the log under {:?}: {log}",
        row.says,
        row.faults
    );
    row.shown.check(&host, row.faults);
    sim.stop();
    let tally = host.stop();
    assert_eq!(tally.in_flight, 0, "{:?}: {tally:?}", row.faults);
    assert_prefixes(row, &host.ids("events.jsonl", "ap-events"), &sent(&sent_log));
}

/// What was sent, connection by connection, in the order of writing.
fn sent(log: &std::path::Path) -> Vec<Vec<String>> {
    let mut connections: Vec<(u64, Vec<String>)> = Vec::new();
    let text = std::fs::read_to_string(log).unwrap_or_default();
    // The last line may be on its way.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    for line in whole.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let connection = line["connection"].as_u64().unwrap();
        let id = line["id"].as_str().unwrap().to_owned();
        match connections.iter_mut().find(|(number, _)| *number == connection) {
            Some((_, ids)) => ids.push(id),
            None => connections.push((connection, vec![id])),
        }
    }
    connections.sort_by_key(|(number, _)| *number);
    connections.into_iter().map(|(_, ids)| ids).collect()
}

/// Whether every event has been sent, and all that the last connection brought is at the sink.
fn is_complete(host: &Host, sent: &[Vec<String>], count: u64) -> bool {
    let all: HashSet<_> = sent.iter().flatten().collect();
    let Some(last) = sent.last().filter(|_| all.len() as u64 == count) else { return false };
    let text = std::fs::read_to_string(host.path("events.jsonl")).unwrap_or_default();
    if !text.ends_with('\n') {
        return false;
    }
    let there: HashSet<_> = text
        .lines()
        .map(|line| {
            serde_json::from_str::<Value>(line).expect(line)["id"].as_str().unwrap().to_owned()
        })
        .collect();
    last.iter().all(|id| there.contains(id))
}

/// What is at the sink is, connection by connection, the beginning of what was sent on it, without
/// what an earlier one had brought; and nothing twice.
fn assert_prefixes(row: &Row, at_sink: &[String], sent: &[Vec<String>]) {
    let mut there = HashSet::new();
    let mut left = at_sink.iter();
    let mut next = left.next();
    for connection in sent {
        let mut is_lost = false;
        for id in connection {
            if there.contains(id) {
                continue;
            }
            if next == Some(id) && !is_lost {
                there.insert(id.clone());
                next = left.next();
            } else {
                is_lost = true;
                assert!(row.is_lossy, "{id} was lost or came out of order under {:?}", row.faults);
            }
        }
    }
    assert_eq!(next, None, "more at the sink than was sent, under {:?}", row.faults);
    assert_eq!(there.len(), at_sink.len(), "twice at the sink, under {:?}", row.faults);
}

macro_rules! rows {
    ($($name:ident: $row:expr;)*) => {
        $(#[test]
        fn $name() {
            check(&$row);
        })*

        /// All of them, with the names of their tests.
        const ROWS: &[(&str, Row)] = &[$((stringify!($name), $row)),*];
    };
}

rows! {
    drop: row(&["drop=300"], AGAIN, Shown::Waiting, "the server closed with code 1000");
    close_going_away: row(&["close=1001:300"], AGAIN, Shown::Waiting, "the server closed with code 1001");
    close_policy: row(&["close=1008:300"], AGAIN, Shown::Waiting, "the server closed with code 1008");
    close_internal_error: row(&["close=1011:300"], AGAIN, Shown::Waiting, "the server closed with code 1011");
    close_restart: row(&["close=1012:300"], AGAIN, Shown::Waiting, "the server closed with code 1012");
    close_try_later: row(&["close=1013:300"], AGAIN, Shown::Waiting, "the server closed with code 1013");
    close_private: row(&["close=4001:300"], AGAIN, Shown::Waiting, "the server closed with code 4001");
    close_unauthorised: row(&["close=4401:300"], AGAIN, Shown::Waiting, "the server closed with code 4401");
    close_without_a_code: row(&["close=none:300"], AGAIN, Shown::Waiting, "the server closed without a code");
    reset: Row {
        is_lossy: true,
        ..row(&["reset=300"], "connects again", Shown::Waiting, "Connection reset by peer")
    };
    half_open: Row {
        count: 500,
        ..row(
            &["half-open=300"],
            "pings every 10 s; without an answer within 5 s connects again",
            Shown::Waiting,
            "no pong within 5s",
        )
    };
    truncated: row(&["truncated=300"], "drops the half of a frame, connects again", Shown::Waiting, "the connection ended within a frame");
    expire: row(&["expire=300"], "gets another token, connects again", Shown::Waiting, "disconnected after");
    garbage: row(&["garbage=100"], "keeps the frame as a dead letter", Shown::Letters("decode"), "");
    text: row(&["text=100"], "keeps the frame as a dead letter", Shown::Letters("decode"), "");
    oversized: Row {
        source: "subscriber_id = true\n",
        // What waits behind it is sent to whoever comes next.
        ..row(
            &["oversized=500:17MiB", "redeliver=60"],
            "keeps its size and beginning as a dead letter, closes with code 1009, connects again; coming again it is passed over",
            Shown::Letters("limit"),
            "is over the limit, max_frame",
        )
    };
    duplicates: row(&["duplicates=50", "drop=300"], "drops what an earlier connection brought, and counts it", Shown::Waiting, "disconnected after");
    reordered: row(&["reordered=10", "drop=300"], "keeps the order in which it was sent", Shown::Waiting, "disconnected after");
    fragmented: row(&["fragmented=3"], "puts messages together", Shown::Streaming, "");
    trickle: Row { count: 30, ..row(&["trickle=50:1"], "waits", Shown::Streaming, "") };
    stall: row(&["stall=1000:1"], "waits, while pings are answered", Shown::Streaming, "");
    status_400: row(&["status=400:1"], SLOWLY, Shown::Failing, "the server answered 400");
    status_403: row(&["status=403:1"], SLOWLY, Shown::Failing, "Advanced licence");
    status_404: row(&["status=404:1"], SLOWLY, Shown::Failing, "does this cluster have the stream?");
    status_429: row(&["status=429:1"], "tries again after `Retry-After`", Shown::Trying, "the server answered 429");
    status_500: row(&["status=500:2"], LATER, Shown::Trying, "the server answered 500");
    status_503: row(&["status=503:2"], "tries again after `Retry-After`", Shown::Trying, "the server answered 503");
    token_down: row(&["token=down:2"], LATER, Shown::Trying, "503");
    token_closed: row(&["token=closed:2"], LATER, Shown::Trying, "no token");
    token_slow: row(&["token=slow:1:1"], "waits, 30 s at the most", Shown::Streaming, "");
    token_html: row(&["token=html:1"], SLOWLY, Shown::Failing, "is token_endpoint right?");
    token_without_expiry: row(&["token=no-expiry"], "uses the token until it is refused", Shown::Streaming, "nobody says how long it lives");
    token_401: row(&["token=401:1"], SLOWLY, Shown::Failing, "invalid_client");
    certificate_expired: row(&["certificate=expired:1"], REFUSES, Shown::Failing, "expired");
    certificate_wrong_name: row(&["certificate=wrong-name:1"], REFUSES, Shown::Failing, "name");
    certificate_self_signed: row(&["certificate=self-signed:1"], REFUSES, Shown::Failing, "self-signed");
    redeliver: Row {
        source: "subscriber_id = true\n",
        ..row(&["redeliver=60", "drop=300"], "comes back under the same id, and gets what it missed", Shown::Waiting, "disconnected after")
    };
    all_together: Row {
        is_lossy: true,
        ..row(
            &["reset=700", "garbage=90", "text=70", "fragmented=2", "duplicates=20", "status=503:1", "token=down:1"],
            "all of that",
            Shown::Letters("decode"),
            "the server answered 503",
        )
    };
}

/// A row as it stands in docs/faults.md.
fn line(name: &str, row: &Row) -> String {
    let faults: Vec<_> = row.faults.iter().map(|fault| format!("`{fault}`")).collect();
    let source = match row.source.trim() {
        "" => String::new(),
        source => format!(" (host: `{source}`)"),
    };
    let says = if row.says.is_empty() { "nothing".to_owned() } else { format!("`{}`", row.says) };
    let lost = if row.is_lossy { "what was on its way" } else { "nothing" };
    let (faults, does, shown) = (faults.join(" "), row.does, row.shown.words());
    format!("| {faults}{source} | {does} | {says} | {shown} | {lost} | `matrix::{name}` |")
}

#[test]
fn the_documentation_tells_of_each_row_and_of_each_fault() {
    let docs = std::fs::read_to_string(repository().join("docs/faults.md")).unwrap();
    let lines: Vec<_> = ROWS.iter().map(|(name, row)| line(name, row)).collect();
    let table = lines.join("\n");
    let told: Vec<_> = docs.lines().filter(|line| line.contains("`matrix::")).collect();
    assert!(told == lines, "docs/faults.md should have:\n{table}\n");
    for fault in FAULTS {
        let start = format!("| `{}=", fault.name);
        assert!(docs.contains(&start), "docs/faults.md does not tell of {}", fault.name);
    }
}
