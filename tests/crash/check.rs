//! What must hold after a run, whatever was done to the host. Key types: [`Seen`], [`Summary`].

use std::collections::{BTreeMap, HashSet};

use crate::support::{SentLine, Tally};

/// All that was seen of a run.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// The host's processes, one after the other; the last ended in order.
    pub lives: Vec<Lived>,
    /// What the last one said at its end.
    pub tally: Option<Tally>,
    /// What was sent to it, in the order of sending.
    pub sent: Vec<SentLine>,
    /// The text of the sink's file.
    pub sink: String,
    /// Lines of dead letters.
    pub dead_letters: usize,
}

/// What was seen of one process.
#[derive(Debug, Clone, Default)]
pub struct Lived {
    /// What it had counted as received when it was asked last.
    pub received: u64,
    /// How much of that an earlier one had received: the journal still held it at start.
    pub held: u64,
    /// No connection of it, or of one before, has a number above this.
    pub last_connection: u32,
}

/// What a run that went well came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// Events at the sink.
    pub events: u64,
    /// Connections that brought some.
    pub connections: u64,
    /// Of what was sent, how much had not been received when the host was ended.
    pub unreceived: u64,
}

/// A line of the sink, as far as it matters.
#[derive(Debug, serde::Deserialize)]
struct Line {
    id: String,
    stream: String,
    #[serde(rename = "type")]
    ty: String,
    count: u64,
    countoftype: u64,
}

/// Holds a run against what must be.
///
/// # Errors
/// The first thing that is wrong.
pub fn check(seen: &Seen) -> Result<Summary, String> {
    let lines = read(&seen.sink)?;
    check_state(&lines)?;
    let mut arrived = BTreeMap::new();
    let streams: HashSet<&str> = lines
        .iter()
        .map(|line| &*line.stream)
        .chain(seen.sent.iter().map(|line| &*line.stream))
        .collect();
    for stream in streams {
        let ids = lines.iter().filter(|line| line.stream == stream).map(|line| &*line.id);
        check_order(stream, ids, &seen.sent, &mut arrived)?;
    }
    check_received(seen, &arrived)?;
    check_end(seen)?;
    Ok(Summary {
        events: lines.len() as u64,
        connections: arrived.len() as u64,
        unreceived: seen.sent.len().saturating_sub(lines.len()) as u64,
    })
}

fn read(sink: &str) -> Result<Vec<Line>, String> {
    if !sink.is_empty() && !sink.ends_with('\n') {
        return Err("the sink's last line is not whole".to_owned());
    }
    let lines = sink.lines().enumerate().map(|(at, line)| {
        serde_json::from_str(line)
            .map_err(|error| format!("line {} of the sink: {error}: {line:?}", at + 1))
    });
    lines.collect()
}

/// A plugin gave each event the next number, and the next among those of its type: each event has
/// changed its state once.
fn check_state(lines: &[Line]) -> Result<(), String> {
    let mut of_type: BTreeMap<&str, u64> = BTreeMap::new();
    for (at, line) in (1..).zip(lines) {
        let of_type = of_type.entry(&line.ty).or_default();
        *of_type += 1;
        if line.count != at {
            return Err(format!(
                "state: line {at} of the sink, {}, has the number {}",
                line.id, line.count
            ));
        }
        if line.countoftype != *of_type {
            let (ty, number) = (&line.ty, line.countoftype);
            return Err(format!(
                "state: event {of_type} of {ty}, {}, has the number {number}",
                line.id
            ));
        }
    }
    Ok(())
}

/// What is at the sink is, connection by connection, the beginning of what was sent on it, without
/// what an earlier one had brought; and nothing twice. Counts what each connection brought.
pub fn check_order<'a>(
    stream: &str,
    ids: impl Iterator<Item = &'a str>,
    sent: &'a [SentLine],
    arrived: &mut BTreeMap<u32, u64>,
) -> Result<(), String> {
    let mut connections: BTreeMap<u32, Vec<&str>> = BTreeMap::new();
    for line in sent.iter().filter(|line| line.stream == stream) {
        connections.entry(line.connection).or_default().push(&line.id);
    }
    let mut left = ids.peekable();
    let mut there = HashSet::new();
    for (connection, ids) in connections {
        for id in ids {
            if there.contains(id) {
                continue;
            }
            if left.next_if_eq(&id).is_none() {
                // The end of what this connection brought: the rest was not received.
                break;
            }
            there.insert(id);
            *arrived.entry(connection).or_default() += 1;
        }
    }
    match left.next() {
        None => Ok(()),
        Some(id) if there.contains(id) => Err(format!("{stream}: {id} is twice at the sink")),
        Some(id) => Err(format!(
            "{stream}: {id} comes after a hole, out of order, or was never sent; {} before it are right",
            there.len()
        )),
    }
}

