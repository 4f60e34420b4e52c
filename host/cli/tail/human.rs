//! An event as a person reads it: time, stream, type, and the fields that tell most, as many as fit
//! into the width of the terminal. Key type: [`Human`].

use std::io::IsTerminal as _;

use serde_json::Value;

use super::feed::Shown;
use super::select::short_type;
use crate::cli::screen;

/// Most columns for a type: a quarter of the terminal, within these bounds. And for one value.
const TYPE_COLUMNS: (usize, usize) = (16, 40);
const MAX_VALUE: usize = 60;
/// How deep fields are looked for.
const MAX_DEPTH: usize = 6;

/// Writes events, one line each.
#[derive(Debug)]
pub(super) struct Human {
    paint: screen::Paint,
    /// Columns of the terminal; `None` for no bound.
    width: Option<usize>,
    stream_width: usize,
    /// Grows with what is seen, so that fields stand below each other.
    type_width: usize,
}

/// A field of a payload: its name, its value, and how little it tells.
struct Field {
    name: String,
    value: String,
    rank: u8,
}

impl Human {
    pub fn new(streams: &[String]) -> Self {
        let stream_width = streams.iter().map(|s| short_stream(s).chars().count()).max();
        Human {
            paint: screen::Paint::new(std::io::stdout().is_terminal()),
            width: None,
            stream_width: stream_width.unwrap_or(0),
            type_width: 0,
        }
    }

    /// Looks how wide the terminal is by now.
    pub fn measure(&mut self) {
        self.width = screen::width();
    }

    /// Adds the line of an event.
    pub fn push(&mut self, event: &Shown<'_>, out: &mut String) {
        let stream = clean(short_stream(&event.stream));
        let (least, most) = TYPE_COLUMNS;
        let most = self.width.map_or(most, |width| (width / 4).clamp(least, most));
        let ty = fit_end(&clean(short_type(&event.ty)), most);
        self.type_width = self.type_width.max(screen::columns(&ty));
        // Of `2026-03-05T08:00:00.056Z` the time of day; all of a time of another form.
        let time = event.time.get(11..19).filter(|_| event.time.len() > 19);
        let time = clean(time.unwrap_or(&event.time));
        let (stream_width, type_width) = (self.stream_width, self.type_width);
        let paint = self.paint;
        out.push_str(&paint.dim(&format!("{time:<8}")));
        out.push_str(&format!("  {}", paint.blue(&format!("{stream:<stream_width$}"))));
        out.push_str(&format!("  {ty:<type_width$}"));
        let mut used = 8 + 2 + stream_width + 2 + type_width;
        for field in fields(&event.data) {
            let left = self.width.map_or(usize::MAX, |width| width.saturating_sub(used));
            let Some((value, wide)) = field.fit(left) else { continue };
            used += wide;
            let value = if field.is_bad() { paint.red(&value) } else { value };
            out.push_str(&format!("  {}{value}", paint.dim(&format!("{}=", field.name))));
        }
        out.push('\n');
    }
}

impl Field {
    /// The value as it fits, and the columns that name and value take; a text is cut where enough of
    /// it stays to be read.
    fn fit(&self, left: usize) -> Option<(String, usize)> {
        let name = 2 + screen::columns(&self.name) + 1;
        let wide = name + screen::columns(&self.value);
        if wide <= left {
            return Some((self.value.clone(), wide));
        }
        let room = left.checked_sub(name).filter(|room| self.rank <= LAST_TO_CUT && *room >= 12)?;
        let value = fit_start(&self.value, room);
        let wide = name + screen::columns(&value);
        (wide <= left).then_some((value, wide))
    }

    /// Whether it says that something is wrong.
    fn is_bad(&self) -> bool {
        const BAD: &[&str] =
            &["false", "down", "critical", "fail", "disconnect", "offline", "rogue"];
        let value = self.value.to_ascii_lowercase();
        self.rank <= 1 && BAD.iter().any(|word| value.contains(word))
    }
}

/// Streams are known by what they are of.
fn short_stream(name: &str) -> &str {
    name.strip_suffix("-events").unwrap_or(name)
}

/// All fields of a payload, those that tell most first.
fn fields(data: &Value) -> Vec<Field> {
    let mut fields = Vec::new();
    collect("", data, 0, &mut fields);
    fields.sort_by_key(|field| field.rank);
    fields
}

