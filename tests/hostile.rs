//! Servers that do not keep to the rules: answers to the handshake, frames of WebSocket, frames of
//! enormous size. The host says why, connects again, and keeps what came before.

use std::fmt::Write as _;

use prost::Message as _;
use serde_json::Value;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use trommel::decode::proto::cloudevents::v1::{CloudEvent, cloud_event::Data};

use crate::support::tls::{Asked, Authority, Good, TlsServer, answer};
use crate::support::{Host, HostDir, json_lines, wait_for, wait_until};

const FIN: u8 = 0x80;
const CONTINUATION: u8 = 0;
const BINARY: u8 = 2;
const PING: u8 = 9;

fn event(id: &str, data: Option<Data>) -> Vec<u8> {
    let event = CloudEvent {
        id: id.to_owned(),
        source: "/test".to_owned(),
        specversion: "1.0".to_owned(),
        r#type: "com.example.test".to_owned(),
        data,
        ..CloudEvent::default()
    };
    event.encode_to_vec()
}

/// A WebSocket frame: its first byte, and the payload.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    match payload.len() {
        length @ 0..=125 => out.push(length as u8),
        length @ 126..=0xffff => {
            out.push(126);
            out.extend((length as u16).to_be_bytes());
        }
        length => {
            out.push(127);
            out.extend((length as u64).to_be_bytes());
        }
    }
    out.extend(payload);
    out
}

/// A good event in a good frame.
fn good(id: &str) -> Vec<u8> {
    frame(FIN | BINARY, &event(id, None))
}

fn close() -> Vec<u8> {
    frame(FIN | 8, &1000u16.to_be_bytes())
}

/// What `Sec-WebSocket-Accept` should be.
fn accept(asked: &Asked) -> String {
    let field = asked.head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("sec-websocket-key").then(|| value.trim().to_owned())
    });
    derive_accept_key(field.expect("a key").as_bytes())
}

/// An answer that agrees to the upgrade, with these further header fields, and what follows it.
fn agreed(asked: &Asked, fields: &str, then: &[u8]) -> Vec<u8> {
    let mut out = format!(
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
         sec-websocket-accept: {}\r\n{fields}\r\n",
        accept(asked)
    )
    .into_bytes();
    out.extend(then);
    out
}

type Answer = Box<dyn Fn(&Asked) -> Option<Vec<u8>> + Send + Sync>;

/// A server that does wrong once; what comes after is an event and a close in order.
struct Case {
    name: &'static str,
    wrong: Answer,
    /// What the log says of its stream.
    says: &'static str,
    /// What becomes of a frame, if it is a dead letter.
    letter: Option<&'static str>,
    /// Whether it does the same wrong on each connection.
    always: bool,
}

fn case<A: Into<Option<Vec<u8>>>>(
    name: &'static str,
    says: &'static str,
    wrong: impl Fn(&Asked) -> A + Send + Sync + 'static,
) -> Case {
    let wrong = Box::new(move |asked: &Asked| wrong(asked).into());
    Case { name, wrong, says, letter: None, always: false }
}

/// A connection that begins well, and then brings this.
fn frames(name: &'static str, says: &'static str, wrong: Vec<u8>) -> Case {
    case(name, says, move |asked| {
        agreed(asked, "", &[good(&format!("{name}-before")), wrong.clone()].concat())
    })
}

/// A message over the limit: on every connection, before the good event.
fn over(name: &'static str, letter: &'static str, wrong: Vec<u8>) -> Case {
    let case = frames(name, "is over the limit, max_frame", wrong);
    Case { letter: Some(letter), always: true, ..case }
}

/// Adds a source that streams from a server.
fn add_source(dir: &mut HostDir, name: &str, server: &TlsServer, ca: &str, more: &str) {
    std::fs::write(dir.path("ca.pem"), ca).unwrap();
    std::fs::write(dir.path("secret"), "a-token").unwrap();
    dir.add(&format!(
        "[source.{name}]\nkind = \"central\"\nbase_url = \"{}\"\nca_file = \"ca.pem\"\n\
         token = {{ file = \"secret\" }}\nstreams = [\"audit-trail-events\"]\n{more}",
        server.url
    ));
}