/// What was counted as received has arrived, by the connections of that process or of those before.
fn check_received(seen: &Seen, arrived: &BTreeMap<u32, u64>) -> Result<(), String> {
    let mut received = 0;
    for (at, life) in seen.lives.iter().enumerate() {
        received += life.received.saturating_sub(life.held);
        let arrived: u64 = arrived.range(..=life.last_connection).map(|(_, count)| count).sum();
        if arrived < received {
            return Err(format!(
                "received: by the end of process {} {received} events were counted as received; {arrived} arrived",
                at + 1
            ));
        }
    }
    Ok(())
}

fn check_end(seen: &Seen) -> Result<(), String> {
    let tally = seen.tally.ok_or("the host did not end in order")?;
    if tally.delivered != tally.received || seen.dead_letters > 0 {
        return Err(format!("tally: {tally:?}, {} dead letters", seen.dead_letters));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(id: &str, ty: &str, count: u64, countoftype: u64) -> String {
        format!(
            "{{\"id\":\"{id}\",\"stream\":\"s\",\"type\":\"{ty}\",\"count\":{count},\"countoftype\":{countoftype}}}\n"
        )
    }

    fn sent(connection: u32, ids: &str) -> Vec<SentLine> {
        let line = |id: char| SentLine { connection, stream: "s".into(), id: id.into() };
        ids.chars().map(line).collect()
    }

    /// Two processes: the first got two events of three, the second begins with one that was sent before.
    fn good() -> Seen {
        Seen {
            lives: vec![
                Lived { received: 2, held: 0, last_connection: 1 },
                Lived { received: 3, held: 1, last_connection: 2 },
            ],
            tally: Some(Tally {
                received: 3,
                delivered: 3,
                filtered: 0,
                dead_lettered: 0,
                in_flight: 0,
            }),
            sent: [sent(1, "abc"), sent(2, "bdef")].concat(),
            sink: [
                line("a", "x", 1, 1),
                line("b", "x", 2, 2),
                line("d", "y", 3, 1),
                line("e", "x", 4, 3),
            ]
            .concat(),
            dead_letters: 0,
        }
    }

    fn wrong(change: impl FnOnce(&mut Seen)) -> String {
        let mut seen = good();
        change(&mut seen);
        check(&seen).unwrap_err()
    }

    #[test]
    fn a_run_that_went_well_passes() {
        let summary = Summary { events: 4, connections: 2, unreceived: 3 };
        assert_eq!(check(&good()), Ok(summary));
    }

    #[test]
    fn each_thing_that_is_wrong_is_seen() {
        let numbered = |ids: &str| -> String {
            (1..).zip(ids.chars()).map(|(at, id)| line(&id.to_string(), "x", at, at)).collect()
        };
        for (ids, says) in [
            ("abde", ""),
            (
                "abd",
                "received: by the end of process 2 4 events were counted as received; 3 arrived",
            ),
            ("ade", "s: d comes after a hole"),
            ("abe", "s: e comes after a hole"),
            ("bade", "s: a comes after a hole"),
            ("abbde", "s: b is twice"),
            ("abdea", "s: a is twice"),
            ("abdx", "s: x comes after a hole, out of order, or was never sent"),
        ] {
            let mut seen = good();
            seen.sink = numbered(ids);
            let said = check(&seen).err().unwrap_or_default();
            assert!(said.starts_with(says) && said.is_empty() == says.is_empty(), "{ids}: {said}");
        }
        assert!(wrong(|seen| seen.sink.truncate(seen.sink.len() - 1)).contains("not whole"));
        assert!(wrong(|seen| seen.sink.insert_str(0, "\0\0\n")).contains("line 1 of the sink"));
        let hole = wrong(|seen| seen.sink = seen.sink.replace("\"count\":3", "\"count\":4"));
        assert!(hole.contains("line 3 of the sink, d, has the number 4"), "{hole}");
        let repeat =
            wrong(|seen| seen.sink = seen.sink.replace("\"countoftype\":3", "\"countoftype\":2"));
        assert!(repeat.contains("event 3 of x, e, has the number 2"), "{repeat}");
        assert!(
            wrong(|seen| seen.lives[1].received = 4).contains("by the end of process 2 5 events")
        );
        assert!(wrong(|seen| seen.tally = None).contains("did not end in order"));
        assert!(wrong(|seen| seen.dead_letters = 1).contains("1 dead letters"));
    }
}
