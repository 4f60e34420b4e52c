//! What is to happen at which operation, read from text. Knows nothing of files. Key types: [`Plan`],
//! [`Fate`].
//!
//! A plan is a list of items, separated by `;`:
//!
//! | item | what it does |
//! |---|---|
//! | `kill=POINT[,MOMENT]` | SIGKILL |
//! | `power=POINT[,MOMENT]` | power loss, then SIGKILL |
//! | `kill=file:PATH`, `power=file:PATH` | the same, soon after that file is there |
//! | `short=POINT` | a write writes half, and says so |
//! | `error=POINT[,errno=NAME][,EXTENT][,drop=WHAT]` | operations fail: EIO if no other is named |
//! | `full=PATH` | while that file is there, what needs space fails with ENOSPC |
//! | `since=PATH` | no point of any item counts before that file is there |
//!
//! A POINT is `N`, the N-th operation from 1, or `KIND:N`, the N-th of its kind; `@TEXT` after it
//! counts only operations on paths that hold the text. A MOMENT is `before` (if none is given),
//! `after`, or `half`: of a write the first half is done; of anything else, nothing.
//! An EXTENT is `count=N` (1 if none is given), `ms=N`, `while=PATH` or `until=PATH`: all that the
//! point counts fails from there on, so many times, so long, or while a file is or is not there.
//! After a sync that failed, `drop=all` (if none is given): what it should have made safe will not
//! survive a power loss, though later syncs succeed, as on Linux; `some`: by coin; `none`: it is still
//! unsynced, no more; `now`: the file goes back to what it was at once, as if read anew from the disk.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What an operation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Makes a file.
    Create,
    /// Writes, in any way.
    Write,
    /// Makes the bytes of a file safe.
    Sync,
    /// Makes the names in a directory safe.
    DirSync,
    /// Starts writing back, which makes nothing safe.
    Range,
    /// Cuts or lengthens a file.
    Truncate,
    /// Takes space for a file.
    Allocate,
    /// Gives a file another name.
    Rename,
    /// Removes a name.
    Unlink,
    /// Gives a file one more name.
    Link,
    /// Makes a directory.
    MakeDir,
    /// Removes a directory.
    RemoveDir,
}

const KINDS: [(Kind, &str); 12] = [
    (Kind::Create, "create"),
    (Kind::Write, "write"),
    (Kind::Sync, "sync"),
    (Kind::DirSync, "dirsync"),
    (Kind::Range, "range"),
    (Kind::Truncate, "truncate"),
    (Kind::Allocate, "allocate"),
    (Kind::Rename, "rename"),
    (Kind::Unlink, "unlink"),
    (Kind::Link, "link"),
    (Kind::MakeDir, "mkdir"),
    (Kind::RemoveDir, "rmdir"),
];

impl Kind {
    /// Its name, as in plans and traces.
    pub fn name(self) -> &'static str {
        KINDS.iter().find(|(kind, _)| *kind == self).map_or("", |(_, name)| name)
    }
}

/// When, within an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Nothing of it is done.
    Before,
    /// Half of a write is done.
    Half,
    /// All of it is done.
    After,
}

/// What becomes of what a failed sync should have made safe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drop {
    /// It stays unsynced.
    None,
    /// Each page by coin.
    Some,
    /// It does not survive a power loss.
    All,
    /// It is gone at once.
    Now,
}

/// What happens to an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Nothing.
    Pass,
    /// The process is killed.
    Kill(Moment),
    /// The power goes.
    Power(Moment),
    /// A write writes half.
    Short,
    /// It fails with this error number.
    Fail(i32, Drop),
}

/// An operation, as far as plans know it.
#[derive(Debug, Clone, Copy)]
pub struct Op<'a> {
    /// What it does.
    pub kind: Kind,
    /// To what, relative to the watched directory.
    pub path: &'a str,
    /// From where.
    pub offset: u64,
    /// How many bytes.
    pub bytes: u64,
    /// Whether it needs space on the disk.
    pub grows: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Point {
    kind: Option<Kind>,
    text: Option<String>,
    nth: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Extent {
    Count(u64),
    Time(Duration),
    While(PathBuf),
    Until(PathBuf),
}

/// What happens at a point.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Act {
    Kill(Moment),
    Power(Moment),
    Short,
    Error { errno: i32, extent: Extent, drop: Drop },
}