fn collect(name: &str, value: &Value, depth: usize, fields: &mut Vec<Field>) {
    let text = match value {
        Value::Object(members) if depth < MAX_DEPTH => {
            for (name, value) in members {
                collect(name, value, depth + 1, fields);
            }
            return;
        }
        Value::Array(values) if depth < MAX_DEPTH => match values.first() {
            Some(first @ (Value::Object(_) | Value::Array(_))) => {
                return collect(name, first, depth + 1, fields);
            }
            _ => values.iter().map(plain).collect::<Vec<_>>().join(","),
        },
        other => plain(other),
    };
    if !text.is_empty() {
        let name = if name.is_empty() { "data" } else { name };
        let rank = rank(name, &text);
        fields.push(Field { name: clean(name), value: fit_start(&clean(&text), MAX_VALUE), rank });
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Words in names of fields that tell what happened, and to whom.
const TELLING: &[&[&str]] = &[
    &["severity", "status", "action", "event_type", "eventtype", "summary", "description"],
    &["state", "reason", "message", "classification"],
    &["name", "user", "serial", "ssid", "site", "zone", "destination", "neighbour", "band", "port"],
    &["operation", "category", "level", "role", "source", "rssi", "associated", "x", "y", "snr"],
    &["utilization", "loss", "quality", "speed", "rtt", "temperature"],
];
/// Of fields up to this rank a part is better than nothing.
const LAST_TO_CUT: u8 = 1;
/// Words, whole ones, in names of fields that tell a person little.
const DULL: &[&str] =
    &["mac", "bssid", "bytes", "pkts", "packets", "frames", "ip", "ipv4", "ipv6", "id", "index"];
/// Those that are the same for all, or told already.
const TOLD: &[&str] = &["tenant", "customer", "timestamp", "time", "occurred_on", "uuid"];

fn rank(name: &str, value: &str) -> u8 {
    let name = snake_case(name);
    let has = |word: &str| if word.len() == 1 { name == word } else { name.contains(word) };
    let is_empty = matches!(value, "0" | "0.0" | "" | "{}" | "[]");
    if TOLD.iter().any(|word| name.starts_with(word)) {
        return 9;
    }
    if name.split('_').any(|word| DULL.contains(&word)) || is_empty {
        return 8;
    }
    let place = TELLING.iter().position(|words| words.iter().any(|word| has(word)));
    place.map_or(6, |place| place as u8)
}

/// `siteId` as `site_id`: both forms occur.
fn snake_case(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 4);
    for c in name.chars() {
        if c.is_ascii_uppercase() && !out.is_empty() && !out.ends_with('_') {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

/// Without what would steer a terminal: events come from outside.
fn clean(text: &str) -> String {
    let steers = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().map(|c| if steers(c) { '\u{fffd}' } else { c }).collect()
}

/// The beginning of a text, cut where it is too long.
fn fit_start(text: &str, most: usize) -> String {
    match text.chars().count() > most {
        true => text.chars().take(most - 1).chain(['…']).collect(),
        false => text.to_owned(),
    }
}

/// The end of a type, which tells more than its beginning: as many of its parts as fit.
fn fit_end(ty: &str, most: usize) -> String {
    let mut rest = ty;
    while rest.chars().count() > most - usize::from(rest.len() < ty.len()) {
        match rest.split_once('.') {
            Some((_, after)) => rest = after,
            None => return fit_start(rest, most),
        }
    }
    if rest.len() < ty.len() { format!("…{rest}") } else { ty.to_owned() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn line(width: usize, data: Value) -> String {
        let mut human = Human {
            paint: screen::Paint::new(false),
            width: Some(width),
            stream_width: 2,
            type_width: 0,
        };
        let event = Shown {
            ty: "com.hpe.greenlake.network-monitoring.v1alpha1.aps.state.device".into(),
            time: "2026-03-05T08:00:00.056Z".into(),
            stream: "ap-events".into(),
            data,
        };
        let mut out = String::new();
        human.push(&event, &mut out);
        out
    }

    #[test]
    fn what_tells_most_comes_first_and_the_width_is_kept() {
        let data = json!({ "tenant_id": "t".repeat(32), "ap": { "mac_address": "20:4c:03:ab:b9:50",
            "serial_number": "CN911LWQYH", "status": false }, "list": [1, 2] });
        let wide = line(200, data.clone());
        assert!(
            wide.starts_with("08:00:00  ap  aps.state.device  status=false  serial_number=CN911"),
            "{wide}"
        );
        assert!(wide.contains("list=1,2  mac_address=20:4c"), "{wide}");
        let narrow = line(60, data);
        assert_eq!(narrow, "08:00:00  ap  aps.state.device  status=false  list=1,2\n");
        let data = json!({ "severity": "Major", "summary": "High CPU utilization of a switch" });
        let cut = line(72, data);
        assert!(cut.ends_with("severity=Major  summary=High CPU utiliz…\n"), "{cut}");
        let data = json!({ "siteId": "7", "ip_address": "::1", "description": "changed" });
        assert!(line(200, data).contains("  description=changed  siteId=7"));
        assert_eq!(screen::columns(cut.trim_end()), 72);
    }

    #[test]
    fn nothing_in_an_event_steers_the_terminal() {
        let data = json!({ "na\u{1b}[2Jme": "a\u{1b}]0;x\u{7}\r\nb\u{202e}c" });
        let line = line(200, data);
        assert_eq!(line.matches(char::is_control).collect::<Vec<_>>(), ["\n"], "{line:?}");
        assert!(!line.contains('\u{202e}'));
    }
}
