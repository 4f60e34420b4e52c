//! The names of files that were put aside: `NAME.YYYYMMDDTHHMMSS.mmmZ.EXT`, so that sorting them by
//! name sorts them by time, also when several are put aside within a second or a clock is set back.
//! Key types: [`Names`], [`Pattern`].

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use crate::timestamp::{Timestamp, format_time, now_micros};

/// What compressed files have behind their name, and those not whole yet.
pub(super) const COMPRESSED: &str = ".gz";
pub(super) const PART: &str = ".gz.part";

/// How files beside one file are named when they are put aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern {
    /// Where they lie.
    pub dir: PathBuf,
    stem: String,
    /// With its dot; may be empty.
    extension: String,
}

/// A file that was put aside.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Aside {
    /// When, in milliseconds since 1970.
    pub millis: u64,
    /// What is behind its name: nothing, [`COMPRESSED`] or [`PART`].
    pub suffix: String,
    pub path: PathBuf,
}

/// Gives out names, each later than all before it.
#[derive(Debug)]
pub(super) struct Names {
    pattern: Pattern,
    last: u64,
}

impl Names {
    /// Names for what is put aside of a file. Looks which there are.
    pub fn new(path: &Path) -> io::Result<Self> {
        let text = |part: Option<&OsStr>| {
            part.map(|text| text.to_string_lossy().into_owned()).unwrap_or_default()
        };
        let extension = path.extension().map(|_| format!(".{}", text(path.extension())));
        let dir = path.parent().unwrap_or(Path::new("/")).to_owned();
        let stem = text(path.file_stem());
        let pattern = Pattern { dir, stem, extension: extension.unwrap_or_default() };
        let last = pattern.all()?.last().map_or(0, |aside| aside.millis);
        Ok(Names { pattern, last })
    }

    /// What they look like.
    pub fn pattern(&self) -> Pattern {
        self.pattern.clone()
    }

    /// The next name.
    pub fn next(&mut self) -> PathBuf {
        self.last = (now_micros() / 1_000).max(self.last + 1);
        self.pattern.path(self.last)
    }
}

impl Pattern {
    fn path(&self, millis: u64) -> PathBuf {
        let Pattern { dir, stem, extension } = self;
        dir.join(format!("{stem}.{}{extension}", label(millis)))
    }

    /// Everything that was put aside, the oldest first.
    pub fn all(&self) -> io::Result<Vec<Aside>> {
        let mut all = Vec::new();
        for entry in std::fs::read_dir(&self.dir)? {
            let name = entry?.file_name();
            all.extend(name.to_str().and_then(|name| self.read(name)));
        }
        all.sort();
        Ok(all)
    }

    fn read(&self, name: &str) -> Option<Aside> {
        let rest = name.strip_prefix(&*self.stem)?.strip_prefix('.')?;
        let (label, rest) = rest.split_at_checked(LABEL.len())?;
        let suffix = rest.strip_prefix(&*self.extension)?;
        let is_ours = matches!(suffix, "" | COMPRESSED | PART);
        let millis = read_label(label).filter(|_| is_ours)?;
        Some(Aside { millis, suffix: suffix.to_owned(), path: self.dir.join(name) })
    }
}

/// The form of the time in a name.
const LABEL: &str = "YYYYMMDDTHHMMSS.mmmZ";

fn label(millis: u64) -> String {
    let second = format_time(Timestamp::from_micros(millis / 1_000 * 1_000_000));
    let digits: String = second.chars().filter(|c| !matches!(c, '-' | ':' | 'Z')).collect();
    format!("{digits}.{:03}Z", millis % 1_000)
}

fn read_label(text: &str) -> Option<u64> {
    if !text.is_ascii() || text.len() != LABEL.len() {
        return None;
    }
    let (date, time) = text.split_once('T')?;
    let at = |text: &str, from, to| text.get(from..to).map(str::to_owned);
    let date = format!("{}-{}-{}", at(date, 0, 4)?, at(date, 4, 6)?, at(date, 6, 8)?);
    let time = format!("{}:{}:{}", at(time, 0, 2)?, at(time, 2, 4)?, at(time, 4, 11)?);
    Some(Timestamp::parse(&format!("{date}T{time}"))?.micros() / 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_say_their_time_and_sort_by_it() {
        assert_eq!(label(1_795_254_614_007), "20261121T095014.007Z");
        let millis = [0, 1, 999, 1_000, 1_795_254_614_007, 4_102_444_800_000];
        let labels = millis.map(label);
        assert!(labels.is_sorted(), "{labels:?}");
        assert_eq!(labels.map(|label| read_label(&label).unwrap()), millis);
    }

    #[test]
    fn names_grow_and_are_told_from_others() {
        let dir = tempfile::tempdir().unwrap();
        for name in [
            "events.jsonl",
            "events.20991231T235959.000Z.jsonl.gz",
            "events.20200101T000000.000Z.jsonl",
            "events.20200101T000000.000Z.jsonl.gz.part",
            "events.20200101T000000.000Z.json",
            "events.20200101T000000Z.jsonl",
            "events.20201301T000000.000Z.jsonl",
            "events2.20200101T000000.000Z.jsonl",
            "events.old.jsonl",
        ] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        let mut names = Names::new(&dir.path().join("events.jsonl")).unwrap();
        let suffixes: Vec<_> = names.pattern.all().unwrap().into_iter().map(|a| a.suffix).collect();
        assert_eq!(suffixes, ["", PART, COMPRESSED]);
        // Whatever the clock says now.
        assert!(names.next().ends_with("events.20991231T235959.001Z.jsonl"));
        assert!(names.next().ends_with("events.20991231T235959.002Z.jsonl"));
        let mut bare = Names::new(&dir.path().join("events")).unwrap();
        let next = bare.next();
        assert_eq!(
            bare.pattern.read(next.file_name().unwrap().to_str().unwrap()).unwrap().path,
            next
        );
    }
}
