//! The simulator does what its documentation says, seen by a plain client over real sockets.

use std::collections::HashSet;
use std::io::Read as _;
use std::process::Command;

use futures_util::SinkExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use trommel::sim::central::FAULTS;

use crate::support::client::{Client, End, Got, close, is_quiet};
use crate::support::{
    LedgerLine, Running, SentLine, Sim, TROMMEL, output_of, repository, wait_for,
};

const AUDIT: &str = "audit-trail-events";

/// A simulator of one stream, and a client of it.
fn start(args: &[&str]) -> (Sim, Client) {
    let sim = Sim::start(&[&["--streams", AUDIT], args].concat());
    let client = Client::of(&sim);
    (sim, client)
}

fn all_ids(ledger: &[LedgerLine]) -> Vec<String> {
    ledger.iter().map(|line| line.id.clone()).collect()
}

/// What was sent on a connection, as the sent log has it.
fn sent_on(sent: &[SentLine], connection: u32) -> Vec<String> {
    let of = sent.iter().filter(|line| line.connection == connection);
    of.map(|line| line.id.clone()).collect()
}

fn assert_starts_with(whole: &[String], start: &[String]) {
    assert_eq!(whole.get(..start.len()), Some(start), "{} of {}", start.len(), whole.len());
}

#[tokio::test]
async fn ledger_and_sent_log_name_the_connections() {
    let (mut sim, client) = start(&["--rate", "50", "--fault", "drop=200"]);
    let mut first = client.open(AUDIT).await;
    let one = Got::events(&mut first, 1).await.ids;
    let mut second = client.open(AUDIT).await;
    let (rest, two) = tokio::join!(Got::all(&mut first), Got::all(&mut second));
    let one = [one, rest.ids].concat();
    let sent = sim.sent();
    let ledger = sim.stop();
    for (number, got) in [(1, &one), (2, &two.ids)] {
        assert_eq!(got.len(), 200);
        let of = ledger.iter().filter(|line| line.connections.contains(&number));
        let by_ledger: Vec<_> = of.map(|line| line.id.clone()).collect();
        assert_eq!(&by_ledger, got, "connection {number}");
        assert_eq!(&sent_on(&sent, number), got, "connection {number}");
    }
    assert!(ledger.iter().all(|line| line.sent == line.connections.len() as u64));
    assert!(ledger.iter().any(|line| line.connections == [1, 2]));
}

#[tokio::test]
async fn connections_with_one_id_share_and_all_others_get_everything() {
    let (mut sim, client) = start(&["--rate", "100", "--count", "600"]);
    let mut alone = client.open(AUDIT).await;
    let mut other = client.open_as(AUDIT, "another").await;
    let mut first = client.open_as(AUDIT, "shared").await;
    let mut second = client.open_as(AUDIT, "shared").await;
    let (all, others, mut one, mut two) = tokio::join!(
        Got::events(&mut alone, 600),
        Got::events(&mut other, 100),
        Got::events(&mut first, 1),
        Got::events(&mut second, 1)
    );
    // What has not been written to a connection when it ends goes to nobody.
    let begin = all.ids.iter().position(|id| one.ids.contains(id) || two.ids.contains(id)).unwrap();
    while one.ids.len() + two.ids.len() < all.ids.len() - begin {
        tokio::select! {
            () = one.next(&mut first) => {}
            () = two.next(&mut second) => {}
        }
    }
    let (mut one, mut two) = (one.ids, two.ids);
    one.append(&mut close(first).await);
    two.append(&mut close(second).await);
    drop((alone, other));
    let ledger = sim.stop();
    let with = |number: u32| {
        ledger.iter().filter(move |line| line.connections.contains(&number)).collect::<Vec<_>>()
    };
    assert_eq!(with(1).len(), all.ids.len());
    assert!(with(2).len() >= others.ids.len());
    assert!(!with(3).is_empty() && !with(4).is_empty());
    let both = ledger.iter().filter(|l| l.connections.contains(&3) && l.connections.contains(&4));
    assert_eq!(both.count(), 0, "each event goes to one of those that share");
    assert!(one.iter().all(|id| !two.contains(id)));
    let since = ledger.iter().position(|line| line.connections.contains(&3)).unwrap();
    let shared = ledger[since..].iter();
    assert!(shared.clone().all(|l| l.connections.iter().any(|n| *n > 2)), "and to one at least");
}

