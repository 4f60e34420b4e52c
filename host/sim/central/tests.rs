//! The simulator as its clients see it, over real sockets.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::*;
use crate::decode::Envelope;
use crate::decode::catalog::Stream;

type Socket = WebSocketStream<TlsStream<TcpStream>>;

/// A running simulator, and the folder it keeps its files in.
struct Sim {
    handle: Handle,
    folder: tempfile::TempDir,
}

/// What a connection brought until it was closed, or until nothing more was asked of it.
#[derive(Debug, Default)]
struct Got {
    ids: Vec<String>,
    texts: usize,
    garbage: usize,
    close: Option<u16>,
}

impl Sim {
    async fn start(change: impl FnOnce(&mut Options)) -> Sim {
        let folder = tempfile::tempdir().unwrap();
        let mut options = Options {
            tls_dir: Some(folder.path().to_owned()),
            ledger: Some(folder.path().join("ledger.jsonl")),
            rate: Rate::Max,
            ..Options::default()
        };
        change(&mut options);
        Sim { handle: Server::start(options).await.unwrap(), folder }
    }

    async fn connect(&self) -> TlsStream<TcpStream> {
        let ready = self.handle.ready();
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(&ready.ca_file).unwrap()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let port = ready.base_url.rsplit(':').next().unwrap().parse::<u16>().unwrap();
        let tcp = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, tcp).await.unwrap()
    }

    /// Sends a request and returns the whole answer.
    async fn http(&self, request: &str) -> String {
        let mut stream = self.connect().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer).await;
        answer
    }

    async fn token(&self) -> String {
        let ready = self.handle.ready();
        let login = format!("{}:{}", ready.client_id, ready.client_secret);
        let login = BASE64_STANDARD.encode(login);
        let answer = self.ask_token(&format!("Authorization: Basic {login}\r\n"), "").await;
        let json: serde_json::Value =
            serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap();
        assert_eq!(json["token_type"], "Bearer");
        json["access_token"].as_str().unwrap().to_owned()
    }

    async fn ask_token(&self, headers: &str, fields: &str) -> String {
        let body = format!("grant_type=client_credentials{fields}");
        let request = format!(
            "POST /as/token.oauth2 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        self.http(&request).await
    }

    async fn try_open(&self, path: &str, token: &str, types: Option<&str>) -> Result<Socket, u16> {
        let mut request = format!("wss://localhost/{path}").into_client_request().unwrap();
        let headers = request.headers_mut();
        headers.insert("authorization", format!("Bearer {token}").parse().unwrap());
        if let Some(types) = types {
            headers.insert("event-types", types.parse().unwrap());
        }
        match tokio_tungstenite::client_async(request, self.connect().await).await {
            Ok((socket, _)) => Ok(socket),
            Err(Error::Http(response)) => Err(response.status().as_u16()),
            Err(error) => panic!("{error}"),
        }
    }

    async fn open(&self, stream: &str) -> Socket {
        let path = Stream::named(stream).unwrap().path();
        self.try_open(&path, &self.token().await, None).await.unwrap()
    }

    /// Stops it and returns the ledger.
    async fn ledger(self) -> Vec<serde_json::Value> {
        self.handle.shutdown().await.unwrap();
        let text = std::fs::read_to_string(self.folder.path().join("ledger.jsonl")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// Reads until so many events are there, or the connection ends.
async fn read(socket: &mut Socket, events: usize) -> Got {
    let mut got = Got::default();
    while got.ids.len() < events {
        match tokio::time::timeout(Duration::from_secs(20), socket.next()).await.unwrap() {
            Some(Ok(Message::Binary(bytes))) => match Envelope::read(&bytes) {
                Some(envelope) => got.ids.push(envelope.id.to_owned()),
                None => got.garbage += 1,
            },
            Some(Ok(Message::Text(_))) => got.texts += 1,
            Some(Ok(Message::Close(close))) => got.close = close.map(|close| close.code.into()),
            Some(Ok(_)) => {}
            Some(Err(error)) => panic!("not an orderly end: {error}"),
            None => break,
        }
    }
    got
}

fn ids(ledger: &[serde_json::Value]) -> Vec<&str> {
    ledger.iter().map(|line| line["id"].as_str().unwrap()).collect()
}

fn faults(texts: &[&str]) -> Faults {
    texts.iter().map(|text| text.parse::<Fault>().unwrap()).collect()
}

fn only(stream: &str) -> Vec<&'static Stream> {
    vec![Stream::named(stream).unwrap()]
}

const AUDIT: &str = "audit-trail-events";

#[tokio::test]
async fn every_stream_sends_what_its_ledger_says() {
    let sim = Sim::start(|options| options.count = Some(300)).await;
    let mut all = Vec::new();
    for stream in crate::decode::catalog::STREAMS {
        let mut socket = sim.open(stream.name).await;
        all.push((stream.name, read(&mut socket, 300).await.ids));
    }
    let ledger = sim.ledger().await;
    assert_eq!(ledger.len(), 3_000);
    for (stream, got) in all {
        let lines: Vec<_> =
            ledger.iter().filter(|line| line["stream"] == stream).cloned().collect();
        assert_eq!(ids(&lines), got, "{stream}");
        assert!(lines.iter().all(|line| line["sent"] == 1 && line["data"].is_object()));
    }
}

#[tokio::test]
async fn drop_closes_after_so_many_frames_and_costs_no_event() {
    let sim = Sim::start(|options| {
        options.count = Some(20);
        options.faults = faults(&["drop=7"]);
    })
    .await;
    let mut got = Vec::new();
    for expected in [7, 7, 6] {
        let mut socket = sim.open(AUDIT).await;
        let part = read(&mut socket, if expected == 7 { usize::MAX } else { 6 }).await;
        assert_eq!(part.ids.len(), expected);
        assert_eq!(part.close, (expected == 7).then_some(1000));
        got.extend(part.ids);
    }
    let ledger = sim.ledger().await;
    assert_eq!(ids(&ledger), got);
    assert!(ledger.iter().all(|line| line["sent"] == 1));
}

#[tokio::test]
async fn expire_kills_the_tokens_and_closes_their_sockets() {
    let sim = Sim::start(|options| options.faults = faults(&["expire=50"])).await;
    let token = sim.token().await;
    // Another stream's socket is closed as well, wherever it is.
    let mut other = sim.try_open("network-services/v1alpha1/location", &token, None).await.unwrap();
    let path = Stream::named(AUDIT).unwrap().path();
    let first = read(&mut other, usize::MAX).await;
    assert_eq!(first.ids.len(), 50);
    drop(other);
    assert_eq!(sim.try_open(&path, &token, None).await.err(), Some(401));
    let mut got = Vec::new();
    for _ in 0..3 {
        let part = read(&mut sim.open(AUDIT).await, usize::MAX).await;
        assert_eq!((part.ids.len(), part.close), (50, Some(1000)));
        got.extend(part.ids);
    }
    let ledger = sim.ledger().await;
    let audit: Vec<_> = ledger.into_iter().filter(|line| line["stream"] == AUDIT).collect();
    assert_eq!(ids(&audit), got);
}

#[tokio::test]
async fn expiry_reaches_the_sockets_of_other_streams() {
    let sim = Sim::start(|options| {
        options.rate = Rate::PerSecond(4.0);
        options.faults = faults(&["expire=20"]);
    })
    .await;
    let mut first = sim.open(AUDIT).await;
    read(&mut first, 10).await;
    // Its own clock is ten events behind, so it is the other's that ends it.
    let mut second = sim.open("wids").await;
    let (first, second) = tokio::join!(read(&mut first, usize::MAX), read(&mut second, usize::MAX));
    assert_eq!((first.ids.len(), first.close), (10, Some(1000)));
    assert!((1..20).contains(&second.ids.len()) && second.close == Some(1000));
}

#[tokio::test]
async fn a_worn_out_token_closes_its_socket() {
    let sim = Sim::start(|options| {
        options.count = Some(3);
        options.token_life = Duration::from_secs(4);
    })
    .await;
    let got = read(&mut sim.open(AUDIT).await, usize::MAX).await;
    assert_eq!((got.ids.len(), got.close), (3, Some(1000)));
}

#[tokio::test]
async fn extra_frames_are_outside_count_and_ledger() {
    let sim = Sim::start(|options| {
        options.count = Some(100);
        options.faults = faults(&["garbage=10", "text=25", "drop=114"]);
    })
    .await;
    let got = read(&mut sim.open(AUDIT).await, usize::MAX).await;
    assert_eq!((got.ids.len(), got.garbage, got.texts), (100, 10, 4));
    assert_eq!(sim.ledger().await.len(), 100);
}

#[tokio::test]
async fn a_filter_narrows_a_connection_and_its_count() {
    let sim = Sim::start(|options| options.rate = Rate::PerSecond(500.0)).await;
    let token = sim.token().await;
    let ty = "com.hpe.greenlake.network-services.v1alpha1.rssi.raw-rssi";
    let path = Stream::named("rssi-events").unwrap().path();
    let query = format!("{path}?event-types=unheard.of%2C{ty}");
    let mut by_query = sim.try_open(&query, &token, None).await.unwrap();
    let mut first = read(&mut by_query, 5).await.ids;
    let mut by_header = sim.try_open(&path, &token, Some(ty)).await.unwrap();
    let (rest, _) = tokio::join!(read(&mut by_query, 200), read(&mut by_header, 1));
    first.extend(rest.ids);
    drop((by_query, by_header));
    let ledger = sim.ledger().await;
    let (wanted, others): (Vec<_>, Vec<_>) =
        ledger.into_iter().partition(|line| line["type"] == ty);
    assert_eq!(ids(&wanted)[..first.len()], first);
    assert!(others.iter().all(|line| line["sent"] == 0) && !others.is_empty());
}

#[tokio::test]
async fn each_connection_gets_a_copy() {
    let sim = Sim::start(|options| {
        options.rate = Rate::PerSecond(250.0);
        options.count = Some(1_000);
    })
    .await;
    let token = sim.token().await;
    let path = Stream::named(AUDIT).unwrap().path();
    let mut first = sim.try_open(&path, &token, None).await.unwrap();
    let mut second = sim.try_open(&path, &token, None).await.unwrap();
    let (all, later) = tokio::join!(read(&mut first, 1_000), async {
        let mut got = read(&mut second, 100).await;
        let last = got.ids.pop();
        (got, last)
    });
    assert!(later.0.ids.iter().all(|id| all.ids.contains(id)));
    drop((first, second));
    let ledger = sim.ledger().await;
    assert_eq!(ids(&ledger), all.ids);
    assert!(ledger.iter().any(|line| line["sent"] == 2));
}

#[tokio::test]
async fn a_stop_delivers_what_is_queued_and_closes_in_good_order() {
    let sim = Sim::start(|options| options.streams = only(AUDIT)).await;
    let mut socket = sim.open(AUDIT).await;
    let mut got = read(&mut socket, 10).await.ids;
    let reader = tokio::spawn(async move {
        let rest = read(&mut socket, usize::MAX).await;
        assert_eq!(rest.close, Some(1000));
        rest.ids
    });
    let ledger = sim.ledger().await;
    got.extend(reader.await.unwrap());
    let sent: Vec<_> = ledger.into_iter().filter(|line| line["sent"] == 1).collect();
    assert_eq!(ids(&sent), got);
}

#[tokio::test]
async fn pings_are_answered_and_a_close_as_well() {
    let sim = Sim::start(|options| options.count = Some(5)).await;
    let mut socket = sim.open(AUDIT).await;
    socket.send(Message::Ping("are you there".into())).await.unwrap();
    let mut pong = None;
    while pong.is_none() {
        if let Message::Pong(payload) = socket.next().await.unwrap().unwrap() {
            pong = Some(payload);
        }
    }
    assert_eq!(pong.unwrap(), "are you there");
    socket.close(None).await.unwrap();
    while let Some(message) = socket.next().await {
        message.unwrap();
    }
}

#[tokio::test]
async fn whoever_may_not_is_told_why() {
    let sim = Sim::start(|options| options.streams = only(AUDIT)).await;
    let path = Stream::named(AUDIT).unwrap().path();
    let token = sim.token().await;
    let status = |path: String, token: &str| {
        let (sim, token) = (&sim, token.to_owned());
        async move { sim.try_open(&path, &token, None).await.err() }
    };
    assert_eq!(status(path.clone(), "wrong").await, Some(401));
    assert_eq!(status("network-services/v1alpha1/unknown".into(), &token).await, Some(404));
    let not_served = Stream::named("wids").unwrap().path();
    assert_eq!(status(not_served, &token).await, Some(404));

    let get = format!("GET /{path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    assert!(sim.http(&get).await.starts_with("HTTP/1.1 426"));
    let wrong = "&client_id=someone&client_secret=wrong";
    let answer = sim.ask_token("", wrong).await;
    assert!(answer.starts_with("HTTP/1.1 401") && answer.contains(r#"{"error":"invalid_client"}"#));
    let ready = sim.handle.ready();
    let right = format!("&client_id={}&client_secret={}", ready.client_id, ready.client_secret);
    assert!(sim.ask_token("", &right).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn the_same_seed_gives_the_same_events_whatever_is_asked_of_it() {
    let mut ledgers = Vec::new();
    for quick in [true, false] {
        let sim = Sim::start(|options| {
            options.count = Some(200);
            if !quick {
                options.rate = Rate::PerSecond(1_000.0);
                options.streams = only("ap-events");
                options.faults = faults(&["garbage=3"]);
            }
        })
        .await;
        read(&mut sim.open("ap-events").await, 200).await;
        ledgers.push(sim.ledger().await);
    }
    assert_eq!(ledgers[0], ledgers[1]);
}

#[tokio::test]
async fn a_ledger_that_cannot_be_written_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options {
        tls_dir: Some(folder.path().to_owned()),
        ledger: Some(folder.path().join("nowhere/ledger")),
        ..Options::default()
    };
    let error = Server::start(options).await.unwrap_err();
    assert!(matches!(error, SimError::File { .. }));
}

#[tokio::test]
async fn what_may_be_sent_again_does_not_hold_up_the_ledger_while_nobody_is_there() {
    let rate = Rate::PerSecond(10_000.0);
    let sim = Sim::start(|options| {
        options.rate = rate;
        options.streams = only(AUDIT);
        options.faults = faults(&["duplicates=50"]);
    })
    .await;
    let before = read(&mut sim.open(AUDIT).await, 100).await.ids;
    // More than the ledger's queue has room for.
    let lines = 2 * rate.queue() + 50 + 1_000;
    let ledger = sim.folder.path().join("ledger.jsonl");
    let written = || std::fs::read_to_string(&ledger).unwrap().lines().count();
    let many = async {
        while written() < lines {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), many).await.expect("the clock stands still");
    let after = read(&mut sim.open(AUDIT).await, 10).await.ids;
    let ledger = sim.ledger().await;
    let place = |id: &String| ids(&ledger).iter().position(|other| other == id).unwrap();
    assert!(place(&after[9]) > place(&before[99]) + 1_000);
}
