//! A token that others keep in a file: alone on a line, or as the JSON that a token endpoint answers
//! with, `expires_at` besides. Key function: [`read`].

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use secrecy::SecretString;
use secrecy::zeroize::Zeroizing;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::TokenError;
use super::answer::{self, Answer, Granted};
use crate::backoff::Class;

/// Largest file.
const MAX_FILE: u64 = 1 << 20;
/// What reading it may take; it may lie on a network.
const TIME: Duration = Duration::from_secs(10);

/// Reads the token in a file.
pub(super) async fn read(path: PathBuf) -> Result<Granted, TokenError> {
    let shown = path.display().to_string();
    let reading = tokio::task::spawn_blocking(move || read_now(&path, SystemTime::now()));
    let read = match tokio::time::timeout(TIME, reading).await {
        Ok(Ok(read)) => read,
        Ok(Err(error)) => Err((error.to_string(), String::new())),
        Err(_) => Err((format!("cannot be read within {TIME:?}"), String::new())),
    };
    read.map_err(|(what, hint)| TokenError {
        what: format!("token_file {shown}: {what}"),
        hint,
        class: Class::NeedsAttention,
    })
}

/// What is wrong, and the likely fix.
type Wrong = (String, String);

fn read_now(path: &Path, now: SystemTime) -> Result<Granted, Wrong> {
    let unreadable = |error: io::Error| {
        let hint = match error.kind() {
            io::ErrorKind::NotFound => "the file is made by whoever gets the token",
            io::ErrorKind::PermissionDenied => {
                "the user that trommel runs as must be able to read it"
            }
            _ => "",
        };
        (format!("cannot be read: {error}"), hint.to_owned())
    };
    // Looked at first: opening a pipe would wait for a writer.
    if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(("is not a file".to_owned(), String::new()));
    }
    let file = File::open(path).map_err(unreadable)?;
    let written = file.metadata().and_then(|meta| meta.modified()).unwrap_or(now);
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err((format!("is larger than {} MiB", MAX_FILE >> 20), HINT.to_owned()));
    }
    of_text(&bytes, written, now).map_err(|what| (what, HINT.to_owned()))
}

const HINT: &str = "it holds the access token alone on a line, or a JSON object with access_token";

fn of_text(bytes: &[u8], written: SystemTime, now: SystemTime) -> Result<Granted, String> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes).trim_ascii();
    if bytes.starts_with(b"{") {
        let (answer, token) = answer::read(bytes)?;
        return Ok(Granted { token, life: life_left(&answer, written, now) });
    }
    let text = std::str::from_utf8(bytes).map_err(|_| "it is not text".to_owned())?;
    let token = answer::check(&SecretString::from(text))?;
    Ok(Granted { token, life: None })
}

/// How long the token still lives. One that seems to have expired has no known life: the clock may be
/// wrong, and the server is the judge.
fn life_left(answer: &Answer, written: SystemTime, now: SystemTime) -> Option<Duration> {
    let end = moment(&answer.expires_at).or_else(|| {
        let life = answer::seconds(&answer.expires_in).and_then(answer::life)?;
        written.checked_add(life)
    })?;
    let left = end.duration_since(now).ok()?;
    answer::life(left.as_secs_f64())
}

/// A time as seconds since 1970 or as RFC 3339.
fn moment(value: &Value) -> Option<SystemTime> {
    if let Some(seconds) = answer::seconds(value) {
        return UNIX_EPOCH.checked_add(Duration::try_from_secs_f64(seconds).ok()?);
    }
    OffsetDateTime::parse(value.as_str()?.trim(), &Rfc3339).ok().map(SystemTime::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret as _;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn a_file_is_a_token_or_json() {
        // Written at 1,000 s, read at 1,600 s.
        let read = |text: &str| of_text(text.as_bytes(), at(1_000), at(1_600));
        for (text, life) in [
            ("secret\n", None),
            ("\u{feff}secret\r\n", None),
            ("{\"access_token\":\"secret\"}", None),
            ("{\"access_token\":\"secret\",\"expires_in\":7200}", Some(6_600)),
            ("{\"access_token\":\"secret\",\"expires_in\":\"60\"}", None),
            ("{\"access_token\":\"secret\",\"expires_at\":2600,\"expires_in\":1}", Some(1_000)),
            ("{\"access_token\":\"secret\",\"expires_at\":\"1970-01-01T00:30:00Z\"}", Some(200)),
            ("{\"access_token\":\"secret\",\"expires_at\":\"tomorrow\"}", None),
            ("{\"access_token\":\"secret\",\"expires_at\":-1e300}", None),
        ] {
            let granted = read(text).unwrap();
            assert_eq!(granted.token.expose_secret(), "secret", "{text}");
            assert_eq!(granted.life.map(|life| life.as_secs()), life, "{text}");
        }
        for text in ["", "\n", "secret other", "{\"access_token\":", "a\nb", "[1]\n x"] {
            assert!(!read(text).err().unwrap().contains("secret"), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_small_file_is_refused() {
        let dir = tempfile::TempDir::new().unwrap();
        let (what, _) = read_now(dir.path(), at(0)).err().unwrap();
        assert_eq!(what, "is not a file");
        let path = dir.path().join("token");
        let (what, hint) = read_now(&path, at(0)).err().unwrap();
        assert!(what.contains("No such file") && hint.contains("made by"), "{what} {hint}");
        std::fs::write(&path, vec![b'x'; (MAX_FILE + 1) as usize]).unwrap();
        assert_eq!(read_now(&path, at(0)).err().unwrap().0, "is larger than 1 MiB");
    }
}