/// Runs all cases in one host. What was good arrived, in order and once; the log says what was wrong.
fn run(cases: Vec<Case>) -> Host {
    let authority = Authority::new(Good::Now);
    let mut dir = HostDir::empty();
    let (mut servers, mut names, mut expected) = (Vec::new(), String::new(), Vec::new());
    for Case { name, wrong, says, letter, always } in cases {
        let identity = authority.identity(&["localhost"], Good::Now);
        let server = TlsServer::start(identity, move |asked: &Asked| {
            let after = [good(&format!("{name}-after")), close()].concat();
            match asked.number {
                0 => wrong(asked),
                _ if always => wrong(asked).map(|wrong| [wrong, after].concat()),
                _ => Some(agreed(asked, "", &after)),
            }
        });
        add_source(&mut dir, name, &server, &authority.pem, "max_frame = \"64KiB\"\n");
        write!(names, "{name:?}, ").unwrap();
        servers.push(server);
        expected.push((name, says, letter));
    }
    dir.add(&format!(
        "[pipeline.main]\nfrom = [{names}]\nthrough = []\nto = [\"archive\"]\n\
         [sink.archive]\nkind = \"file\"\npath = \"events.jsonl\"\n"
    ));
    let mut host = dir.run();
    for (name, says, _) in &expected {
        wait_until(&format!("{says:?} of {name}"), || {
            assert!(host.running.ended().is_none(), "the host ended: {}", host.running.log());
            let log = host.running.log();
            let source = format!("source=\"{name}\"");
            log.lines().any(|line| line.contains(says) && line.contains(&source))
        });
        wait_until(&format!("the event after {name}"), || {
            host.lines_so_far("events.jsonl")
                .iter()
                .any(|line| line["id"] == format!("{name}-after"))
        });
    }
    let resident = host.page().value("process_resident_memory_bytes", &[]);
    assert!(resident < f64::from(512 << 20), "{resident} bytes");
    let tally = host.stop();
    assert_eq!(tally.in_flight, 0);
    let ids = host.ids("events.jsonl", "audit-trail-events");
    let letters = host.lines("data/dead-letters.jsonl");
    for (name, _, letter) in expected {
        let of: Vec<_> = ids.iter().filter(|id| id.starts_with(&format!("{name}-"))).collect();
        let all = [format!("{name}-before"), format!("{name}-after")];
        assert!(of.iter().copied().eq(&all) || of.iter().copied().eq(&all[1..]), "{name}: {of:?}");
        let Some(letter) = letter else { continue };
        let same = letters.iter().filter(|l| l["detail"].as_str().unwrap().contains(letter));
        let same: Vec<_> = same.collect();
        assert_eq!(same.len(), 1, "{name}: once, however often it comes: {letters:?}");
        assert_eq!(same[0]["reason"], "limit");
    }
    host
}

impl Host {
    /// The whole lines of a file that is still written.
    fn lines_so_far(&self, name: &str) -> Vec<Value> {
        let text = std::fs::read_to_string(self.path(name)).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
    }
}

