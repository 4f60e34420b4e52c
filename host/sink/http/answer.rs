//! What a server's answer means for the events that were posted. Pure. Key function: [`verdict`].

use std::time::{Duration, SystemTime};

use crate::backoff;
use crate::excerpt;

/// The longest wait that a server can ask for.
const MOST_ASKED: Duration = Duration::from_secs(300);

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// All of it was taken.
    Taken,
    /// None of it; later it may be. The time is what the server asked for.
    Later(Option<Duration>),
    /// None of it, for there is too much of it.
    TooLarge,
    /// None of it, for something in it will never be taken.
    Refused,
    /// None of it, whatever is in it, until somebody mends something. How, probably.
    Misconfigured(&'static str),
}

/// What a status means. `retry_after` is that header field's value.
pub(super) fn verdict(status: u16, retry_after: Option<&str>, now: SystemTime) -> Verdict {
    match status {
        200..=299 => Verdict::Taken,
        408 | 425 | 429 | 500..=599 => {
            Verdict::Later(retry_after.and_then(|text| wait_asked(text, now)))
        }
        413 => Verdict::TooLarge,
        400 | 422 => Verdict::Refused,
        // Form and compression are the same for all events: none of them is at fault.
        415 => Verdict::Misconfigured("the receiver wants another format, or no gzip"),
        300..=399 => Verdict::Misconfigured(
            "redirects are not followed; write as url where the receiver really is",
        ),
        401 => Verdict::Misconfigured(
            "the receiver does not know these credentials; look at headers.Authorization",
        ),
        403 => Verdict::Misconfigured(
            "the credentials are known but have no right to send here; the receiver's operator can give it",
        ),
        404 | 410 => Verdict::Misconfigured("look at the path of url: there is nothing there"),
        405 => Verdict::Misconfigured("look at the path of url: what is there takes no POST"),
        407 => Verdict::Misconfigured("the proxy on the way wants credentials"),
        _ => Verdict::Misconfigured("the receiver's operator may know what this status means"),
    }
}

/// The wait that a server asks for, as far as it is heeded; `None` for none.
fn wait_asked(text: &str, now: SystemTime) -> Option<Duration> {
    let wait = backoff::retry_after(text, now)?;
    Some(wait.min(MOST_ASKED)).filter(|wait| !wait.is_zero())
}

/// The beginning of what a server said, on one line. None of `secrets` is in it.
pub(super) fn excerpt(body: &[u8], secrets: &[&str]) -> String {
    let mut text = String::from_utf8_lossy(body).into_owned();
    for secret in secrets {
        text = text.replace(secret, "***");
    }
    excerpt::excerpt(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict_of(status: u16, retry_after: Option<&str>) -> Verdict {
        verdict(status, retry_after, SystemTime::UNIX_EPOCH)
    }

    #[test]
    fn statuses_have_their_classes() {
        for taken in [200, 202, 204] {
            assert_eq!(verdict_of(taken, None), Verdict::Taken);
        }
        for later in [408, 425, 429, 500, 502, 503, 599] {
            assert_eq!(verdict_of(later, None), Verdict::Later(None), "{later}");
        }
        for refused in [400, 422] {
            assert_eq!(verdict_of(refused, None), Verdict::Refused, "{refused}");
        }
        assert_eq!(verdict_of(413, None), Verdict::TooLarge);
        for wrong in [301, 307, 401, 402, 403, 404, 405, 409, 411, 415, 451, 101, 999] {
            assert!(matches!(verdict_of(wrong, None), Verdict::Misconfigured(_)), "{wrong}");
        }
    }

    #[test]
    fn waits_are_read_and_capped() {
        for (text, seconds) in [
            ("7", Some(7)),
            (" 7 ", Some(7)),
            ("0", None),
            ("-1", None),
            ("soon", None),
            ("99999999999999999999999", None),
            ("86400", Some(300)),
            ("Thu, 01 Jan 1970 00:00:09 GMT", Some(9)),
            ("Thu, 01 Jan 1970 01:00:00 GMT", Some(300)),
            ("Wed, 31 Dec 1969 23:59:59 GMT", None),
        ] {
            let expected = Verdict::Later(seconds.map(Duration::from_secs));
            assert_eq!(verdict_of(429, Some(text)), expected, "{text}");
        }
    }

    #[test]
    fn an_excerpt_is_one_line_without_secrets() {
        let body = b"you\nsent\thunter2-hunter2 \xff".repeat(100);
        let text = excerpt(&body, &["hunter2-hunter2"]);
        assert!(text.starts_with("you sent *** \u{fffd}you sent ***"), "{text}");
        assert_eq!(text.chars().count(), 300);
    }
}
