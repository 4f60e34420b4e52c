//! A stand-in for New Central's streaming service that the vendor's own client accepts: TLS, a
//! token endpoint, the ten streams of the catalogue, and a ledger of what it sent to whom. Knows
//! the content only as payloads. Key types: [`Server`], [`Options`].
//!
//! One thread for each stream (`clock`) makes events and cuts them into batches of ready WebSocket
//! frames; one task for each connection writes whole batches. Between them lie bounded queues, so
//! that the slowest connection holds the clock back.

mod audience;
mod batch;
mod clock;
mod connection;
mod envelope;
mod fault_values;
mod faults;
mod frames;
mod gate;
mod http;
mod hub;
mod ledger;
mod options;
mod outgoing;
mod sent;
mod server;
mod style;
#[cfg(test)]
mod tests;
mod tls;
mod tokens;
mod websocket;
mod works;

pub use faults::{
    BadCertificate, EndAfter, Ending, FAULTS, Fault, FaultSpec, Faults, Oversized, Stall,
    TokenFault, Trickle, Turn,
};
pub use frames::frames;
pub use options::{Options, Rate};
pub use server::{Handle, Ready, Server};

use std::net::SocketAddr;
use std::path::PathBuf;

/// Why the simulator does not run, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum SimError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// A file cannot be read or written.
    #[error("cannot use \"{}\"", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// No certificate could be made.
    #[error("cannot make a certificate")]
    Certificate(#[from] rcgen::Error),
    /// The TLS library refuses what it was given.
    #[error("cannot set up TLS")]
    Tls(#[from] tokio_rustls::rustls::Error),
    /// A thread cannot be started.
    #[error("cannot start a thread")]
    Thread(#[source] std::io::Error),
    /// Signals cannot be listened for.
    #[error("cannot listen for signals")]
    Signal(#[source] std::io::Error),
    /// The line that says where the simulator is cannot be written.
    #[error("cannot write to standard output")]
    Output(#[source] std::io::Error),
    /// Part of the simulator ended that must not end before the rest.
    #[error("the simulator's {0} stopped unexpectedly")]
    Stopped(&'static str),
    /// An event cannot be written to the ledger.
    #[error("an event of \"{stream}\" cannot be shown in the ledger: {detail}")]
    Entry {
        /// The stream.
        stream: &'static str,
        /// What is wrong.
        detail: String,
    },
    /// A stream that the simulator has no content for.
    #[error("there is no simulated stream \"{0}\"")]
    Stream(String),
}
