//! Servers of a test's own: certificates good and bad, HTTPS that answers as a test says, a proxy.
//! Key types: [`Authority`], [`TlsServer`], [`Proxy`].

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use base64::Engine as _;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};

/// A certificate authority.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its certificate, PEM.
    pub pem: String,
}

/// Until when certificates are good.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Good {
    Now,
    Until2021,
}

/// What a server shows.
pub struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

fn params(names: &[&str], good: Good) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = match good {
        Good::Now => date_time_ymd(2099, 1, 1),
        Good::Until2021 => date_time_ymd(2021, 1, 1),
    };
    params
}

impl Authority {
    pub fn new(good: Good) -> Authority {
        let key = KeyPair::generate().unwrap();
        let mut params = params(&[], good);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "authority of a test");
        let pem = params.self_signed(&key).unwrap().pem();
        Authority { issuer: Issuer::new(params, key), pem }
    }

    /// A certificate for these names.
    pub fn identity(&self, names: &[&str], good: Good) -> Identity {
        let key = KeyPair::generate().unwrap();
        let certificate = params(names, good).signed_by(&key, &self.issuer).unwrap();
        Identity::new(&certificate, &key)
    }
}

impl Identity {
    /// One that nobody signed but itself.
    pub fn self_signed(names: &[&str]) -> Identity {
        let key = KeyPair::generate().unwrap();
        Identity::new(&params(names, Good::Now).self_signed(&key).unwrap(), &key)
    }

    fn new(certificate: &rcgen::Certificate, key: &KeyPair) -> Identity {
        Identity {
            chain: vec![certificate.der().clone()],
            key: PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap(),
        }
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// What a server's answer is made from.
#[derive(Debug, Clone)]
pub struct Asked {
    /// How many came before it.
    pub number: usize,
    /// Request line and header fields.
    pub head: String,
    /// Its body.
    pub body: String,
}

type Handler = dyn Fn(&Asked) -> Option<Vec<u8>> + Send + Sync;

/// An HTTPS server that answers one request per connection as a test says.
pub struct TlsServer {
    /// `https://localhost:PORT`
    pub url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl TlsServer {
    /// Starts one. The handler gives the whole answer; an empty one ends the connection, and with none
    /// it stays open, silent, until the client ends it.
    pub fn start<A: Into<Option<Vec<u8>>>>(
        identity: Identity,
        handler: impl Fn(&Asked) -> A + Send + Sync + 'static,
    ) -> TlsServer {
        TlsServer::on("127.0.0.1:0", identity, handler)
    }

    /// Starts one at an address.
    pub fn on<A: Into<Option<Vec<u8>>>>(
        address: &str,
        identity: Identity,
        handler: impl Fn(&Asked) -> A + Send + Sync + 'static,
    ) -> TlsServer {
        let config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(identity.chain, identity.key)
            .unwrap();
        let config = Arc::new(config);
        let listener = TcpListener::bind(address).unwrap();
        let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let handler: Arc<Handler> = Arc::new(move |asked| handler(asked).into());
        let log = Arc::clone(&asked);
        thread::spawn(move || {
            for tcp in listener.incoming().flatten() {
                let (config, handler, log) =
                    (Arc::clone(&config), Arc::clone(&handler), Arc::clone(&log));
                // A client that goes away in the middle is its own matter.
                thread::spawn(move || serve(tcp, config, &*handler, &log));
            }
        });
        TlsServer { url, asked }
    }

    /// What it was asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

fn serve(
    tcp: TcpStream,
    config: Arc<ServerConfig>,
    handler: &Handler,
    log: &Mutex<Vec<Asked>>,
) -> std::io::Result<()> {
    tcp.set_read_timeout(Some(Duration::from_secs(30)))?;
    let connection = ServerConnection::new(config).map_err(std::io::Error::other)?;
    let mut tls = BufReader::new(rustls::StreamOwned::new(connection, tcp));
    let (head, body) = read_message(&mut tls)?;
    let asked = {
        let mut log = log.lock().unwrap();
        let asked = Asked { number: log.len(), head, body };
        log.push(asked.clone());
        asked
    };
    let tls = tls.get_mut();
    let Some(answer) = handler(&asked) else {
        tls.sock.set_read_timeout(None)?;
        return std::io::copy(tls, &mut std::io::sink()).map(drop);
    };
    tls.write_all(&answer)?;
    tls.flush()?;
    tls.conn.send_close_notify();
    tls.flush()
}

fn read_message(reader: &mut impl BufRead) -> std::io::Result<(String, String)> {
    let mut head = String::new();
    while reader.read_line(&mut head)? > 2 {}
    let length = head
        .lines()
        .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body)?;
    Ok((head, String::from_utf8_lossy(&body).into_owned()))
}

/// An answer with a body of this type.
pub fn answer(status: &str, kind: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}").into_bytes()
}

/// Asks an HTTPS server on this machine, as a client that trusts this PEM file.
pub fn ask(ca: &str, url: &str, request: &str) -> String {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca.as_bytes()) {
        roots.add(certificate.unwrap()).unwrap();
    }
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let url = url::Url::parse(url).unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let tcp = TcpStream::connect(("127.0.0.1", url.port().unwrap())).unwrap();
    let mut tls = BufReader::new(rustls::StreamOwned::new(connection, tcp));
    tls.get_mut().write_all(request.as_bytes()).unwrap();
    read_message(&mut tls).unwrap().1
}

/// An HTTP proxy that leads to this machine only.
pub struct Proxy {
    /// `127.0.0.1:PORT`
    pub address: String,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    /// Starts one that wants these credentials, `user:password`, or none. What is asked for as one
    /// of `names`, `host:port`, is on this machine too, at the port beside it.
    pub fn start(credentials: Option<&str>, names: &[(&str, u16)]) -> Proxy {
        let names: Vec<_> = names.iter().map(|(name, port)| ((*name).to_owned(), *port)).collect();
        let wanted = credentials.map(|pair| {
            let basic = base64::prelude::BASE64_STANDARD.encode(pair);
            format!("proxy-authorization: basic {}\r\n", basic.to_ascii_lowercase())
        });
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let heads: Arc<Mutex<Vec<String>>> = Arc::default();
        let log = Arc::clone(&heads);
        thread::spawn(move || {
            for tcp in listener.incoming().flatten() {
                let (wanted, log, names) = (wanted.clone(), Arc::clone(&log), names.clone());
                thread::spawn(move || lead(tcp, wanted.as_deref(), &names, &log));
            }
        });
        Proxy { address, heads }
    }

