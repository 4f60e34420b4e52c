//! What the simulator can be told to do wrong, as one table: a name, what it means, how its value
//! reads. A new fault is a row here, a variant of [`Fault`] and a field of [`Faults`]. Key type:
//! [`Faults`].

use std::num::NonZeroU64;
use std::str::FromStr;
use std::time::Duration;

use super::fault_values as values;

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// By a Close, then reading until the peer has closed.
    Close {
        /// The code; `None` for a Close without one.
        code: Option<u16>,
        /// The reason.
        reason: &'static str,
    },
    /// The TCP connection is reset.
    Reset,
    /// Nothing is sent any more, no ping answered; the socket stays open.
    Silence,
    /// Half a frame, then the end of the TCP connection.
    Truncate,
}

/// An ending, and after how many frames of a connection it comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndAfter {
    /// So many frames.
    pub frames: NonZeroU64,
    /// How it ends.
    pub ending: Ending,
}

/// Something done so many times, or for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn<T> {
    /// What is done.
    pub what: T,
    /// How often; `None` for ever.
    pub times: Option<NonZeroU64>,
}

/// What the token endpoint does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenFault {
    /// Answers 503.
    Down,
    /// Ends the connection without an answer.
    Closed,
    /// Answers after a while.
    Slow(Duration),
    /// Answers 200 with a page for people.
    Html,
    /// Answers without `expires_in`.
    NoExpiry,
    /// Refuses the credentials.
    Unauthorized,
}

/// What is wrong with the server's certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadCertificate {
    /// It is no longer valid.
    Expired,
    /// It is for another host.
    WrongName,
    /// No CA signed it.
    SelfSigned,
}

/// Frames that are larger than a client may want.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Oversized {
    /// After every so many frames.
    pub every: NonZeroU64,
    /// So large.
    pub bytes: usize,
}

/// A pause in what is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stall {
    /// After every so many frames.
    pub every: NonZeroU64,
    /// So long.
    pub pause: Duration,
}

/// Writing in small pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trickle {
    /// So many bytes at a time.
    pub bytes: usize,
    /// With so much time between.
    pub pause: Duration,
}

/// One fault, as given on the command line (`NAME=VALUE`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Connections end after so many frames.
    End(EndAfter),
    /// After every so many events of a stream all tokens issued so far are dead.
    Expire(NonZeroU64),
    /// An undecodable frame after every so many events.
    Garbage(NonZeroU64),
    /// A text frame after every so many events.
    Text(NonZeroU64),
    /// Upgrades are refused with a status.
    Status(Turn<u16>),
    /// A second connection of a stream is refused with a status.
    SecondSocket(u16),
    /// The token endpoint does wrong.
    Token(Turn<TokenFault>),
    /// The certificate is wrong.
    Certificate(Turn<BadCertificate>),
    /// Frames beyond a limit.
    Oversized(Oversized),
    /// So many events are sent again on a new connection.
    Duplicates(NonZeroU64),
    /// Order is lost within so many frames.
    Reordered(NonZeroU64),
    /// Messages come in so many frames.
    Fragmented(NonZeroU64),
    /// Bytes come a few at a time.
    Trickle(Trickle),
    /// Nothing comes for a while.
    Stall(Stall),
    /// What could not be sent is kept so long for a `Subscriber-Id`.
    Redeliver(Duration),
}

/// A row of the table of faults.
#[derive(Debug)]
pub struct FaultSpec {
    /// Its name.
    pub name: &'static str,
    /// What its value is.
    pub value: &'static str,
    /// What it does.
    pub doc: &'static str,
    parse: fn(&str) -> Result<Fault, String>,
}

