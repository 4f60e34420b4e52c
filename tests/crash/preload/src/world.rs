//! All that is known of the process and its files, behind one lock, and how an operation goes. Key
//! type: [`World`].

use std::cell::Cell;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use crate::coin::Coin;
use crate::data::FileData;
use crate::names::{Change, Name, Names};
use crate::plan::{Fate, Kind, Moment, Op, Plan};
use crate::sys::{self, Fd, FileId, Stat, fail, give_up};
use crate::{carry, power};

/// A descriptor of the process.
#[derive(Debug, Clone)]
pub struct Open {
    /// Which file.
    pub id: FileId,
    /// Its path when it was opened, relative to the watched directory.
    pub path: String,
    /// Writes go to the end.
    pub appends: bool,
    /// Writes are safe when they return.
    pub writes_through: bool,
    /// Whether it is a directory.
    pub is_dir: bool,
}

/// How much of an operation is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// All.
    Whole,
    /// Half of a write.
    Half,
}

/// The state of the library.
#[derive(Debug)]
pub struct World {
    /// The watched directory.
    pub dir: PathBuf,
    /// Where things are kept meanwhile.
    pub side: PathBuf,
    pub plan: Plan,
    pub coin: Coin,
    trace: Option<Fd>,
    count: u64,
    pub opens: BTreeMap<Fd, Open>,
    pub files: BTreeMap<FileId, FileData>,
    pub names: Names,
}

static WORLD: OnceLock<Option<Mutex<World>>> = OnceLock::new();

/// Whether anything is watched: not known yet, no, yes.
static STATE: AtomicU8 = AtomicU8::new(0);
const IDLE: u8 = 1;
const ACTIVE: u8 = 2;

/// Which descriptors are of watched files, a bit each.
static WATCHED: [AtomicU64; 1024] = [const { AtomicU64::new(0) }; 1024];

thread_local! {
    /// Whether this thread is in our own code, whose calls pass through.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Whether a descriptor may be of a watched file.
pub fn is_watched(fd: Fd) -> bool {
    let place = usize::try_from(fd).ok().and_then(|fd| WATCHED.get(fd / 64));
    place.is_some_and(|bits| bits.load(Ordering::Relaxed) & (1 << (fd % 64)) != 0)
}

fn watch(fd: Fd, yes: bool) {
    let Some(bits) = usize::try_from(fd).ok().and_then(|fd| WATCHED.get(fd / 64)) else { return };
    if yes {
        bits.fetch_or(1 << (fd % 64), Ordering::Relaxed);
    } else {
        bits.fetch_and(!(1 << (fd % 64)), Ordering::Relaxed);
    }
}

/// Does something with the world, unless nothing is watched or this is our own call.
pub fn with<T>(work: impl FnOnce(&mut World) -> T) -> Option<T> {
    if STATE.load(Ordering::Acquire) == IDLE || INSIDE.get() {
        return None;
    }
    INSIDE.set(true);
    let world = WORLD.get_or_init(|| {
        let world = World::from_environment();
        STATE.store(if world.is_some() { ACTIVE } else { IDLE }, Ordering::Release);
        world.map(Mutex::new)
    });
    let answer = world.as_ref().map(|world| {
        power::watch_once();
        work(&mut lock(world))
    });
    // What the system said of the call itself is still wanted.
    INSIDE.set(false);
    answer
}

fn lock(world: &Mutex<World>) -> MutexGuard<'_, World> {
    world.lock().unwrap_or_else(PoisonError::into_inner)
}

impl World {
    fn from_environment() -> Option<World> {
        let text = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
        let dir = PathBuf::from(text("CRASH_DIR")?);
        let plan = Plan::read(&text("CRASH_PLAN").unwrap_or_default());
        let plan = plan.unwrap_or_else(|error| {
            sys::set_errno(libc::EINVAL);
            give_up(&error)
        });
        let side = PathBuf::from(text("CRASH_SIDE").unwrap_or_else(|| {
            sys::set_errno(libc::EINVAL);
            give_up("CRASH_SIDE names no directory")
        }));
        let seed = text("CRASH_SEED").and_then(|seed| seed.parse().ok()).unwrap_or(0);
        let trace = text("CRASH_TRACE").map(|path| {
            let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_APPEND | libc::O_CLOEXEC;
            let fd = sys::openat(libc::AT_FDCWD, &sys::c_path(Path::new(&path)), flags, 0o644);
            if fd < 0 {
                give_up("cannot write CRASH_TRACE");
            }
            fd as Fd
        });
        let side_fd = sys::open_dir(&side).unwrap_or_else(|| give_up("no CRASH_SIDE"));
        let mut world = World {
            dir,
            side,
            plan,
            coin: Coin::new(seed),
            trace,
            count: 0,
            opens: BTreeMap::new(),
            files: BTreeMap::new(),
            names: Names::new(side_fd),
        };
        carry::take_over(&mut world);
        Some(world)
    }

    /// An operation: what the plan says of it, then the operation, then what the plan says. `act` does
    /// it and notes what came of it.
    pub fn perform(&mut self, op: &Op<'_>, act: impl FnOnce(&mut World, Part) -> isize) -> isize {
        let fate = self.decide(op);
        self.carry_out(fate, act)
    }

    /// A sync, which leaves something behind also when it fails.
    pub fn perform_sync(&mut self, op: &Op<'_>, id: FileId, act: impl FnOnce() -> isize) -> isize {
        let fate = self.decide(op);
        if let Fate::Fail(_, drop) = fate
            && let Some(file) = self.files.get_mut(&id)
        {
            file.not_synced(drop, &mut self.coin);
        }
        self.carry_out(fate, |world, _| {
            let result = act();
            if result >= 0 {
                world.synced(id, op.kind);
            }
            result
        })
    }