#[test]
fn answers_to_the_handshake_that_break_the_rules_are_refused_and_said_to_be() {
    let cases = vec![
        case("endless-headers", "HTTP: ", |asked| {
            agreed(asked, &"x-more: and more\r\n".repeat(1_000_000), b"")
        }),
        case("long-header", "HTTP: ", |asked| {
            agreed(asked, &format!("x-long: {}\r\n", "x".repeat(8 << 20)), b"")
        }),
        case("no-upgrade", "another protocol than WebSocket", |asked| {
            let text = String::from_utf8(agreed(asked, "", b"")).unwrap();
            text.replace("upgrade: websocket\r\n", "").into_bytes()
        }),
        case("another-protocol", "another protocol than WebSocket", |asked| {
            let text = String::from_utf8(agreed(asked, "", b"")).unwrap();
            text.replace("upgrade: websocket", "upgrade: h2c").into_bytes()
        }),
        case("wrong-accept", "Sec-WebSocket-Accept is wrong", |asked| {
            let text = String::from_utf8(agreed(asked, "", b"")).unwrap();
            text.replace(&accept(asked), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=").into_bytes()
        }),
        case("deflate", "wants sec-websocket-extensions: \"permessage-deflate\"", |asked| {
            agreed(asked, "sec-websocket-extensions: permessage-deflate\r\n", b"")
        }),
        case("subprotocol", "wants sec-websocket-protocol", |asked| {
            agreed(asked, "sec-websocket-protocol: chat\r\n", b"")
        }),
        case("page", "the server answered 200: <!DOCTYPE html>", |_| {
            answer("200 OK", "text/html", "<!DOCTYPE html><title>Sign in</title>")
        }),
        case("redirect", "redirects are not followed: is base_url right?", |_| {
            b"HTTP/1.1 302 Found\r\nlocation: https://portal.example/\r\ncontent-length: 0\r\n\r\n"
                .to_vec()
        }),
        case("huge-refusal", "the server answered 503", |_| {
            answer("503 Service Unavailable", "text/plain", &"x".repeat(100 << 20))
        }),
        case("not-http", "HTTP: ", |_| b"SSH-2.0-server\r\n\r\n".to_vec()),
        case("half-an-answer", "HTTP: ", |_| b"HTTP/1.1 101 Switching Pro".to_vec()),
        case("nothing", "HTTP: ", |_| Vec::new()),
    ];
    run(cases);
}

#[test]
fn a_server_that_takes_the_connection_and_never_answers_is_given_up() {
    run(vec![case("silent", "not connected: no answer within 20s", |_| {
        // Silent until the host has waited long enough.
        None
    })]);
}

#[test]
fn frames_that_break_the_rules_end_their_connection_and_nothing_else() {
    let masked = {
        let mut bytes = frame(FIN | BINARY, b"");
        bytes[1] |= 0x80;
        bytes.extend([1, 2, 3, 4]);
        bytes
    };
    let begun = frame(BINARY, b"\x0a");
    run(vec![
        frames("masked", "a server's frame is masked", masked),
        frames("reserved", "a reserved bit is set", frame(FIN | 0x40 | BINARY, b"x")),
        frames("data-opcode", "an unknown opcode", frame(FIN | 3, b"x")),
        frames("control-opcode", "an unknown opcode", frame(FIN | 11, b"x")),
        frames("cut-ping", "a control frame that is cut or too long", frame(PING, b"x")),
        frames(
            "long-ping",
            "a control frame that is cut or too long",
            frame(FIN | PING, &[0; 126]),
        ),
        frames("nothing-to-go-on", "a continuation of nothing", frame(FIN, b"x")),
        frames("within", "a message within another", [begun.clone(), good("never")].concat()),
        frames("half-a-code", "half a close code", frame(FIN | 8, &[3])),
        frames("cut-off", "the connection ended within a frame", good("cut")[..9].to_vec()),
        frames("text-close", "the server closed with code 1002: be \u{fffd}gone", {
            frame(FIN | 8, b"\x03\xeabe \x1b\xff\ngone".as_slice())
        }),
    ]);
}

#[test]
fn messages_over_the_limit_are_dead_letters_once_and_hold_up_nothing() {
    let part = vec![0; 40 << 10];
    let parts = [
        frame(BINARY, &part),
        frame(CONTINUATION, &part),
        frame(FIN | PING, b"still here"),
        frame(FIN, &part),
    ]
    .concat();
    let host = run(vec![
        over("at-once", "a frame of 100001 bytes", frame(FIN | BINARY, &vec![1; 100_001])),
        over("in-parts", "a frame of 81920 bytes", parts),
    ]);
    let again = "the frame over the limit came again and is passed over";
    assert!(host.running.log().contains(again), "{}", host.running.log());
}

#[test]
fn a_length_that_no_message_has_takes_no_memory() {
    let mut endless = vec![FIN | BINARY, 127];
    endless.extend((u64::MAX >> 1).to_be_bytes());
    // Enough for its beginning to be known.
    endless.extend(vec![7; 70 << 10]);
    let mut case = over("endless", "a frame of 9223372036854775807 bytes", endless);
    // Whatever followed would be a part of it.
    case.always = false;
    run(vec![case]);
}

/// A host under a raised limit, with and without a plugin that reads the whole of each event.
fn raised(server: &TlsServer, ca: &str) -> Host {
    let mut dir = HostDir::empty();
    add_source(&mut dir, "hq", server, ca, "max_frame = \"128MiB\"\n");
    dir.add(
        "[pipeline.main]\nfrom = [\"hq\"]\nthrough = []\nto = [\"archive\"]\n\
         [pipeline.seen]\nfrom = [\"hq\"]\nthrough = [\"10-filter\"]\nto = [\"seen\"]\n\
         [sink.archive]\nkind = \"file\"\npath = \"events.jsonl\"\n\
         [sink.seen]\nkind = \"file\"\npath = \"seen.jsonl\"\n",
    );
    let rules = "[config]\ndrop = [{ pointer = \"/x\", equals = 1 }]\n";
    dir.plugin("10-filter", "filter", rules);
    dir.run()
}

#[test]
fn a_string_of_100_mb_is_an_event_like_any_other_but_too_much_for_a_plugin() {
    const SIZE: usize = 100_000_000;
    let authority = Authority::new(Good::Now);
    let huge = frame(FIN | BINARY, &event("huge", Some(Data::TextData("é".repeat(SIZE / 2)))));
    let server = TlsServer::start(authority.identity(&["localhost"], Good::Now), move |asked| {
        let before = good(&format!("before-{}", asked.number));
        agreed(asked, "", &[&*before, &huge, &good("after"), &close()].concat())
    });
    let mut host = raised(&server, &authority.pem);
    let size_of = |name: &str| std::fs::metadata(host.path(name)).map_or(0, |file| file.len());
    wait_until("the event", || size_of("events.jsonl") > SIZE as u64);
    // It comes again with every connection, and the host goes on.
    wait_until("more connections", || server.asked().len() >= 3);
    let letter = wait_for("the dead letter of the plugin", || {
        let text = std::fs::read_to_string(host.path("data/dead-letters.jsonl")).ok()?;
        text.ends_with('\n').then_some(text)
    });
    let letter: Value = serde_json::from_str(letter.lines().next().unwrap()).unwrap();
    assert_eq!((&letter["reason"], &letter["plugin"]), (&"limit".into(), &"10-filter".into()));
    let resident = host.page().value("process_resident_memory_bytes", &[]);
    assert!(resident < 2e9, "{resident} bytes");
    // Before, it, and after; making 100 MB durable can take longer than a host has to stop.
    wait_until("what came after it", || {
        ["main", "seen"].iter().all(|name| host.settled(name) >= 3)
    });
    host.stop();
    for (file, has_huge) in [("events.jsonl", true), ("seen.jsonl", false)] {
        let lines = json_lines(&host.path(file));
        let ids: Vec<_> = lines.iter().map(|line| line["id"].as_str().unwrap()).collect();
        let count = |id: &str| ids.iter().filter(|found| **found == id).count();
        assert_eq!((count("huge"), count("after")), (usize::from(has_huge), 1), "{file}: {ids:?}");
        assert_eq!(ids[0], "before-0");
        let huge = lines.iter().find(|line| line["id"] == "huge");
        assert_eq!(
            huge.map_or(0, |line| line["data"].as_str().unwrap().len()),
            if has_huge { SIZE } else { 0 }
        );
    }
}