/// Every fault there is.
pub const FAULTS: &[FaultSpec] = &[
    FaultSpec {
        name: "drop",
        value: "N",
        doc: "close after every N frames of a connection",
        parse: values::drop,
    },
    FaultSpec {
        name: "close",
        value: "CODE[:N]",
        doc: "close with this code (none: without one) after every N frames of a connection \
              [default: 100]",
        parse: values::close,
    },
    FaultSpec {
        name: "reset",
        value: "N",
        doc: "reset the TCP connection after every N frames of a connection, without a Close",
        parse: |value| values::end(value, Ending::Reset),
    },
    FaultSpec {
        name: "half-open",
        value: "N",
        doc: "after N frames of a connection send nothing more and answer no ping, but keep the \
              socket open",
        parse: |value| values::end(value, Ending::Silence),
    },
    FaultSpec {
        name: "truncated",
        value: "N",
        doc: "after every N frames of a connection send the first half of a frame, then end the \
              TCP connection",
        parse: |value| values::end(value, Ending::Truncate),
    },
    FaultSpec {
        name: "expire",
        value: "N",
        doc: "after every N events of a stream all tokens issued so far are dead and their sockets \
              are closed",
        parse: |value| values::number(value).map(Fault::Expire),
    },
    FaultSpec {
        name: "garbage",
        value: "N",
        doc: "an extra undecodable frame after every N events, outside --count and ledger",
        parse: |value| values::number(value).map(Fault::Garbage),
    },
    FaultSpec {
        name: "text",
        value: "N",
        doc: "an extra text frame after every N events, outside --count and ledger",
        parse: |value| values::number(value).map(Fault::Text),
    },
    FaultSpec {
        name: "oversized",
        value: "N[:SIZE]",
        doc: "an extra event of this size after every N frames of a connection, always the same \
              one, outside --count and ledger [default: 17MiB]",
        parse: values::oversized,
    },
    FaultSpec {
        name: "duplicates",
        value: "N",
        doc: "a connection that is not its stream's first begins with the last N events sent on \
              the stream, once more",
        parse: |value| values::up_to(value, 10_000).map(Fault::Duplicates),
    },
    FaultSpec {
        name: "reordered",
        value: "N",
        doc: "each N frames are sent in an order decided by the seed, different on each connection",
        parse: |value| values::up_to(value, 1_000).map(Fault::Reordered),
    },
    FaultSpec {
        name: "fragmented",
        value: "N",
        doc: "each message comes in N WebSocket frames with pings between them",
        parse: |value| values::up_to(value, 100).map(Fault::Fragmented),
    },
    FaultSpec {
        name: "trickle",
        value: "BYTES[:MS]",
        doc: "write so many bytes at a time, each in a TLS record of its own, with a pause after \
              each [default: 1 ms]",
        parse: values::trickle,
    },
    FaultSpec {
        name: "stall",
        value: "N[:SECONDS]",
        doc: "after every N frames of a connection send no event for a while, but answer pings \
              [default: 30]",
        parse: values::stall,
    },
    FaultSpec {
        name: "status",
        value: "CODE[:TIMES]",
        doc: "answer upgrade requests of each stream with this status so many times [default: \
              always]; 429 and 503 say Retry-After: 1; given more than once, one after the other",
        parse: values::status,
    },
    FaultSpec {
        name: "second-socket",
        value: "CODE",
        doc: "refuse a second connection of a stream with this status while one is open",
        parse: |value| values::http_status(value).map(Fault::SecondSocket),
    },
    FaultSpec {
        name: "token",
        value: "KIND[:TIMES]",
        doc: "the token endpoint is down (503), closed (no answer), slow[:SECONDS[:TIMES]] \
              [default: 5 s], html (200 and a page), no-expiry (no expires_in) or 401 \
              (invalid_client), so many times [default: always]; given more than once, one after \
              the other",
        parse: values::token,
    },
    FaultSpec {
        name: "certificate",
        value: "KIND[:TIMES]",
        doc: "the certificate is expired, wrong-name or self-signed on the first so many TLS \
              connections [default: on all]; given more than once, one after the other",
        parse: values::certificate,
    },
    FaultSpec {
        name: "redeliver",
        value: "SECONDS",
        doc: "what could not be sent to a Subscriber-Id is kept so long (at most 900 s, 50000 \
              batches) and sent first when it comes back",
        parse: values::redeliver,
    },
];

/// All faults of one simulator. Of one given twice the last counts, except where the table says
/// otherwise.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Faults {
    /// How connections end. Where there is more than one way the connections of a stream take
    /// turns.
    pub endings: Vec<EndAfter>,
    /// See [`Fault::Expire`].
    pub expire: Option<NonZeroU64>,
    /// See [`Fault::Garbage`].
    pub garbage: Option<NonZeroU64>,
    /// See [`Fault::Text`].
    pub text: Option<NonZeroU64>,
    /// See [`Fault::Status`].
    pub statuses: Vec<Turn<u16>>,
    /// See [`Fault::SecondSocket`].
    pub second_socket: Option<u16>,
    /// See [`Fault::Token`].
    pub token: Vec<Turn<TokenFault>>,
    /// See [`Fault::Certificate`].
    pub certificates: Vec<Turn<BadCertificate>>,
    /// See [`Fault::Oversized`].
    pub oversized: Option<Oversized>,
    /// See [`Fault::Duplicates`].
    pub duplicates: Option<NonZeroU64>,
    /// See [`Fault::Reordered`].
    pub reordered: Option<NonZeroU64>,
    /// See [`Fault::Fragmented`].
    pub fragmented: Option<NonZeroU64>,
    /// See [`Fault::Trickle`].
    pub trickle: Option<Trickle>,
    /// See [`Fault::Stall`].
    pub stall: Option<Stall>,
    /// See [`Fault::Redeliver`].
    pub redeliver: Option<Duration>,
}

impl FromIterator<Fault> for Faults {
    fn from_iter<I: IntoIterator<Item = Fault>>(faults: I) -> Self {
        let mut all = Faults::default();
        faults.into_iter().for_each(|fault| all.add(fault));
        all
    }
}