#[derive(Debug)]
struct Item {
    point: Point,
    act: Act,
    /// How many operations its point has counted.
    seen: u64,
    begun: Option<Instant>,
}

/// What is awaited besides operations: a file, and whether the power goes then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Awaited {
    /// The file.
    pub file: PathBuf,
    /// A power loss; else a plain SIGKILL.
    pub is_power: bool,
}

/// All that is to happen.
#[derive(Debug, Default)]
pub struct Plan {
    items: Vec<Item>,
    full: Option<PathBuf>,
    since: Option<PathBuf>,
    /// What a thread waits for.
    pub awaited: Option<Awaited>,
}

impl Plan {
    /// Reads a plan.
    ///
    /// # Errors
    /// The item that makes no sense.
    pub fn read(text: &str) -> Result<Plan, String> {
        let mut plan = Plan::default();
        for item in text.split(';').map(str::trim).filter(|item| !item.is_empty()) {
            plan.add(item).ok_or_else(|| format!("{item:?} is no item of a plan"))?;
        }
        Ok(plan)
    }

    fn add(&mut self, item: &str) -> Option<()> {
        let (what, rest) = item.split_once('=')?;
        let mut options = rest.split(',');
        let first = options.next()?;
        if let Some(path) = match what {
            "full" => Some(&mut self.full),
            "since" => Some(&mut self.since),
            _ => None,
        } {
            *path = Some(first.into());
            return options.next().is_none().then_some(());
        }
        if let Some(file) = first.strip_prefix("file:") {
            let is_power = what == "power";
            self.awaited = Some(Awaited { file: file.into(), is_power });
            return (is_power || what == "kill").then_some(());
        }
        let point = read_point(first)?;
        let act = match what {
            "kill" => Act::Kill(read_moment(&mut options)?),
            "power" => Act::Power(read_moment(&mut options)?),
            "short" => Act::Short,
            "error" => read_error(&mut options)?,
            _ => return None,
        };
        self.items.push(Item { point, act, seen: 0, begun: None });
        options.next().is_none().then_some(())
    }

    /// What happens to the next operation.
    pub fn next(&mut self, op: &Op<'_>, exists: impl Fn(&Path) -> bool) -> Fate {
        // Each item counts each operation, whatever another one says.
        let counts = self.since.as_deref().is_none_or(&exists);
        let items = self.items.iter_mut().filter(|_| counts);
        let fates: Vec<Fate> = items.map(|item| item.next(op, &exists)).collect();
        if let Some(fate) = fates.into_iter().find(|fate| *fate != Fate::Pass) {
            return fate;
        }
        match &self.full {
            Some(path) if op.grows && exists(path) => Fate::Fail(libc::ENOSPC, Drop::None),
            _ => Fate::Pass,
        }
    }
}

impl Item {
    fn next(&mut self, op: &Op<'_>, exists: impl Fn(&Path) -> bool) -> Fate {
        let is_meant = self.point.kind.is_none_or(|kind| kind == op.kind)
            && self.point.text.as_ref().is_none_or(|text| op.path.contains(text.as_str()));
        if !is_meant {
            return Fate::Pass;
        }
        self.seen += 1;
        if self.seen < self.point.nth {
            return Fate::Pass;
        }
        let is_first = self.seen == self.point.nth;
        match &self.act {
            Act::Kill(moment) if is_first => Fate::Kill(half_of_writes(*moment, op)),
            Act::Power(moment) if is_first => Fate::Power(half_of_writes(*moment, op)),
            Act::Short if is_first && op.kind == Kind::Write => Fate::Short,
            Act::Error { errno, extent, drop } => {
                let begun = *self.begun.get_or_insert_with(Instant::now);
                let goes_on = match extent {
                    Extent::Count(count) => self.seen < self.point.nth + count,
                    Extent::Time(time) => begun.elapsed() < *time,
                    Extent::While(path) => exists(path),
                    Extent::Until(path) => !exists(path),
                };
                if goes_on { Fate::Fail(*errno, *drop) } else { Fate::Pass }
            }
            _ => Fate::Pass,
        }
    }
}

fn half_of_writes(moment: Moment, op: &Op<'_>) -> Moment {
    match moment {
        Moment::Half if op.kind != Kind::Write => Moment::Before,
        moment => moment,
    }
}