#[tokio::test]
async fn a_returning_id_gets_what_it_missed_first() {
    let args = ["--rate", "50", "--count", "400", "--fault", "redeliver=60"];
    let (mut sim, client) = start(&args);
    let mut watch = client.open(AUDIT).await;
    let (mut all, mut got) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let mut socket = client.open_as(AUDIT, "mine").await;
        got.append(&mut Got::events(&mut socket, 20).await.ids);
        got.append(&mut close(socket).await);
        all.append(&mut Got::events(&mut watch, 30).await.ids);
    }
    let rest = 400 - all.len();
    all.append(&mut Got::events(&mut watch, rest).await.ids);
    let mut socket = client.open_as(AUDIT, "mine").await;
    while got.last() != all.last() {
        got.append(&mut Got::events(&mut socket, 1).await.ids);
    }
    let first = all.iter().position(|id| *id == got[0]).unwrap();
    assert_eq!(got, all[first..], "nothing is missing, nothing comes twice");
    let ledger = sim.stop();
    assert_eq!(all_ids(&ledger), all);
    assert!(ledger[first..].iter().all(|line| line.sent == 2));
}

#[tokio::test]
async fn what_a_sharing_connection_could_not_send_goes_to_the_others() {
    let (mut sim, client) = start(&["--rate", "max", "--count", "60000"]);
    let mut first = client.open_as(AUDIT, "shared").await;
    let mut second = client.open_as(AUDIT, "shared").await;
    let mut got = Got::events(&mut first, 100).await.ids;
    got.append(&mut Got::events(&mut second, 100).await.ids);
    // Its queue is full of what it has not sent yet.
    got.append(&mut close(first).await);
    let rest = 60_000 - got.len();
    got.append(&mut Got::events(&mut second, rest).await.ids);
    let ledger = sim.stop();
    assert!(ledger.iter().all(|line| line.sent == 1));
    let got: HashSet<_> = got.into_iter().collect();
    assert_eq!(got, all_ids(&ledger).into_iter().collect());
}

#[tokio::test]
async fn an_id_that_is_closed_again_and_again_gets_everything_once_and_in_order() {
    let args = ["--rate", "max", "--count", "3000", "--fault", "close=1012:150"];
    let (mut sim, client) =
        start(&[&args[..], &["--fault", "redeliver=60", "--fault", "garbage=70"]].concat());
    let mut got = Vec::new();
    while got.len() < 3_000 {
        let mut socket = client.open_as(AUDIT, "mine").await;
        let mut part = Got::default();
        while part.end.is_none() && got.len() + part.ids.len() < 3_000 {
            part.next(&mut socket).await;
        }
        got.append(&mut part.ids);
    }
    assert_eq!(got, all_ids(&sim.stop()));
}

#[tokio::test]
async fn after_resets_a_server_that_repeats_itself_loses_nothing() {
    let faults = ["--fault", "reset=400", "--fault", "duplicates=1000", "--fault", "redeliver=60"];
    let (mut sim, client) = start(&[&["--rate", "max", "--count", "5000"], &faults[..]].concat());
    let mut got = HashSet::new();
    while got.len() < 5_000 {
        let mut socket = client.open_as(AUDIT, "mine").await;
        let mut part = Got::default();
        while part.end.is_none() && got.len() < 5_000 {
            part.next(&mut socket).await;
            got.extend(part.ids.drain(..));
        }
    }
    assert_eq!(got, all_ids(&sim.stop()).into_iter().collect());
}

#[tokio::test]
async fn a_reset_takes_nothing_of_what_was_repeated() {
    let faults = ["--fault", "reset=1000", "--fault", "duplicates=1000"];
    let (sim, client) = start(&[&["--rate", "max"], &faults[..]].concat());
    drop(Got::all(&mut client.open(AUDIT).await).await);
    let mut second = client.open(AUDIT).await;
    // All is written before anything is read: most of it lies in buffers of the simulator's side.
    wait_for("all to be written", || (sent_on(&sim.sent(), 2).len() == 2_000).then_some(()));
    let got = Got::all(&mut second).await;
    assert!(matches!(got.end, Some(End::Broken(_))), "{:?}", got.end);
    let sent = sent_on(&sim.sent(), 2);
    assert_eq!(sent[..1_000], sent_on(&sim.sent(), 1), "what is repeated");
    assert!(got.ids.len() >= 1_000, "{} of what was repeated", got.ids.len());
    assert_starts_with(&sent, &got.ids);
}