impl Faults {
    fn add(&mut self, fault: Fault) {
        match fault {
            Fault::End(end) => match self.endings.iter_mut().find(|e| e.ending == end.ending) {
                Some(same) => *same = end,
                None => self.endings.push(end),
            },
            Fault::Expire(n) => self.expire = Some(n),
            Fault::Garbage(n) => self.garbage = Some(n),
            Fault::Text(n) => self.text = Some(n),
            Fault::Status(turn) => self.statuses.push(turn),
            Fault::SecondSocket(code) => self.second_socket = Some(code),
            Fault::Token(turn) => self.token.push(turn),
            Fault::Certificate(turn) => self.certificates.push(turn),
            Fault::Oversized(oversized) => self.oversized = Some(oversized),
            Fault::Duplicates(n) => self.duplicates = Some(n),
            Fault::Reordered(n) => self.reordered = Some(n),
            Fault::Fragmented(n) => self.fragmented = Some(n),
            Fault::Trickle(trickle) => self.trickle = Some(trickle),
            Fault::Stall(stall) => self.stall = Some(stall),
            Fault::Redeliver(keep) => self.redeliver = Some(keep),
        }
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) =
            text.split_once('=').ok_or_else(|| format!("\"{text}\" is not NAME=VALUE"))?;
        let spec = FAULTS.iter().find(|spec| spec.name == name).ok_or_else(|| unknown(name))?;
        (spec.parse)(value).map_err(|detail| format!("{name}={}: {detail}", spec.value))
    }
}

fn unknown(name: &str) -> String {
    let known = FAULTS.iter().map(|spec| format!("{}={}", spec.name, spec.value));
    format!("unknown fault \"{name}\"; there are {}", known.collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(texts: &[&str]) -> Faults {
        texts.iter().map(|text| text.parse::<Fault>().unwrap()).collect()
    }

    #[test]
    fn faults_combine() {
        let faults =
            faults(&["drop=3", "garbage=7", "drop=5", "reset=9", "close=1011", "token=401"]);
        let frames: Vec<_> = faults.endings.iter().map(|end| end.frames.get()).collect();
        assert_eq!(frames, [5, 9, 100], "the last of each kind");
        assert_eq!(faults.garbage.unwrap().get(), 7);
        assert_eq!(faults.token, [Turn { what: TokenFault::Unauthorized, times: None }]);
        assert_eq!(faults.expire, None);
    }

    #[test]
    fn an_unknown_fault_names_the_known() {
        let error = "dorp=3".parse::<Fault>().unwrap_err();
        for spec in FAULTS {
            assert!(error.contains(&format!("{}={}", spec.name, spec.value)), "{error}");
        }
        assert!("drop".parse::<Fault>().is_err());
        assert!("drop=0".parse::<Fault>().unwrap_err().contains("from 1 on"));
    }

    #[test]
    fn every_value_is_looked_at() {
        let right = [
            "close=none",
            "close=4401:7",
            "reset=1",
            "half-open=2",
            "truncated=3",
            "expire=4",
            "text=5",
            "oversized=6",
            "oversized=6:1MiB",
            "oversized=6:70000",
            "duplicates=7",
            "reordered=8",
            "fragmented=9",
            "trickle=1",
            "trickle=100:0",
            "stall=5",
            "stall=5:1",
            "status=503",
            "status=503:2",
            "second-socket=403",
            "second-socket=409",
            "token=down",
            "token=closed:1",
            "token=slow",
            "token=slow:3",
            "token=slow:3:1",
            "token=html:2",
            "token=no-expiry",
            "token=401:3",
            "certificate=expired",
            "certificate=wrong-name:2",
            "certificate=self-signed",
            "redeliver=900",
        ];
        for text in right {
            assert!(text.parse::<Fault>().is_ok(), "{text}: {:?}", text.parse::<Fault>());
        }
        let wrong = [
            ("close=1005", "cannot be sent"),
            ("close=99", "cannot be sent"),
            ("close=", "code"),
            ("close=1000:0", "from 1 on"),
            ("close=1000:1:1", "too much"),
            ("reset=-1", "from 1 on"),
            ("oversized=5:10B", "1024"),
            ("oversized=5:big", "size"),
            ("duplicates=10001", "10000"),
            ("reordered=0", "from 1 to"),
            ("trickle=0", "1 to"),
            ("trickle=1:x", "number"),
            ("stall=1:9999", "3600"),
            ("status=200", "from 400 to 599"),
            ("status=503:x", "from 1 on"),
            ("second-socket=no", "from 400 to 599"),
            ("token=dead", "no-expiry"),
            ("token=slow:x", "number"),
            ("certificate=old", "wrong-name"),
            ("redeliver=901", "900"),
            ("redeliver=0", "1 to"),
        ];
        for (text, says) in wrong {
            let error = text.parse::<Fault>().unwrap_err();
            let name = text.split('=').next().unwrap();
            assert!(error.starts_with(name) && error.contains(says), "{text}: {error}");
        }
    }
}