    fn decide(&mut self, op: &Op<'_>) -> Fate {
        let fate = self.plan.next(op, sys::exists);
        self.count += 1;
        let (count, kind, fated) = (self.count, op.kind.name(), fate_name(fate));
        self.tell(&format!("{count}\t{kind}\t{}\t{}\t{}\t{fated}\n", op.offset, op.bytes, op.path));
        fate
    }

    fn carry_out(&mut self, fate: Fate, act: impl FnOnce(&mut World, Part) -> isize) -> isize {
        let part = match fate {
            Fate::Kill(Moment::Before) => power::kill(self),
            Fate::Power(Moment::Before) => power::lose(self),
            Fate::Fail(errno, _) => return fail(errno),
            Fate::Short | Fate::Kill(Moment::Half) | Fate::Power(Moment::Half) => Part::Half,
            Fate::Pass | Fate::Kill(Moment::After) | Fate::Power(Moment::After) => Part::Whole,
        };
        let result = act(self, part);
        match fate {
            Fate::Kill(_) => power::kill(self),
            Fate::Power(_) => power::lose(self),
            Fate::Pass | Fate::Short | Fate::Fail(..) => result,
        }
    }

    fn synced(&mut self, id: FileId, kind: Kind) {
        if kind == Kind::DirSync {
            self.names.synced(id);
        } else if let Some(file) = self.files.get_mut(&id) {
            file.synced();
            self.forget_closed(id);
        }
    }

    /// Adds a line to the trace.
    pub fn tell(&self, line: &str) {
        if let Some(trace) = self.trace {
            sys::write(trace, line.as_bytes());
        }
    }

    /// A path below the watched directory, as the plan and the trace have it.
    pub fn shown(&self, path: &Path) -> String {
        match path.strip_prefix(&self.dir) {
            Ok(rest) if rest.as_os_str().is_empty() => ".".to_owned(),
            Ok(rest) => rest.display().to_string(),
            Err(_) => path.display().to_string(),
        }
    }

    /// The process has one more descriptor.
    pub fn opened(&mut self, fd: Fd, path: &Path, flags: i32, stat: Stat) {
        if !stat.is_dir && !stat.is_regular {
            return;
        }
        let open = Open {
            id: stat.id,
            path: self.shown(path),
            appends: flags & libc::O_APPEND != 0,
            writes_through: flags & libc::O_DSYNC != 0,
            is_dir: stat.is_dir,
        };
        if stat.is_regular
            && flags & libc::O_ACCMODE != libc::O_RDONLY
            && !self.files.contains_key(&stat.id)
        {
            let own = sys::reopen(fd, libc::O_RDWR);
            let own = own.unwrap_or_else(|| give_up("cannot open a file that is written"));
            self.files.insert(stat.id, FileData::new(own, stat.size));
        }
        self.add(fd, open);
    }

    /// Notes a descriptor.
    pub fn add(&mut self, fd: Fd, open: Open) {
        self.closed(fd);
        if let Some(file) = self.files.get_mut(&open.id) {
            file.open += 1;
        }
        self.opens.insert(fd, open);
        watch(fd, true);
    }

    /// A descriptor is gone.
    pub fn closed(&mut self, fd: Fd) {
        watch(fd, false);
        let Some(open) = self.opens.remove(&fd) else { return };
        if let Some(file) = self.files.get_mut(&open.id) {
            file.open = file.open.saturating_sub(1);
            self.forget_closed(open.id);
        }
    }

    fn forget_closed(&mut self, id: FileId) {
        if self.files.get(&id).is_some_and(|file| file.open == 0 && file.is_safe())
            && let Some(file) = self.files.remove(&id)
        {
            sys::close(file.own);
        }
    }

    /// What a descriptor is of, if it still is: its number may have gone to another file unseen.
    pub fn open(&mut self, fd: Fd) -> Option<(Open, Stat)> {
        let open = self.opens.get(&fd)?.clone();
        match sys::stat_fd(fd) {
            Some(stat) if stat.id == open.id => Some((open, stat)),
            _ => {
                self.closed(fd);
                None
            }
        }
    }

    /// A name in its directory, which is kept open from now on.
    pub fn name(&mut self, path: &Path) -> Option<Name> {
        use std::os::unix::ffi::OsStrExt as _;
        let dir = sys::open_dir(path.parent()?)?;
        let id = sys::stat_fd(dir)?.id;
        match self.names.dirs.entry(id) {
            Entry::Vacant(place) => {
                place.insert(dir);
            }
            Entry::Occupied(_) => {
                sys::close(dir);
            }
        }
        let name = std::ffi::CString::new(path.file_name()?.as_bytes()).ok()?;
        Some(Name { dir: id, name })
    }

    /// Notes a change of names.
    pub fn changed(&mut self, change: Change) {
        self.names.log.push(change);
    }
}

fn fate_name(fate: Fate) -> String {
    let moment = |moment| match moment {
        Moment::Before => "before",
        Moment::Half => "half",
        Moment::After => "after",
    };
    match fate {
        Fate::Pass => "ok".to_owned(),
        Fate::Kill(at) => format!("kill {}", moment(at)),
        Fate::Power(at) => format!("power {}", moment(at)),
        Fate::Short => "short".to_owned(),
        Fate::Fail(errno, _) => format!("error {errno}"),
    }
}
