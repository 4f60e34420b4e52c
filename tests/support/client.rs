//! A client of the simulator that is as plain as can be, to see what it really sends. Key types:
//! [`Client`], [`Got`].

use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::{HeaderMap, HeaderName, Response};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};
use trommel::decode::Envelope;
use trommel::decode::catalog::Stream;

use super::{Ready, SOON, Sim};

/// An open stream.
pub type Socket = WebSocketStream<TlsStream<TcpStream>>;

/// Someone who knows how to get in.
pub struct Client {
    ready: Ready,
}

/// A handshake that was refused.
#[derive(Debug)]
pub struct Refused {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: String,
}

/// What a connection brought.
#[derive(Debug, Default)]
pub struct Got {
    /// Ids of events, in order.
    pub ids: Vec<String>,
    /// Sizes of frames, in order.
    pub sizes: Vec<usize>,
    pub garbage: usize,
    pub pings: usize,
    pub pongs: usize,
    pub end: Option<End>,
}

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// By a Close, with or without a code.
    Close(Option<u16>),
    /// In the middle of things.
    Broken(String),
}

impl Client {
    pub fn of(sim: &Sim) -> Client {
        Client { ready: sim.ready.clone() }
    }

    pub fn port(&self) -> u16 {
        self.ready.base_url.rsplit(':').next().unwrap().parse().unwrap()
    }

    /// A TLS connection, or why there is none.
    pub async fn tls(&self) -> Result<TlsStream<TcpStream>, String> {
        let tcp = TcpStream::connect(("127.0.0.1", self.port())).await.unwrap();
        self.tls_over(tcp).await
    }

    pub async fn tls_over(&self, tcp: TcpStream) -> Result<TlsStream<TcpStream>, String> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(&self.ready.ca_file).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("localhost").unwrap();
        let tls = TlsConnector::from(Arc::new(config)).connect(name, tcp).await;
        tls.map_err(|error| error.to_string())
    }

    /// Sends a request and returns the whole answer.
    pub async fn http(&self, request: &str) -> String {
        let mut stream = self.tls().await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // However it ends, what came is the answer.
        let _ = timeout(SOON, stream.read_to_end(&mut answer)).await.expect("an answer");
        String::from_utf8(answer).unwrap()
    }

    /// The token endpoint's answer to the credentials in the body.
    pub async fn ask_token(&self, path: &str) -> String {
        let Ready { client_id, client_secret, .. } = &self.ready;
        let body = format!(
            "grant_type=client_credentials&client_id={client_id}&client_secret={client_secret}"
        );
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        self.http(&request).await
    }

    pub async fn token(&self) -> String {
        let answer = self.ask_token("/as/token.oauth2").await;
        let (_, body) = answer.split_once("\r\n\r\n").expect(&answer);
        let json: serde_json::Value = serde_json::from_str(body).expect(&answer);
        json["access_token"].as_str().expect(&answer).to_owned()
    }

    /// Opens a stream with these headers besides.
    pub async fn try_open(
        &self,
        stream: &str,
        headers: &[(&str, &str)],
    ) -> Result<Socket, Refused> {
        let token = self.token().await;
        let tls = self.tls().await.unwrap();
        self.open_over(tls, stream, &token, headers).await
    }

    pub async fn open_over(
        &self,
        tls: TlsStream<TcpStream>,
        stream: &str,
        token: &str,
        headers: &[(&str, &str)],
    ) -> Result<Socket, Refused> {
        let path = Stream::named(stream).unwrap().path();
        let mut request = format!("wss://localhost/{path}").into_client_request().unwrap();
        let authorization = format!("Bearer {token}");
        for (name, value) in [("authorization", &*authorization)].iter().chain(headers) {
            let name: HeaderName = name.parse().unwrap();
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        let config = WebSocketConfig::default().max_message_size(None).max_frame_size(None);
        match tokio_tungstenite::client_async_with_config(request, tls, Some(config)).await {
            Ok((socket, _)) => Ok(socket),
            Err(Error::Http(response)) => Err(refused(*response)),
            Err(error) => panic!("{error}"),
        }
    }

    pub async fn open(&self, stream: &str) -> Socket {
        self.try_open(stream, &[]).await.unwrap()
    }

    pub async fn open_as(&self, stream: &str, id: &str) -> Socket {
        self.try_open(stream, &[("subscriber-id", id)]).await.unwrap()
    }
}

fn refused(response: Response<Option<Vec<u8>>>) -> Refused {
    let (parts, body) = response.into_parts();
    let body = String::from_utf8(body.unwrap_or_default()).unwrap();
    Refused { status: parts.status.as_u16(), headers: parts.headers, body }
}

impl Got {
    /// Reads until the connection ends.
    pub async fn all(socket: &mut Socket) -> Got {
        let mut got = Got::default();
        while got.end.is_none() {
            got.next(socket).await;
        }
        got
    }

    /// Reads until so many events are there.
    pub async fn events(socket: &mut Socket, events: usize) -> Got {
        let mut got = Got::default();
        while got.ids.len() < events {
            assert!(got.end.is_none(), "{events} events: {got:?}");
            got.next(socket).await;
        }
        got
    }

    /// Takes in the next thing that comes.
    pub async fn next(&mut self, socket: &mut Socket) {
        match timeout(SOON, socket.next()).await.expect("something to come") {
            Some(Ok(Message::Binary(bytes))) => {
                self.sizes.push(bytes.len());
                match Envelope::read(&bytes) {
                    Some(envelope) => self.ids.push(envelope.id.to_owned()),
                    None => self.garbage += 1,
                }
            }
            Some(Ok(Message::Ping(_))) => self.pings += 1,
            Some(Ok(Message::Pong(_))) => self.pongs += 1,
            Some(Ok(Message::Close(close))) => {
                self.end = Some(End::Close(close.map(|close| close.code.into())));
                // Answers it, and waits for the end of the connection.
                while let Some(Ok(_)) = socket.next().await {}
            }
            Some(Ok(other)) => panic!("{other:?}"),
            Some(Err(error)) => self.end = Some(End::Broken(error.to_string())),
            None => self.end = Some(End::Broken("nothing".to_owned())),
        }
    }
}

/// Whether something comes within a moment.
pub async fn is_quiet(socket: &mut Socket) -> bool {
    timeout(Duration::from_millis(1), socket.next()).await.is_err()
}

/// Closes in good order; gives back the events that came meanwhile.
pub async fn close(mut socket: Socket) -> Vec<String> {
    socket.send(Message::Close(None)).await.unwrap();
    let mut ids = Vec::new();
    while let Some(message) = timeout(SOON, socket.next()).await.expect("an end") {
        if let Ok(Message::Binary(bytes)) = message {
            ids.push(Envelope::read(&bytes).unwrap().id.to_owned());
        }
    }
    ids
}
