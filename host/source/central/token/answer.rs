//! What a token endpoint or a token file says, read leniently in all but the token itself. Pure. Key
//! function: [`read`].

use std::time::Duration;

use secrecy::SecretString;
use serde::Deserialize;
use serde_json::Value;

/// Longest token.
const MAX_TOKEN: usize = 32 << 10;
/// A life that is longer than this is a mistake.
const MAX_LIFE: Duration = Duration::from_secs(366 * 24 * 3600);

/// A token, and how long it lives from now on; `None` where that is not known.
#[derive(Debug)]
pub(super) struct Granted {
    pub token: SecretString,
    pub life: Option<Duration>,
}

/// What is used of an answer (RFC 6749 §5.1), and `expires_at`, which files have.
#[derive(Deserialize)]
pub(super) struct Answer {
    access_token: SecretString,
    #[serde(default)]
    pub expires_in: Value,
    #[serde(default)]
    pub expires_at: Value,
}

/// Reads an answer. The error never has a part of it, for that may be the token's.
pub(super) fn read(json: &[u8]) -> Result<(Answer, SecretString), String> {
    let answer: Answer = serde_json::from_slice(json).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => "it has no access_token that is a text".to_owned(),
        _ => format!("it is not JSON from line {} column {} on", error.line(), error.column()),
    })?;
    let token = check(&answer.access_token)?;
    Ok((answer, token))
}

/// A token that a header field can hold.
pub(super) fn check(token: &SecretString) -> Result<SecretString, String> {
    use secrecy::ExposeSecret as _;
    let token = token.expose_secret().trim();
    if token.is_empty() {
        Err("the token is empty".to_owned())
    } else if token.len() > MAX_TOKEN {
        Err(format!("the token is longer than {} KiB", MAX_TOKEN >> 10))
    } else if !token.bytes().all(|b| b.is_ascii_graphic()) {
        Err("the token holds characters that no token can".to_owned())
    } else {
        Ok(SecretString::from(token))
    }
}

/// Seconds, as a number or as a text. Nothing that could be meant: `None`.
pub(super) fn seconds(value: &Value) -> Option<f64> {
    let seconds = match value {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => text.trim().parse().ok()?,
        _ => return None,
    };
    seconds.is_finite().then_some(seconds)
}

/// A life that can be meant.
pub(super) fn life(seconds: f64) -> Option<Duration> {
    let life = Duration::try_from_secs_f64(seconds).ok()?;
    (!life.is_zero() && life <= MAX_LIFE).then_some(life)
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret as _;

    #[test]
    fn any_expires_in_is_borne() {
        for (expires_in, expected) in [
            ("7200", Some(7200)),
            ("\"7199\"", Some(7199)),
            ("7199.0", Some(7199)),
            ("null", None),
            ("0", None),
            ("-5", None),
            ("1e300", None),
            ("99999999999", None),
            ("\"soon\"", None),
            ("{\"seconds\":1}", None),
            ("true", None),
        ] {
            let json = format!("{{\"access_token\":\"t\",\"expires_in\":{expires_in}}}");
            let (answer, token) = read(json.as_bytes()).unwrap();
            let found = seconds(&answer.expires_in).and_then(life);
            assert_eq!(found.map(|life| life.as_secs()), expected, "{expires_in}");
            assert_eq!(token.expose_secret(), "t");
        }
        assert!(read(b"{\"access_token\":\"t\"}").unwrap().0.expires_in.is_null());
    }

    #[test]
    fn what_is_no_token_is_said_without_showing_it() {
        for json in [
            "{\"access_token\":\"hidden",
            "{\"access_token\":[\"hidden\"]}",
            "{\"token\":\"hidden\"}",
            "\"hidden\"",
            "hidden",
            "{\"access_token\":\"hidden\\r\\nx: y\"}",
            "{\"access_token\":\"hidden hidden\"}",
            "{\"access_token\":\"  \"}",
            "{\"access_token\":\"hidd\u{e9}n\"}",
            "",
        ] {
            let error = read(json.as_bytes()).err().unwrap();
            assert!(!error.contains("hidd"), "{json}: {error}");
        }
        let long = format!("{{\"access_token\":\"{}\"}}", "x".repeat(MAX_TOKEN + 1));
        assert!(read(long.as_bytes()).is_err());
    }
}