fn read_point(text: &str) -> Option<Point> {
    let (at, text) = match text.split_once('@') {
        Some((at, text)) => (at, Some(text.to_owned())),
        None => (text, None),
    };
    let (kind, nth) = match at.split_once(':') {
        Some((kind, nth)) => {
            let kind = KINDS.iter().find(|(_, name)| *name == kind)?.0;
            (Some(kind), nth)
        }
        None => (None, at),
    };
    let nth = nth.parse().ok().filter(|nth| *nth > 0)?;
    Some(Point { kind, text, nth })
}

fn read_moment<'a>(options: &mut impl Iterator<Item = &'a str>) -> Option<Moment> {
    match options.next() {
        None | Some("before") => Some(Moment::Before),
        Some("half") => Some(Moment::Half),
        Some("after") => Some(Moment::After),
        Some(_) => None,
    }
}

fn read_error<'a>(options: &mut impl Iterator<Item = &'a str>) -> Option<Act> {
    let (mut errno, mut extent, mut drop) = (libc::EIO, Extent::Count(1), Drop::All);
    for option in options {
        match option.split_once('=')? {
            ("errno", name) => errno = read_errno(name)?,
            ("count", count) => extent = Extent::Count(count.parse().ok()?),
            ("ms", ms) => extent = Extent::Time(Duration::from_millis(ms.parse().ok()?)),
            ("while", path) => extent = Extent::While(path.into()),
            ("until", path) => extent = Extent::Until(path.into()),
            ("drop", "all") => drop = Drop::All,
            ("drop", "some") => drop = Drop::Some,
            ("drop", "none") => drop = Drop::None,
            ("drop", "now") => drop = Drop::Now,
            _ => return None,
        }
    }
    Some(Act::Error { errno, extent, drop })
}

fn read_errno(name: &str) -> Option<i32> {
    Some(match name {
        "ENOSPC" => libc::ENOSPC,
        "EIO" => libc::EIO,
        "EDQUOT" => libc::EDQUOT,
        "EROFS" => libc::EROFS,
        "EACCES" => libc::EACCES,
        "EINTR" => libc::EINTR,
        "EFBIG" => libc::EFBIG,
        "EMFILE" => libc::EMFILE,
        number => number.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn op(kind: Kind, path: &str) -> Op<'_> {
        Op { kind, path, offset: 0, bytes: 1, grows: kind == Kind::Write }
    }

    fn fates(plan: &str, ops: &[Op<'_>]) -> Vec<Fate> {
        let mut plan = Plan::read(plan).unwrap();
        ops.iter().map(|op| plan.next(op, |path| path == Path::new("/there"))).collect()
    }

    #[test]
    fn points_count_what_they_name() {
        let ops = [
            op(Kind::Write, "journal/1"),
            op(Kind::Sync, "journal/1"),
            op(Kind::Write, "store/1"),
            op(Kind::Write, "journal/1"),
        ];
        let kill = Fate::Kill(Moment::Half);
        let pass = Fate::Pass;
        assert_eq!(fates("kill=write:2,half", &ops), [pass, pass, kill, pass]);
        assert_eq!(fates("kill=write:2@journal,half", &ops), [pass, pass, pass, kill]);
        assert_eq!(fates("kill=2,half", &ops), [pass, Fate::Kill(Moment::Before), pass, pass]);
        let fail = Fate::Fail(libc::ENOSPC, Drop::All);
        assert_eq!(fates("error=2,count=2,errno=ENOSPC", &ops), [pass, fail, fail, pass]);
        assert_eq!(fates("error=write:2,ms=60000,errno=28", &ops), [pass, pass, fail, fail]);
        assert_eq!(fates("error=3,until=/there", &ops), [pass; 4]);
        assert_eq!(fates("since=/there; kill=3,half", &ops), [pass, pass, kill, pass]);
        assert_eq!(fates("since=/later; kill=3,half", &ops), [pass; 4]);
        let full = Fate::Fail(libc::ENOSPC, Drop::None);
        assert_eq!(fates("full=/there; short=1", &ops), [Fate::Short, pass, full, full]);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for text in [
            "kill",
            "kill=0",
            "kill=wrote:1",
            "error=1,for=2",
            "error=1,errno=EWHAT",
            "short=file:/x",
        ] {
            assert!(Plan::read(text).is_err(), "{text}");
        }
        let awaited = Plan::read("power=file:/x").unwrap().awaited;
        assert_eq!(awaited, Some(Awaited { file: "/x".into(), is_power: true }));
    }
}
