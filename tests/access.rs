//! How the host gets in: tokens, workspaces, proxies, certificates, and what it says where it does not
//! get in. A secret is never in what it says.

use std::fmt::Write as _;

use crate::support::tls::{Asked, Authority, Good, Identity, Proxy, TlsServer, answer, ask};
use crate::support::{Host, HostDir, Sim, wait_until};

/// The secret of clients that ask servers of a test's own.
const SECRET: &str = "correct-horse/battery+staple&x";
const ALL: &str = "[pipeline.main]\nfrom = [\"hq\"]\nto = [\"archive\"]\n\
    [sink.archive]\nkind = \"file\"\npath = \"events.jsonl\"\n";

fn small_sim() -> Sim {
    Sim::start(&["--rate", "max", "--count", "20", "--streams", "audit-trail-events"])
}

/// A token that the simulator takes.
fn sim_token(sim: &Sim) -> String {
    let ready = &sim.ready;
    let body = format!(
        "grant_type=client_credentials&client_id={}&client_secret={}",
        ready.client_id, ready.client_secret
    );
    let request = format!(
        "POST /as/token.oauth2 HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
         content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let ca = std::fs::read_to_string(&ready.ca_file).unwrap();
    let answer = ask(&ca, &ready.token_endpoint, &request);
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    answer["access_token"].as_str().unwrap().to_owned()
}

fn json(status: &str, body: &serde_json::Value) -> Vec<u8> {
    answer(status, "application/json", &body.to_string())
}

/// The answer of a token endpoint.
fn granted(token: &str) -> Vec<u8> {
    json("200 OK", &serde_json::json!({ "access_token": token, "expires_in": 7200 }))
}

/// A folder whose source `hq` streams from the simulator, with this access and settings of its own.
/// It trusts the simulator and these others.
fn dir_with(sim: &Sim, trusted: &[&str], settings: &str) -> HostDir {
    let mut dir = HostDir::empty();
    add_source(&mut dir, "hq", &sim.ready.base_url, Some(sim), trusted, settings);
    dir.add(ALL);
    dir
}

fn add_source(
    dir: &mut HostDir,
    name: &str,
    base_url: &str,
    sim: Option<&Sim>,
    trusted: &[&str],
    settings: &str,
) {
    let mut ca = trusted.concat();
    if let Some(sim) = sim {
        ca += &std::fs::read_to_string(&sim.ready.ca_file).unwrap();
    }
    std::fs::write(dir.path(&format!("{name}.pem")), ca).unwrap();
    std::fs::write(dir.path("secret"), SECRET).unwrap();
    dir.add(&format!(
        "[source.{name}]\nkind = \"central\"\nbase_url = \"{base_url}\"\n\
         ca_file = \"{name}.pem\"\nstreams = [\"audit-trail-events\"]\n{settings}\n"
    ));
}

/// Settings of a client that asks this endpoint.
fn client(endpoint: &str) -> String {
    format!(
        "token_endpoint = \"{endpoint}/token\"\nclient_id = \"me\"\n\
         client_secret = {{ file = \"secret\" }}\n"
    )
}

/// Waits until all 20 events are in the sink, ends the host and looks for secrets in its log.
fn has_all(mut host: Host, secrets: &[&str]) -> String {
    wait_until("all events", || host.lines("events.jsonl").len() == 20);
    let tally = host.stop();
    assert_eq!((tally.received, tally.delivered), (20, 20));
    without(&host, secrets)
}

/// The log, without any of these in any form.
fn without(host: &Host, secrets: &[&str]) -> String {
    use base64::Engine as _;
    let log = host.running.log();
    for secret in secrets.iter().chain(&[SECRET]) {
        let encoded = base64::prelude::BASE64_STANDARD.encode(secret);
        let in_basic = base64::prelude::BASE64_STANDARD.encode(format!("me:{secret}"));
        for form in [*secret, &encoded, &in_basic] {
            assert!(!log.contains(form), "{form:?} is in the log: {log}");
        }
    }
    log
}

#[test]
fn client_credentials_go_into_the_header_or_the_body() {
    for place in ["header", "body"] {
        let sim = small_sim();
        let token = sim_token(&sim);
        let authority = Authority::new(Good::Now);
        let given = token.clone();
        let server =
            TlsServer::start(authority.identity(&["localhost"], Good::Now), move |_: &Asked| {
                granted(&given)
            });
        let settings = client(&server.url) + &format!("credentials_in = \"{place}\"\n");
        let host = dir_with(&sim, &[&authority.pem], &settings).run();
        has_all(host, &[&token]);
        let asked = &server.asked()[0];
        assert!(asked.head.starts_with("POST /token HTTP/1.1\r\n"), "{}", asked.head);
        let head = asked.head.to_ascii_lowercase();
        assert!(head.contains("content-type: application/x-www-form-urlencoded\r\n"), "{head}");
        if place == "header" {
            assert_eq!(asked.body, "grant_type=client_credentials");
            assert!(head.contains("authorization: basic "), "{head}");
        } else {
            let expected = "grant_type=client_credentials&client_id=me&\
                            client_secret=correct-horse%2Fbattery%2Bstaple%26x";
            assert_eq!(asked.body, expected);
            assert!(!head.contains("authorization"), "{head}");
        }
    }
}

#[test]
fn a_workspace_says_where_tokens_are_and_a_proxy_leads_there() {
    const PLACE: &str = "global.api.greenlake.hpe.com";
    let sim = small_sim();
    let token = sim_token(&sim);
    let authority = Authority::new(Good::Now);
    let given = token.clone();
    let server =
        TlsServer::start(authority.identity(&[PLACE], Good::Now), move |_: &Asked| granted(&given));
    let port = url::Url::parse(&server.url).unwrap().port().unwrap();
    let proxy = Proxy::start(Some("al@ice:pass:word"), &[(&format!("{PLACE}:443"), port)]);
    let settings = "workspace = \"7600415a-8876\"\nclient_id = \"me\"\n\
        client_secret = { file = \"secret\" }\nproxy = { file = \"proxy\" }\n";
    let dir = dir_with(&sim, &[&authority.pem], settings);
    let address = format!("http://al%40ice:pass%3Aword@{}\n", proxy.address);
    std::fs::write(dir.path("proxy"), &address).unwrap();
    let host = dir.run_with_variables(&[("HTTPS_PROXY", "http://127.0.0.1:1"), ("NO_PROXY", "*")]);
    has_all(host, &[&token, "al@ice:pass:word", "pass%3Aword", "pass:word"]);
    let line = "POST /authorization/v2/oauth2/7600415a-8876/token HTTP/1.1\r\n";
    assert!(server.asked()[0].head.starts_with(line), "{:?}", server.asked());
    assert!(proxy.heads()[0].starts_with("CONNECT global.api.greenlake.hpe.com:443 HTTP/1.1\r\n"));
    assert!(proxy.led_to(&sim.ready.base_url), "{:?}", proxy.heads());
}

#[test]
fn the_environment_names_proxies_and_exceptions() {
    let sim = small_sim();
    let proxy = Proxy::start(None, &[]);
    let dir = HostDir::new(&sim, &["audit-trail-events"], ALL);
    has_all(dir.run_with_variables(&[("https_proxy", &proxy.address)]), &[]);
    assert!(proxy.led_to(&sim.ready.token_endpoint) && proxy.led_to(&sim.ready.base_url));
    let count = |text: &str| proxy.heads().iter().filter(|head| head.contains(text)).count();
    assert_eq!(count("CONNECT"), 2, "{:?}", proxy.heads());

    // Nobody listens at that address.
    let nowhere = ("ALL_PROXY", "http://127.0.0.1:1");
    let sim = small_sim();
    let dir = HostDir::new(&sim, &["audit-trail-events"], ALL);
    has_all(dir.run_with_variables(&[nowhere, ("NO_PROXY", "example.com, localhost")]), &[]);

    let sim = small_sim();
    let mut dir = HostDir::new(&sim, &["audit-trail-events"], ALL);
    dir.replace("streams = ", "proxy = \"none\"\nstreams = ");
    has_all(dir.run_with_variables(&[nowhere]), &[]);
}

#[test]
fn a_proxy_that_does_not_lead_on_says_why() {
    let sim = small_sim();
    let proxy = Proxy::start(Some("alice:pass"), &[]);
    for (address, expected) in [
        (proxy.address.clone(), "status 407: not for you (hint: the proxy wants credentials"),
        (format!("alice:wrong-pass@{}", proxy.address), "does not take these credentials"),
        ("127.0.0.1:1".to_owned(), "proxy: 127.0.0.1:1 is not reached: tcp: "),
    ] {
        let dir = HostDir::new(&sim, &["audit-trail-events"], ALL);
        let mut host = dir.run_with_variables(&[("HTTPS_PROXY", &address)]);
        host.wait_for_log(expected);
        host.stop();
        without(&host, &["wrong-pass", "alice:wrong-pass"]);
    }
}

#[test]
fn a_token_file_is_read_again_when_its_token_is_refused() {
    let sim = small_sim();
    let dir = dir_with(&sim, &[], "token_file = \"token\"\n");
    let mut host = dir.run();
    host.wait_for_log("cannot be read: No such file");
    std::fs::write(host.path("token"), "an-old-token\n").unwrap();
    host.wait_for_log("(hint: put a new token into ");
    let token = sim_token(&sim);
    let text = serde_json::json!({ "access_token": token, "expires_in": "7200" }).to_string();
    std::fs::write(host.path("token"), text).unwrap();
    has_all(host, &["an-old-token", &token]);
}

#[test]
fn whatever_a_token_endpoint_answers_it_is_asked_again_until_it_has_a_token() {
    let sim = small_sim();
    let token = sim_token(&sim);
    let given = token.clone();
    let authority = Authority::new(Good::Now);
    let handler = move |asked: &Asked| {
        let page = "<!DOCTYPE html><title>Sign in</title>";
        match asked.number {
            0 => Vec::new(),
            1 => answer("503 Service Unavailable", "text/plain", "come back later"),
            2 => answer("200 OK", "text/html; charset=utf-8", page),
            3 => answer("200 OK", "application/json", page),
            4 => {
                let said = format!("no client me with {SECRET}");
                let refusal =
                    serde_json::json!({ "error": "invalid_client", "error_description": said });
                json("401 Unauthorized", &refusal)
            }
            5 => answer("200 OK", "application/json", &format!("{{\"access_token\":\"{given}")),
            6 => answer("200 OK", "application/json", &"x".repeat(2 << 20)),
            7 => b"HTTP/1.1 302 Found\r\nlocation: https://portal.example/?k=hidden-key\r\n\
                content-length: 0\r\n\r\n"
                .to_vec(),
            8 => b"SSH-2.0-server\r\n\r\n".to_vec(),
            // No expires_in: it is used until it is refused.
            _ => json("200 OK", &serde_json::json!({ "access_token": given })),
        }
    };
    let server = TlsServer::start(authority.identity(&["localhost"], Good::Now), handler);
    let dir = dir_with(&sim, &[&authority.pem], &client(&server.url));
    let mut host = dir.run();
    // About half-way: it waits ever longer.
    host.wait_for_log("it leads elsewhere");
    let log = has_all(host, &[&token, "hidden-key"]);
    for expected in [
        "token endpoint localhost: the connection ended before the answer",
        "status 503: come back later",
        "answered with a web page (hint: is token_endpoint right?",
        "status 401: invalid_client: no client me with (secret) (hint: are client id and secret",
        "the answer is none: it is not JSON from line 1",
        "the answer is larger than 1 MiB",
        "it leads elsewhere, to https://portal.example",
        "the answer is not HTTP",
        "nobody says how long it lives",
    ] {
        assert!(log.contains(expected), "{expected:?} is not in the log: {log}");
    }
}

#[test]
fn a_token_endpoint_that_is_down_or_slow_is_asked_again() {
    let sim = small_sim();
    let token = sim_token(&sim);
    let authority = Authority::new(Good::Now);
    // Bound and let go: nobody listens there until the host has noticed.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap().to_string();
    drop(free);
    let url = format!("https://localhost:{}", address.rsplit(':').next().unwrap());
    let mut host = dir_with(&sim, &[&authority.pem], &client(&url)).run();
    host.wait_for_log("connection refused");
    let given = token.clone();
    let handler = move |asked: &Asked| {
        // Silent until the host has waited long enough.
        (asked.number > 0).then(|| granted(&given))
    };
    let identity = authority.identity(&["localhost"], Good::Now);
    let server = TlsServer::on(&address, identity, handler);
    host.wait_for_log("token endpoint localhost: no answer within");
    has_all(host, &[&token]);
    assert!(server.asked().len() > 1);
}

#[test]
fn tokens_that_are_refused_for_ever_are_not_asked_for_in_haste() {
    let authority = Authority::new(Good::Now);
    let tokens = TlsServer::start(authority.identity(&["localhost"], Good::Now), |asked| {
        granted(&format!("hidden-token-{}", asked.number))
    });
    let stream = TlsServer::start(authority.identity(&["localhost"], Good::Now), |_| {
        answer("401 Unauthorized", "text/plain", "who are you")
    });
    let mut dir = HostDir::empty();
    let settings = client(&tokens.url);
    add_source(&mut dir, "hq", &stream.url, None, &[&authority.pem], &settings);
    dir.add(ALL);
    let mut host = dir.run();
    host.wait_for_log("(hint: tokens are given out, but the server does not take them");
    wait_until("some tries", || stream.asked().len() >= 5);
    host.stop();
    assert!(tokens.asked().len() <= stream.asked().len(), "no more tokens than tries with them");
    without(&host, &["hidden-token"]);
    // The first refusal brings another token at once.
    let heads: Vec<_> = stream.asked().into_iter().map(|asked| asked.head).collect();
    assert!(heads[1].contains("hidden-token-1"), "{heads:?}");
}

#[test]
fn certificates_that_are_no_good_are_refused_and_said_to_be() {
    let good = Authority::new(Good::Now);
    let old = Authority::new(Good::Until2021);
    let unknown = Authority::new(Good::Now);
    let cases: [(&str, Identity, &str); 5] = [
        ("expired", good.identity(&["localhost"], Good::Until2021), "expired on 2021-01-01"),
        (
            "name",
            good.identity(&["central.example", "other.example"], Good::Now),
            "the certificate is not for localhost but for central.example, other.example",
        ),
        (
            "self",
            Identity::self_signed(&["localhost"]),
            "is self-signed, or issued by an authority that is not trusted (hint: give that",
        ),
        (
            "unknown",
            // It calls itself what the good one does.
            unknown.identity(&["localhost"], Good::Now),
            "is not signed by the authority that it names (hint: one of that name is trusted",
        ),
        (
            "old",
            old.identity(&["localhost"], Good::Now),
            "certificate 2 expired on 2021-01-01; it is not trusted",
        ),
    ];
    let mut dir = HostDir::empty();
    let mut names = Vec::new();
    let mut expected = Vec::new();
    let mut servers = Vec::new();
    for (name, identity, says) in cases {
        let server = TlsServer::start(identity, |_| granted("hidden-token"));
        // As token endpoint, and as the server of streams.
        for (kind, base_url, settings) in [
            ("token", "https://localhost:1", client(&server.url)),
            ("stream", &*server.url, "token = { file = \"secret\" }\n".to_owned()),
        ] {
            let name = format!("{name}-{kind}");
            add_source(&mut dir, &name, base_url, None, &[&good.pem, &old.pem], &settings);
            names.push(format!("{name:?}"));
            expected.push((name, says));
        }
        servers.push(server);
    }
    let mut pipeline = String::new();
    write!(pipeline, "[pipeline.main]\nfrom = [{}]\n", names.join(", ")).unwrap();
    dir.add(&pipeline);
    let mut host = dir.run();
    for (name, says) in expected {
        let said = |log: &str| {
            let of_all = says.contains("it is not trusted");
            log.lines().any(|line| line.contains(says) && (of_all || line.contains(&name)))
        };
        wait_until(&format!("{says:?} of {name}"), || said(&host.running.log()));
    }
    host.stop();
    without(&host, &["hidden-token"]);
    // Not a byte of a request reached any of them.
    assert!(servers.iter().all(|server| server.asked().is_empty()));
}

#[test]
fn tenants_have_tokens_of_their_own() {
    let sims = [small_sim(), small_sim()];
    let mut dir = HostDir::empty();
    for (name, sim) in ["hq", "branch"].into_iter().zip(&sims) {
        dir.source(name, sim, &["audit-trail-events"]);
    }
    dir.add(&ALL.replace("[\"hq\"]", "[\"hq\", \"branch\"]"));
    let mut host = dir.run();
    wait_until("all events", || host.lines("events.jsonl").len() == 40);
    let tally = host.stop();
    assert_eq!((tally.received, tally.delivered), (40, 40));
}

#[test]
fn a_variable_that_names_no_proxy_is_told_without_what_it_holds() {
    let sim = small_sim();
    let dir = HostDir::new(&sim, &["audit-trail-events"], ALL);
    let mut host =
        dir.run_with_variables(&[("all_proxy", "socks5://alice:hidden-pass@proxy.example")]);
    assert_eq!(host.running.wait().code(), Some(2));
    let log = without(&host, &["hidden-pass"]);
    let expected = "the environment: all_proxy: socks5 proxies are not supported\nhint: ";
    assert!(log.contains(expected), "{log}");
    // Who does not use it is not troubled.
    let mut dir = HostDir::new(&sim, &["audit-trail-events"], ALL);
    dir.replace("streams = ", "proxy = \"none\"\nstreams = ");
    has_all(dir.run_with_variables(&[("all_proxy", "socks5://proxy.example")]), &[]);
}