#[tokio::test]
async fn refusals_carry_status_body_and_when_to_come_back() {
    let faults = ["--fault", "status=503:2", "--fault", "status=429:1", "--fault", "status=403"];
    let (_sim, client) = start(&faults);
    let mut refusals = Vec::new();
    for _ in 0..5 {
        refusals.push(client.try_open(AUDIT, &[]).await.unwrap_err());
    }
    let statuses: Vec<_> = refusals.iter().map(|refused| refused.status).collect();
    assert_eq!(statuses, [503, 503, 429, 403, 403]);
    for refused in &refusals[..3] {
        assert_eq!(refused.headers["retry-after"], "1");
    }
    assert!(refusals[0].body.contains("<html>"));
    let json: serde_json::Value = serde_json::from_str(&refusals[3].body).unwrap();
    assert_eq!(json["error"], "Forbidden");
    let (_sim, client) = start(&["--fault", "status=500:1"]);
    assert_eq!(client.try_open(AUDIT, &[]).await.unwrap_err().status, 500);
    assert!(client.try_open(AUDIT, &[]).await.is_ok());
}

#[tokio::test]
async fn a_second_socket_is_refused_while_one_is_open() {
    let (_sim, client) = start(&["--fault", "second-socket=409"]);
    let mut first = client.open(AUDIT).await;
    Got::events(&mut first, 1).await;
    let refused = client.try_open(AUDIT, &[]).await.unwrap_err();
    assert_eq!(refused.status, 409);
    assert!(refused.body.contains("Another connection"), "{}", refused.body);
    close(first).await;
    assert!(client.try_open(AUDIT, &[]).await.is_ok(), "it may come once the other is closed");
}

#[tokio::test]
async fn reset_breaks_the_connection_without_a_close() {
    let (sim, client) = start(&["--rate", "max", "--fault", "reset=300"]);
    for connection in 1..=3 {
        let got = Got::all(&mut client.open(AUDIT).await).await;
        assert!(matches!(got.end, Some(End::Broken(_))), "{:?}", got.end);
        let sent = sent_on(&sim.sent(), connection);
        assert_eq!(sent.len(), 300);
        assert_starts_with(&sent, &got.ids);
    }
}

#[tokio::test]
async fn a_half_open_connection_says_nothing_more() {
    let (_sim, client) = start(&["--rate", "200", "--fault", "half-open=5"]);
    let mut socket = client.open(AUDIT).await;
    assert_eq!(Got::events(&mut socket, 5).await.ids.len(), 5);
    socket.send(Message::Ping("are you there".into())).await.unwrap();
    // While another is served there is time enough for an answer.
    Got::events(&mut client.open(AUDIT).await, 5).await;
    assert!(is_quiet(&mut socket).await);
}

#[tokio::test]
async fn closes_carry_the_code_that_was_asked_for() {
    let cases = [("close=4401:3", 3, Some(4401)), ("close=1011", 100, Some(1011))];
    for (fault, frames, code) in cases.into_iter().chain([("close=none:7", 7, None)]) {
        let (_sim, client) = start(&["--rate", "max", "--fault", fault]);
        for _ in 0..2 {
            let got = Got::all(&mut client.open(AUDIT).await).await;
            assert_eq!((got.ids.len(), got.end), (frames, Some(End::Close(code))), "{fault}");
        }
    }
}

#[tokio::test]
async fn ways_to_end_take_turns() {
    let (_sim, client) = start(&["--rate", "max", "--fault", "drop=4", "--fault", "truncated=6"]);
    for _ in 0..2 {
        let got = Got::all(&mut client.open(AUDIT).await).await;
        assert_eq!((got.ids.len(), got.end), (4, Some(End::Close(Some(1000)))));
        let got = Got::all(&mut client.open(AUDIT).await).await;
        assert_eq!(got.ids.len(), 6);
        assert!(matches!(got.end, Some(End::Broken(_))), "half a frame is not an end in order");
    }
}

