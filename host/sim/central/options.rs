//! What a simulator is started with. Plain data. Key type: [`Options`].

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::faults::Faults;
use crate::decode::catalog::{STREAMS, Stream};

/// Options of a simulated Central; the default is what `trommel sim central` does without any.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where to listen; port 0 takes any that is free.
    pub listen: SocketAddr,
    /// Where `ca.pem`, `server.pem` and `server.key` are, or are to be; `None` makes a new folder
    /// among the temporary files.
    pub tls_dir: Option<PathBuf>,
    /// Decides what the world is like and all that happens in it.
    pub seed: u64,
    /// The streams that are served.
    pub streams: Vec<&'static Stream>,
    /// How fast each stream runs.
    pub rate: Rate,
    /// How many events a stream has; then its connections stay open, idle.
    pub count: Option<u64>,
    /// How long a token is good for.
    pub token_life: Duration,
    /// Where to write down what was sent.
    pub ledger: Option<PathBuf>,
    /// Where to write down each event as it is written to a connection.
    pub sent: Option<PathBuf>,
    /// What to do wrong.
    pub faults: Faults,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            tls_dir: None,
            seed: 1,
            streams: STREAMS.iter().collect(),
            rate: Rate::default(),
            count: None,
            token_life: Duration::from_secs(7_200),
            ledger: None,
            sent: None,
            faults: Faults::default(),
        }
    }
}

/// How fast a stream runs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rate {
    /// So many events a second, from the first client on, whether or not anyone is connected.
    PerSecond(f64),
    /// As fast as the slowest connection takes them; it stands still while there is none.
    Max,
}

impl Rate {
    /// How many batches may wait for one connection: few where they are full, more where they hold
    /// an event each.
    pub(super) fn queue(self) -> usize {
        match self {
            Rate::Max => 4,
            Rate::PerSecond(_) => 256,
        }
    }
}

impl Default for Rate {
    fn default() -> Self {
        Rate::PerSecond(100.0)
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "max" {
            return Ok(Rate::Max);
        }
        match text.parse::<f64>() {
            Ok(rate) if rate.is_finite() && (0.001..=1e8).contains(&rate) => {
                Ok(Rate::PerSecond(rate))
            }
            _ => Err(format!("\"{text}\" is neither a number of events a second nor max")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_number_or_max() {
        assert_eq!("max".parse(), Ok(Rate::Max));
        assert_eq!("2.5".parse(), Ok(Rate::PerSecond(2.5)));
        for wrong in ["0", "-1", "NaN", "inf", "fast", ""] {
            assert!(wrong.parse::<Rate>().is_err(), "{wrong}");
        }
    }
}
