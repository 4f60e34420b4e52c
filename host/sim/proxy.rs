//! A proxy as companies have them, for tests: CONNECT, and forwarding of plain HTTP, with Basic
//! authentication where that is asked for. It listens on loopback only, and says what was asked of
//! it. Key types: [`Proxy`], [`ProxyOptions`].

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http_body_util::{BodyExt as _, Full, combinators::BoxBody};
use hyper::body::{Bytes, Incoming};
use hyper::header::{
    CONNECTION, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION,
};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::{TokioIo, TokioTimer};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// How many connections there may be at a time; further ones wait to be accepted.
const MAX_CONNECTIONS: usize = 256;

/// How long a client may take for a request, and a target to be reached.
const PATIENCE: Duration = Duration::from_secs(10);

/// Headers that concern one connection only, and so are not passed on.
const HOP_BY_HOP: [HeaderName; 4] = [
    CONNECTION,
    PROXY_AUTHORIZATION,
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("keep-alive"),
];

/// Options of a proxy.
pub struct ProxyOptions {
    /// Where to listen: on loopback; port 0 takes any that is free.
    pub listen: SocketAddr,
    /// User and password that are asked for; `None` lets everyone in.
    pub login: Option<(String, SecretString)>,
    /// Where it is written down, as lines of JSON, what was asked for.
    pub log: Box<dyn Write + Send>,
}

/// Why a proxy does not run.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// It would be open to others.
    #[error("{0} is not a loopback address\nhint: listen on 127.0.0.1 or [::1]")]
    NotLoopback(SocketAddr),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
}

impl Default for ProxyOptions {
    fn default() -> Self {
        ProxyOptions {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            login: None,
            log: Box::new(std::io::stderr()),
        }
    }
}

/// A proxy that listens.
pub struct Proxy {
    listener: TcpListener,
    address: SocketAddr,
    house: Arc<House>,
}

struct House {
    /// What `Proxy-Authorization` has to be.
    login: Option<SecretString>,
    log: Mutex<Box<dyn Write + Send>>,
}

/// One line of the log.
#[derive(Serialize)]
struct Asked<'a> {
    method: &'a str,
    target: &'a str,
    status: u16,
}

type Body = BoxBody<Bytes, hyper::Error>;

impl Proxy {
    /// Begins to listen.
    ///
    /// # Errors
    /// When the address is taken, or not of this machine alone.
    pub async fn bind(options: ProxyOptions) -> Result<Self, ProxyError> {
        let address = options.listen;
        if !address.ip().is_loopback() {
            return Err(ProxyError::NotLoopback(address));
        }
        let failed = |source| ProxyError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let login = options.login.map(|(user, password)| {
            let login = format!("{user}:{}", password.expose_secret());
            SecretString::from(format!("Basic {}", BASE64_STANDARD.encode(login)))
        });
        let house = Arc::new(House { login, log: Mutex::new(options.log) });
        Ok(Proxy { listener, address, house })
    }

    /// Its URL, without the login.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Serves until it is dropped.
    pub async fn run(self) {
        let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let mut connections = JoinSet::new();
        loop {
            let accept = async {
                let permit = Arc::clone(&permits).acquire_owned().await;
                (permit, self.listener.accept().await)
            };
            tokio::select! {
                Some(ended) = connections.join_next() => if let Err(error) = ended {
                    tracing::error!(%error, "a connection's task failed");
                },
                (permit, accepted) = accept => match accepted {
                    Ok((stream, _)) => {
                        let house = Arc::clone(&self.house);
                        connections.spawn(async move {
                            let _permit = permit;
                            house.connection(stream).await;
                        });
                    }
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept a connection");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                },
            }
        }
    }
}

impl House {
    /// One connection: requests, and after CONNECT what goes through it.
    async fn connection(&self, stream: TcpStream) {
        let tunnel = Mutex::new(None);
        let service = service_fn(|mut request: Request<Incoming>| {
            let tunnel = &tunnel;
            async move {
                let (method, target) = (request.method().clone(), request.uri().to_string());
                let response = match self.answer(&mut request).await {
                    Answer::Tunnel(tcp) => {
                        let upgrade = hyper::upgrade::on(request);
                        *tunnel.lock().unwrap_or_else(PoisonError::into_inner) =
                            Some((upgrade, tcp));
                        Response::new(text(""))
                    }
                    Answer::Forward(tcp) => forward(tcp, request).await,
                    Answer::Refuse(response) => response,
                };
                self.note(method.as_str(), &target, response.status());
                Ok::<_, std::convert::Infallible>(response)
            }
        });
        let served = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(PATIENCE)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades()
            .await;
        if let Err(error) = served {
            tracing::debug!(%error, "HTTP ended");
        }
        let tunnel = tunnel.into_inner().unwrap_or_else(PoisonError::into_inner);
        let Some((upgrade, mut tcp)) = tunnel else { return };
        match upgrade.await {
            Ok(client) => {
                // Either side may end it, in any way.
                let _ = copy_bidirectional(&mut TokioIo::new(client), &mut tcp).await;
            }
            Err(error) => tracing::debug!(%error, "no tunnel"),
        }
    }