#[tokio::test]
async fn an_oversized_frame_comes_again_at_the_same_place() {
    let args = ["--rate", "500", "--fault", "oversized=3:100000"];
    let (mut sim, client) = start(&args);
    let mut ids = HashSet::new();
    for _ in 0..2 {
        let mut socket = client.open(AUDIT).await;
        let got = Got::events(&mut socket, 8).await;
        let large: Vec<_> = (0..8).filter(|index| got.sizes[*index] == 100_000).collect();
        assert_eq!(large, [3, 7]);
        ids.extend(large.iter().map(|index| got.ids[*index].clone()));
    }
    assert_eq!(ids.len(), 1, "always the same one");
    assert!(sim.stop().iter().all(|line| !ids.contains(&line.id)), "outside the ledger");
}

#[tokio::test]
async fn a_new_connection_begins_with_duplicates() {
    let (mut sim, client) =
        start(&["--rate", "max", "--fault", "drop=40", "--fault", "duplicates=5"]);
    let mut before: Vec<String> = Vec::new();
    for _ in 0..4 {
        let got = Got::all(&mut client.open(AUDIT).await).await;
        let again = before.len().min(5);
        assert_eq!(got.ids.len(), 40 + again);
        assert_eq!(got.ids[..again], before[before.len() - again..]);
        before = got.ids;
    }
    let ledger = sim.stop();
    assert_eq!(ledger.iter().filter(|line| line.sent == 2).count(), 15);
    assert!(ledger.iter().any(|line| line.connections == [2, 3]));
}

#[tokio::test]
async fn reordered_events_stay_within_their_window() {
    let args = ["--rate", "2000", "--count", "200", "--fault", "reordered=10"];
    let mut orders = Vec::new();
    for _ in 0..2 {
        let (mut sim, client) = start(&args);
        let got = Got::events(&mut client.open(AUDIT).await, 200).await.ids;
        let ledger = all_ids(&sim.stop());
        assert!(sent_on(&sim.sent(), 1) == got, "the sent log has the order of sending");
        assert_ne!(got, ledger);
        for (got, ledger) in got.chunks(10).zip(ledger.chunks(10)) {
            let set = |ids: &[String]| ids.iter().cloned().collect::<HashSet<_>>();
            assert_eq!(set(got), set(ledger));
        }
        orders.push(got);
    }
    assert_eq!(orders[0], orders[1], "the seed decides");
}

#[tokio::test]
async fn fragmented_messages_have_pings_between() {
    let (_sim, client) = start(&["--rate", "max", "--count", "50", "--fault", "fragmented=4"]);
    let got = Got::events(&mut client.open(AUDIT).await, 50).await;
    assert_eq!(got.pings, 3 * 50);
}

