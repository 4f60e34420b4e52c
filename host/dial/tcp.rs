//! From a name to a TCP connection: all addresses are tried, the next one begins a little after the
//! one before (RFC 8305, without its refinements). Key function: [`connect`].

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::net::{TcpSocket, TcpStream};

use super::{DialError, Limits, Step};

/// How much later the next address is tried.
const STAGGER: Duration = Duration::from_millis(250);
/// Most addresses of a name that are tried.
const MAX_ADDRESSES: usize = 16;
/// Most failures that are told.
const MAX_TOLD: usize = 3;

/// Connects to the first address that answers.
pub(super) async fn connect(
    host: &str,
    port: u16,
    limits: &Limits,
) -> Result<TcpStream, DialError> {
    let mut addresses = resolve(host, port, limits.resolve).await?.into_iter();
    let mut tries = FuturesUnordered::new();
    let mut failures = Vec::new();
    loop {
        if let Some(address) = addresses.next() {
            tries.push(try_one(address, limits.connect));
        }
        tokio::select! {
            Some(tried) = tries.next() => match tried {
                Ok(tcp) => return Ok(tcp),
                Err(failure) => failures.push(failure),
            },
            () = tokio::time::sleep(STAGGER), if addresses.len() > 0 => {}
            else => return Err(unreachable(host, port, &failures)),
        }
    }
}

async fn resolve(host: &str, port: u16, limit: Duration) -> Result<Vec<SocketAddr>, DialError> {
    let hint = "is the name right, and does this machine reach its DNS server? where only a proxy \
                leads out, set HTTPS_PROXY";
    let failed = |what: String| DialError::transient(Step::Dns, format!("{host}: {what}"), hint);
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let found = tokio::time::timeout(limit, tokio::net::lookup_host((host, port)))
        .await
        .map_err(|_| failed(format!("no answer within {limit:?}")))?
        .map_err(|error| failed(error.to_string()))?;
    let addresses = alternating(found.collect());
    if addresses.is_empty() {
        Err(failed("the name has no address".to_owned()))
    } else {
        Ok(addresses)
    }
}

/// The families in turn, beginning with that of the first, so that one that leads nowhere costs one
/// stagger and not all of them.
fn alternating(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let is_first = |address: &SocketAddr| address.is_ipv6() == addresses[0].is_ipv6();
    let (first, second): (Vec<_>, Vec<_>) = addresses.iter().partition(|a| is_first(a));
    let longest = first.len().max(second.len());
    let turns = (0..longest).flat_map(|turn| [first.get(turn), second.get(turn)]);
    turns.flatten().copied().take(MAX_ADDRESSES).collect()
}

async fn try_one(address: SocketAddr, limit: Duration) -> Result<TcpStream, (SocketAddr, String)> {
    let connecting = async {
        let socket = if address.is_ipv6() { TcpSocket::new_v6()? } else { TcpSocket::new_v4()? };
        // Small frames of our own are pings and answers to them: never wait with those.
        socket.set_nodelay(true)?;
        socket.set_keepalive(true)?;
        socket.connect(address).await
    };
    let failed = |what: String| (address, what);
    match tokio::time::timeout(limit, connecting).await {
        Ok(tried) => tried.map_err(|error| failed(plain(&error))),
        Err(_) => Err(failed(format!("no connection within {limit:?}"))),
    }
}

/// An error of the system's without its number.
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    let end = text.find(" (os error").unwrap_or(text.len());
    text[..end].to_lowercase()
}

fn unreachable(host: &str, port: u16, failures: &[(SocketAddr, String)]) -> DialError {
    let told: Vec<_> =
        failures.iter().take(MAX_TOLD).map(|(at, what)| format!("{at}: {what}")).collect();
    let more = failures.len().saturating_sub(MAX_TOLD);
    let more = if more > 0 { format!(" and {more} more addresses") } else { String::new() };
    DialError::transient(
        Step::Tcp,
        format!("{host}:{port} is not reached ({}{more})", told.join("; ")),
        "are host and port right, and does a firewall stand between? where only a proxy leads out, \
         set HTTPS_PROXY",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns() {
        let read = |list: &[&str]| -> Vec<SocketAddr> {
            list.iter().map(|a| SocketAddr::new(a.parse().unwrap(), 1)).collect()
        };
        let ordered = alternating(read(&["::1", "::2", "::3", "10.0.0.1"]));
        assert_eq!(ordered, read(&["::1", "10.0.0.1", "::2", "::3"]));
        assert!(alternating(vec![]).is_empty());
        assert_eq!(alternating(read(&["10.0.0.1"; 40])).len(), MAX_ADDRESSES);
    }

    #[tokio::test]
    async fn what_failed_is_told_with_what_to_do() {
        let limits = Limits::default();
        // Bound and let go: nobody listens there.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let error = connect("127.0.0.1", port, &limits).await.unwrap_err();
        assert_eq!(error.step, Step::Tcp);
        assert!(error.to_string().contains("connection refused"), "{error}");
        assert!(error.hint.contains("firewall"), "{}", error.hint);
        let error = connect("no-such-host.invalid", 1, &limits).await.unwrap_err();
        assert_eq!(error.step, Step::Dns);
        assert!(error.to_string().starts_with("dns: no-such-host.invalid: "), "{error}");
    }
}
