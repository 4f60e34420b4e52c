//! How the values of faults read: one function for each shape. Pure. Key function: [`number`].

use std::num::NonZeroU64;
use std::ops::RangeInclusive;
use std::str::Split;
use std::time::Duration;

use super::faults::{
    BadCertificate, EndAfter, Ending, Fault, Oversized, Stall, TokenFault, Trickle, Turn,
};
use crate::config::units;

/// The smallest and largest oversized frame: its envelope needs some room, and it is kept whole.
const SIZES: RangeInclusive<u64> = 1_024..=1 << 30;

/// A number from 1 on.
pub(super) fn number(value: &str) -> Result<NonZeroU64, String> {
    value.parse().map_err(|_| format!("\"{value}\" is not a number from 1 on"))
}

/// A number from 1 up to a limit.
pub(super) fn up_to(value: &str, most: u64) -> Result<NonZeroU64, String> {
    let number = value.parse::<NonZeroU64>().ok().filter(|number| number.get() <= most);
    number.ok_or_else(|| format!("\"{value}\" is not a number from 1 to {most}"))
}

/// A status that says no.
pub(super) fn http_status(value: &str) -> Result<u16, String> {
    within(value, 400..=599, "a status").map(|code| code as u16)
}

pub(super) fn drop(value: &str) -> Result<Fault, String> {
    let reason = "the simulator drops connections";
    end(value, Ending::Close { code: Some(1000), reason })
}

pub(super) fn end(value: &str, ending: Ending) -> Result<Fault, String> {
    Ok(Fault::End(EndAfter { frames: number(value)?, ending }))
}

pub(super) fn close(value: &str) -> Result<Fault, String> {
    let mut parts = value.split(':');
    let code = match first(&mut parts) {
        "none" => None,
        code => Some(close_code(code)?),
    };
    let frames = parts.next().map_or(Ok(NonZeroU64::MIN.saturating_add(99)), number)?;
    done(parts)?;
    let ending = Ending::Close { code, reason: if code.is_some() { "a fault" } else { "" } };
    Ok(Fault::End(EndAfter { frames, ending }))
}

/// A code that may stand in a Close (RFC 6455 §7.4).
fn close_code(text: &str) -> Result<u16, String> {
    let code = text.parse().map_err(|_| format!("\"{text}\" is neither a code nor none"))?;
    match code {
        1000..=1003 | 1007..=1014 | 3000..=4999 => Ok(code),
        _ => Err(format!("the code {code} cannot be sent in a Close")),
    }
}

pub(super) fn oversized(value: &str) -> Result<Fault, String> {
    let mut parts = value.split(':');
    let every = number(first(&mut parts))?;
    let bytes = match parts.next() {
        None => 17 << 20,
        Some(text) => text.parse().or_else(|_| units::size(text))?,
    };
    done(parts)?;
    if !SIZES.contains(&bytes) {
        return Err(format!("{bytes} bytes are not {} to {}", SIZES.start(), SIZES.end()));
    }
    Ok(Fault::Oversized(Oversized { every, bytes: bytes as usize }))
}

pub(super) fn trickle(value: &str) -> Result<Fault, String> {
    let mut parts = value.split(':');
    let bytes = within(first(&mut parts), 1..=65_536, "a number")? as usize;
    let millis = parts.next().map_or(Ok(1), |text| within(text, 0..=10_000, "a number"))?;
    done(parts)?;
    Ok(Fault::Trickle(Trickle { bytes, pause: Duration::from_millis(millis) }))
}

pub(super) fn stall(value: &str) -> Result<Fault, String> {
    let mut parts = value.split(':');
    let every = number(first(&mut parts))?;
    let pause = seconds(parts.next(), 30)?;
    done(parts)?;
    Ok(Fault::Stall(Stall { every, pause }))
}

pub(super) fn redeliver(value: &str) -> Result<Fault, String> {
    let seconds = within(value, 1..=900, "a number of seconds")?;
    Ok(Fault::Redeliver(Duration::from_secs(seconds)))
}

pub(super) fn status(value: &str) -> Result<Fault, String> {
    let mut parts = value.split(':');
    let what = http_status(first(&mut parts))?;
    turn(what, parts).map(Fault::Status)
}

pub(super) fn token(value: &str) -> Result<Fault, String> {
    let mut parts = value.split(':');
    let what = match first(&mut parts) {
        "down" => TokenFault::Down,
        "closed" => TokenFault::Closed,
        "slow" => TokenFault::Slow(seconds(parts.next(), 5)?),
        "html" => TokenFault::Html,
        "no-expiry" => TokenFault::NoExpiry,
        "401" => TokenFault::Unauthorized,
        other => {
            let known = "down, closed, slow, html, no-expiry, 401";
            return Err(format!("\"{other}\" is none of {known}"));
        }
    };
    turn(what, parts).map(Fault::Token)
}

pub(super) fn certificate(value: &str) -> Result<Fault, String> {
    let mut parts = value.split(':');
    let what = match first(&mut parts) {
        "expired" => BadCertificate::Expired,
        "wrong-name" => BadCertificate::WrongName,
        "self-signed" => BadCertificate::SelfSigned,
        other => return Err(format!("\"{other}\" is none of expired, wrong-name, self-signed")),
    };
    turn(what, parts).map(Fault::Certificate)
}

fn turn<T>(what: T, mut parts: Split<'_, char>) -> Result<Turn<T>, String> {
    let times = parts.next().map(number).transpose()?;
    done(parts)?;
    Ok(Turn { what, times })
}

fn seconds(text: Option<&str>, default: u64) -> Result<Duration, String> {
    let seconds = text.map_or(Ok(default), |text| within(text, 1..=3_600, "a number of seconds"));
    seconds.map(Duration::from_secs)
}

fn within(text: &str, range: RangeInclusive<u64>, what: &str) -> Result<u64, String> {
    let number = text.parse().ok().filter(|number| range.contains(number));
    number.ok_or_else(|| {
        format!("\"{text}\" is not {what} from {} to {}", range.start(), range.end())
    })
}

/// What stands before the first colon; there is always something, be it nothing.
fn first<'a>(parts: &mut Split<'a, char>) -> &'a str {
    parts.next().unwrap_or_default()
}

fn done(mut parts: Split<'_, char>) -> Result<(), String> {
    parts.next().map_or(Ok(()), |more| Err(format!("\":{more}\" is too much")))
}