#[tokio::test]
async fn trickled_bytes_come_a_few_at_a_time() {
    let (_sim, client) = start(&["--fault", "trickle=50"]);
    let token = client.token().await;
    let path = trommel::decode::catalog::Stream::named(AUDIT).unwrap().path();
    let mut tls = client.tls().await.unwrap();
    let request = format!(
        "GET /{path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\
         Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    tls.write_all(request.as_bytes()).await.unwrap();
    let (mut head, mut chunks) = (Vec::new(), Vec::new());
    while !head.ends_with(b"\r\n\r\n") {
        head.push(tls.read_u8().await.unwrap());
    }
    let mut buffer = [0; 16_384];
    // Who reads late finds more than one of them.
    while !chunks.contains(&50) {
        chunks.push(tls.read(&mut buffer).await.unwrap());
        assert!(chunks.iter().sum::<usize>() < 1 << 20, "{chunks:?}");
    }
    Got::events(&mut client.open(AUDIT).await, 10).await;
}

#[tokio::test]
async fn a_stalled_stream_still_answers_pings() {
    let (_sim, client) = start(&["--rate", "max", "--fault", "stall=5:5"]);
    let mut socket = client.open(AUDIT).await;
    Got::events(&mut socket, 5).await;
    socket.send(Message::Ping("are you there".into())).await.unwrap();
    let mut got = Got::default();
    got.next(&mut socket).await;
    assert_eq!((got.pongs, got.ids.len()), (1, 0), "the answer comes before the next event");
    assert_eq!(Got::events(&mut socket, 5).await.ids.len(), 5, "and then it goes on");
}

#[tokio::test]
async fn the_token_endpoint_fails_in_every_way() {
    let kinds = ["down:1", "closed:1", "slow:1:1", "html:1", "no-expiry:1", "401:1"];
    let faults: Vec<String> = kinds.iter().map(|kind| format!("token={kind}")).collect();
    let faults: Vec<&str> = faults.iter().flat_map(|fault| ["--fault", fault]).collect();
    let (_sim, client) = start(&faults);
    let mut answers = Vec::new();
    for _ in 0..7 {
        answers.push(client.ask_token("/as/token.oauth2").await);
    }
    let [down, closed, slow, html, no_expiry, refused, good] = &answers[..] else { panic!() };
    assert!(down.starts_with("HTTP/1.1 503") && down.contains("retry-after: 1"), "{down}");
    assert_eq!(closed, "");
    assert!(slow.starts_with("HTTP/1.1 200") && slow.contains("expires_in"), "{slow}");
    assert!(html.starts_with("HTTP/1.1 200") && html.contains("<html>"), "{html}");
    assert!(no_expiry.contains("access_token") && !no_expiry.contains("expires_in"));
    assert!(refused.starts_with("HTTP/1.1 401") && refused.contains("invalid_client"));
    assert!(good.contains("access_token") && good.contains("expires_in"));
}

#[tokio::test]
async fn a_workspace_has_a_token_endpoint_too() {
    let (_sim, client) = start(&[]);
    let answer = client.ask_token("/authorization/v2/oauth2/some-workspace/token").await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("access_token"), "{answer}");
    let answer = client.ask_token("/authorization/v2/oauth2/token").await;
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
}

#[tokio::test]
async fn bad_certificates_are_as_bad_as_they_say_and_then_good() {
    let kinds = ["expired:1", "wrong-name:1", "self-signed:1"];
    let faults: Vec<String> = kinds.iter().map(|kind| format!("certificate={kind}")).collect();
    let faults: Vec<&str> = faults.iter().flat_map(|fault| ["--fault", fault]).collect();
    let (_sim, client) = start(&faults);
    for says in ["expired", "not valid for name", "UnknownIssuer"] {
        let error = client.tls().await.expect_err(says);
        assert!(error.contains(says), "{says}: {error}");
    }
    assert!(client.tls().await.is_ok());
}

#[test]
fn every_fault_is_in_the_help_and_in_the_documentation() {
    let help = output_of(Command::new(TROMMEL).args(["sim", "central", "--help"]));
    let help = String::from_utf8(help.stdout).unwrap();
    let docs = std::fs::read_to_string(repository().join("docs/simulator.md")).unwrap();
    for spec in FAULTS {
        let row = format!("{}={}", spec.name, spec.value);
        assert!(help.contains(&row), "{row} is not in --help");
        assert!(docs.contains(&format!("| `{row}` |")), "{row} is not in docs/simulator.md");
    }
    // Those of every command are told elsewhere.
    let elsewhere = ["--help", "--log-level", "--log-format"];
    for name in help.split_whitespace().filter(|word| word.starts_with("--")) {
        let name = name.trim_matches(|c: char| !c.is_ascii_alphanumeric() && c != '-');
        let is_told = docs.contains(&format!("`{name}")) || elsewhere.contains(&name);
        assert!(is_told, "{name} is not in the docs");
    }
}

#[test]
fn a_wrong_fault_is_a_usage_error_that_says_what_is_right() {
    for (fault, says) in
        [("close=1005", "CODE[:N]"), ("nothing=1", "half-open=N"), ("x", "NAME=VALUE")]
    {
        let output = output_of(Command::new(TROMMEL).args(["sim", "central", "--fault", fault]));
        assert_eq!(output.status.code(), Some(2), "{fault}");
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.contains(says), "{fault}: {text}");
    }
}

/// A running proxy.
struct Proxy {
    _running: Running,
    dir: tempfile::TempDir,
    port: u16,
}