    async fn answer(&self, request: &mut Request<Incoming>) -> Answer {
        if !self.lets_in(request.headers()) {
            let mut response = refusal(
                StatusCode::PROXY_AUTHENTICATION_REQUIRED,
                "This proxy wants a user and a password.\n",
            );
            let realm = HeaderValue::from_static("Basic realm=\"trommel sim proxy\"");
            response.headers_mut().insert(PROXY_AUTHENTICATE, realm);
            return Answer::Refuse(response);
        }
        let uri = request.uri();
        let is_connect = request.method() == Method::CONNECT;
        let port = uri.port_u16().or((uri.scheme_str() == Some("http")).then_some(80));
        let (Some(host), Some(port)) = (uri.host(), port) else {
            let what = "A proxy takes CONNECT host:port, or a whole http:// address.\n";
            return Answer::Refuse(refusal(StatusCode::BAD_REQUEST, what));
        };
        let host = host.trim_matches(['[', ']']);
        match timeout(PATIENCE, TcpStream::connect((host, port))).await {
            Ok(Ok(tcp)) => {
                // Small messages must not wait for one another.
                let _ = tcp.set_nodelay(true);
                if is_connect { Answer::Tunnel(tcp) } else { Answer::Forward(tcp) }
            }
            Ok(Err(error)) => {
                let what = format!("{host}:{port} cannot be reached: {error}\n");
                Answer::Refuse(refusal(StatusCode::BAD_GATEWAY, &what))
            }
            Err(_) => {
                let what = format!("{host}:{port} does not answer.\n");
                Answer::Refuse(refusal(StatusCode::GATEWAY_TIMEOUT, &what))
            }
        }
    }

    fn lets_in(&self, headers: &HeaderMap) -> bool {
        let Some(login) = &self.login else { return true };
        let given = headers.get(PROXY_AUTHORIZATION).and_then(|value| value.to_str().ok());
        let (scheme, rest) = given.and_then(|given| given.split_once(' ')).unwrap_or_default();
        let wanted = login.expose_secret().split_once(' ').map(|(_, rest)| rest);
        scheme.eq_ignore_ascii_case("basic") && wanted == Some(rest.trim())
    }

    fn note(&self, method: &str, target: &str, status: StatusCode) {
        let asked = Asked { method, target, status: status.as_u16() };
        let mut line = serde_json::to_string(&asked).unwrap_or_default();
        line.push('\n');
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = log.write_all(line.as_bytes()).and_then(|()| log.flush()) {
            tracing::error!(%error, "the proxy's log cannot be written");
        }
    }
}

/// What becomes of a request.
enum Answer {
    /// The way is open.
    Tunnel(TcpStream),
    /// It is passed on over this.
    Forward(TcpStream),
    /// It is not.
    Refuse(Response<Body>),
}

/// Passes a request on, and its answer back, each as it comes.
async fn forward(tcp: TcpStream, mut request: Request<Incoming>) -> Response<Body> {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let path = path.parse::<Uri>();
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(tcp)).await;
    let (Ok(path), Ok((mut sender, connection))) = (path, handshake) else {
        return refusal(StatusCode::BAD_GATEWAY, "This cannot be passed on.\n");
    };
    *request.uri_mut() = path;
    HOP_BY_HOP.iter().for_each(|name| drop(request.headers_mut().remove(name)));
    // It ends with its request, or with the client's interest in the answer.
    tokio::spawn(connection);
    match sender.send_request(request).await {
        Ok(mut response) => {
            HOP_BY_HOP.iter().for_each(|name| drop(response.headers_mut().remove(name)));
            response.map(|body| body.boxed())
        }
        Err(error) => refusal(StatusCode::BAD_GATEWAY, &format!("No answer: {error}\n")),
    }
}

fn refusal(status: StatusCode, what: &str) -> Response<Body> {
    let mut response = Response::new(text(what));
    *response.status_mut() = status;
    response
}

fn text(text: &str) -> Body {
    Full::new(Bytes::copy_from_slice(text.as_bytes())).map_err(|never| match never {}).boxed()
}