    /// The heads of the requests it got.
    pub fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }

    /// Whether it was asked to lead to this port.
    pub fn led_to(&self, url: &str) -> bool {
        let port = url.rsplit(':').next().unwrap().split('/').next().unwrap();
        let line = format!("CONNECT localhost:{port} ");
        self.heads().iter().any(|head| head.starts_with(&line))
    }
}

fn lead(
    client: TcpStream,
    wanted: Option<&str>,
    names: &[(String, u16)],
    log: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let (head, _) = read_message(&mut reader)?;
    log.lock().unwrap().push(head.clone());
    let mut client = client;
    if wanted.is_some_and(|wanted| !head.to_ascii_lowercase().contains(wanted)) {
        let refusal = "HTTP/1.1 407 Proxy Authentication Required\r\nproxy-authenticate: Basic realm=\"t\"\r\ncontent-length: 12\r\n\r\nnot for you\n";
        return client.write_all(refusal.as_bytes());
    }
    let target = head.split(' ').nth(1).unwrap_or_default();
    let named = names.iter().find(|(name, _)| name == target).map(|(_, port)| *port);
    let port = named.or_else(|| target.strip_prefix("localhost:")?.parse().ok());
    let Some(port) = port else {
        return client.write_all(b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n");
    };
    let server = TcpStream::connect(("127.0.0.1", port))?;
    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
    let (mut from_server, mut to_client) = (server.try_clone()?, client.try_clone()?);
    thread::spawn(move || {
        let _ = std::io::copy(&mut from_server, &mut to_client);
        to_client.shutdown(std::net::Shutdown::Both)
    });
    let mut server = server;
    std::io::copy(&mut client, &mut server)?;
    server.shutdown(std::net::Shutdown::Both)
}