impl Proxy {
    fn start(args: &[&str]) -> Proxy {
        let dir = tempfile::tempdir().unwrap();
        let (out, log) = (dir.path().join("ready.json"), dir.path().join("proxy.err"));
        let mut command = Command::new(TROMMEL);
        command.args(["sim", "proxy", "--log"]).arg(dir.path().join("proxy.log")).args(args);
        command.env("PROXY_PASSWORD", "open sesame");
        let running = Running::start(&mut command, &out, &log);
        let url = wait_for("the proxy", || {
            let line = std::fs::read_to_string(&out).unwrap();
            let ready: serde_json::Value = serde_json::from_str(line.strip_suffix('\n')?).unwrap();
            Some(ready["url"].as_str().unwrap().to_owned())
        });
        let port = url.rsplit(':').next().unwrap().parse().unwrap();
        Proxy { _running: running, dir, port }
    }

    /// Sends a request; gives back the answer's head, and the connection.
    async fn ask(&self, request: &str) -> (String, TcpStream) {
        let mut tcp = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        tcp.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(tcp.read_u8().await.unwrap());
        }
        (String::from_utf8(head).unwrap(), tcp)
    }

    fn log(&self) -> Vec<(String, String, u64)> {
        let mut text = String::new();
        let mut file = std::fs::File::open(self.dir.path().join("proxy.log")).unwrap();
        file.read_to_string(&mut text).unwrap();
        let lines = text.lines().map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            let text = |key: &str| line[key].as_str().unwrap().to_owned();
            (text("method"), text("target"), line["status"].as_u64().unwrap())
        });
        lines.collect()
    }
}

#[tokio::test]
async fn a_stream_goes_through_the_proxy_for_whom_it_knows() {
    let (_sim, client) = start(&["--rate", "max", "--count", "20"]);
    let proxy = Proxy::start(&["--user", "me", "--password-env", "PROXY_PASSWORD"]);
    let target = format!("localhost:{}", client.port());
    let (head, _) =
        proxy.ask(&format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n")).await;
    assert!(
        head.starts_with("HTTP/1.1 407") && head.contains("proxy-authenticate: Basic"),
        "{head}"
    );
    let login = "Proxy-Authorization: Basic bWU6b3BlbiBzZXNhbWU=\r\n";
    let (head, tcp) =
        proxy.ask(&format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{login}\r\n")).await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let tls = client.tls_over(tcp).await.unwrap();
    let mut socket = client.open_over(tls, AUDIT, &client.token().await, &[]).await.unwrap();
    assert_eq!(Got::events(&mut socket, 20).await.ids.len(), 20);
    let connect = |status| ("CONNECT".to_owned(), target.clone(), status);
    assert_eq!(proxy.log(), [connect(407), connect(200)]);
}

#[tokio::test]
async fn the_proxy_passes_plain_http_on() {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = server.local_addr().unwrap();
    let proxy = Proxy::start(&[]);
    let url = format!("http://{address}/path?query");
    let request = format!(
        "POST {url} HTTP/1.1\r\nHost: {address}\r\nProxy-Authorization: Basic eA==\r\n\
         Content-Length: 4\r\n\r\nbody"
    );
    let serve = async {
        let (mut tcp, _) = server.accept().await.unwrap();
        let mut seen = Vec::new();
        while !seen.ends_with(b"body") {
            seen.push(tcp.read_u8().await.unwrap());
        }
        tcp.write_all(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n").await.unwrap();
        String::from_utf8(seen).unwrap()
    };
    let (seen, (head, _)) = tokio::join!(serve, proxy.ask(&request));
    assert!(seen.starts_with("POST /path?query HTTP/1.1\r\n"), "{seen}");
    assert!(!seen.to_lowercase().contains("proxy-authorization"), "{seen}");
    assert!(head.starts_with("HTTP/1.1 201"), "{head}");
    drop(server);
    let (head, _) = proxy.ask(&format!("GET {url} HTTP/1.1\r\nHost: {address}\r\n\r\n")).await;
    assert!(head.starts_with("HTTP/1.1 502"), "{head}");
    let statuses: Vec<_> =
        proxy.log().into_iter().map(|(method, _, status)| (method, status)).collect();
    assert_eq!(statuses, [("POST".to_owned(), 201), ("GET".to_owned(), 502)]);
}

#[test]
fn the_proxy_listens_on_loopback_only() {
    let output = output_of(Command::new(TROMMEL).args(["sim", "proxy", "--listen", "0.0.0.0:0"]));
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("loopback"));
}
