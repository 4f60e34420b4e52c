//! A server that events are posted to: it answers as the test says, for good or ill. Key types:
//! [`Collector`], [`Reply`].

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// A request as it came in.
#[derive(Debug, Clone)]
pub struct Posted {
    /// Method, path and version.
    pub line: String,
    /// By names in lower case.
    pub headers: BTreeMap<String, String>,
    /// As sent.
    pub body: Vec<u8>,
    /// What was answered; 0 for none.
    pub status: u16,
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Reply {
    status: u16,
    headers: String,
    body: Vec<u8>,
    how: How,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    Whole,
    /// The body breaks off.
    Half,
    /// The header breaks off.
    HalfHeader,
    /// The connection is closed without an answer.
    Nothing,
    /// Nothing happens any more.
    Hang,
}

impl Reply {
    /// A status alone.
    pub fn status(status: u16) -> Reply {
        Reply { status, headers: String::new(), body: Vec::new(), how: How::Whole }
    }

    /// With a body.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Reply {
        self.body = body.into();
        self
    }

    /// With a header field.
    pub fn header(mut self, name: &str, value: &str) -> Reply {
        self.headers += &format!("{name}: {value}\r\n");
        self
    }

    /// Whose body breaks off.
    pub fn half(mut self) -> Reply {
        self.how = How::Half;
        self
    }

    /// Whose header breaks off.
    pub fn half_header(mut self) -> Reply {
        self.how = How::HalfHeader;
        self
    }

    /// None: the connection is closed.
    pub fn nothing() -> Reply {
        Reply { how: How::Nothing, ..Reply::status(0) }
    }

    /// None, and the connection stays open.
    pub fn hang() -> Reply {
        Reply { how: How::Hang, ..Reply::status(0) }
    }
}

type Answer = dyn FnMut(&Posted) -> Reply + Send;

/// A running server.
pub struct Collector {
    /// `http://127.0.0.1:port`
    pub url: String,
    posted: Arc<Mutex<Vec<Posted>>>,
}

impl Collector {
    /// Starts a server that answers so.
    pub fn start(answer: impl FnMut(&Posted) -> Reply + Send + 'static) -> Collector {
        Collector::on(TcpListener::bind("127.0.0.1:0").unwrap(), answer)
    }

    /// Starts it on a port that is listened on already.
    pub fn on(
        listener: TcpListener,
        answer: impl FnMut(&Posted) -> Reply + Send + 'static,
    ) -> Collector {
        let url = format!("http://{}", listener.local_addr().unwrap());
        let posted = Arc::new(Mutex::new(Vec::new()));
        let answer: Arc<Mutex<Answer>> = Arc::new(Mutex::new(answer));
        let all = Arc::clone(&posted);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, answer, all) =
                    (stream.unwrap(), Arc::clone(&answer), Arc::clone(&all));
                // It ends with its connection.
                std::thread::spawn(move || serve(stream, &answer, &all));
            }
        });
        Collector { url, posted }
    }

    /// What came so far, in order.
    pub fn posted(&self) -> Vec<Posted> {
        self.posted.lock().unwrap().clone()
    }

    /// The bodies that were answered with 200, in order.
    pub fn taken(&self) -> Vec<Vec<u8>> {
        let posted = self.posted();
        posted.into_iter().filter(|post| post.status == 200).map(|post| post.body).collect()
    }

    /// What was taken of a sink of format `ndjson`, as one text.
    pub fn taken_text(&self) -> String {
        String::from_utf8(self.taken().concat()).unwrap()
    }
}

/// Requests of a connection, one after the other.
fn serve(mut stream: TcpStream, answer: &Mutex<Answer>, all: &Mutex<Vec<Posted>>) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    loop {
        let mut post = read(&mut reader)?;
        // Held until it is written down, so that what came is in the order of the answers.
        let mut answer = answer.lock().unwrap();
        let reply = (*answer)(&post);
        post.status = if reply.how == How::Whole { reply.status } else { 0 };
        all.lock().unwrap().push(post);
        drop(answer);
        match reply.how {
            How::Nothing => return None,
            How::Hang => {
                // Until the other side has had enough.
                let _ = reader.read(&mut [0]);
                return None;
            }
            _ => {}
        }
        let length = reply.body.len() + if reply.how == How::Half { 9 } else { 0 };
        let mut head = format!(
            "HTTP/1.1 {} Said\r\ncontent-length: {length}\r\n{}\r\n",
            reply.status, reply.headers
        );
        if reply.how == How::HalfHeader {
            head.truncate(head.len() - 9);
            stream.write_all(head.as_bytes()).ok()?;
            return None;
        }
        // Whoever has heard enough hangs up.
        stream.write_all(&[head.as_bytes(), &reply.body].concat()).ok()?;
        if reply.how == How::Half {
            return None;
        }
    }
}

fn read(reader: &mut BufReader<TcpStream>) -> Option<Posted> {
    let mut line = String::new();
    if reader.read_line(&mut line).ok()? == 0 {
        return None;
    }
    let mut headers = BTreeMap::new();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let Some((name, value)) = header.trim_end().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Posted { line: line.trim_end().to_owned(), headers, body, status: 0 })
}
