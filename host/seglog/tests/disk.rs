//! A disk in memory that fails when told to, and forgets what was not synced when the power goes.
//! Key type: [`FaultDisk`].

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, Weak};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::seglog::{Disk, DiskFile};

/// What happens to an operation that changes something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The machine stops: this and all that follow do nothing, or a part of it.
    Crash,
    /// Input/output error.
    Error,
    /// No space left on device.
    Full,
    /// A write writes a part of what it was given; other operations are done.
    Short,
}

pub struct FaultDisk {
    me: Weak<FaultDisk>,
    inner: Mutex<Inner>,
    died: Condvar,
}

struct Inner {
    rng: StdRng,
    /// What is lost or kept as one, bytes.
    sector: usize,
    files: BTreeMap<u64, Data>,
    next_id: u64,
    names: BTreeMap<String, u64>,
    /// Names as they are on the disk, and what has been done to them since.
    synced_names: BTreeMap<String, u64>,
    pending: Vec<NameChange>,
    operations: u64,
    /// Operations that fail, by their number, from and to.
    plan: Vec<(std::ops::Range<u64>, Fault)>,
    is_dead: bool,
    cooled: Vec<String>,
}

#[derive(Clone)]
enum NameChange {
    Set(String, u64),
    Remove(String),
    Rename(String, String),
}

#[derive(Default, Clone)]
struct Data {
    /// As programs see it.
    now: Vec<u8>,
    /// As it is on the disk.
    synced: Vec<u8>,
    dirty: BTreeSet<usize>,
    /// Bytes that cannot be read.
    unreadable: std::ops::Range<usize>,
}

struct FaultFile {
    disk: Arc<FaultDisk>,
    id: u64,
}

impl FaultDisk {
    pub fn new(seed: u64, sector: usize) -> Arc<Self> {
        let inner = Inner {
            rng: StdRng::seed_from_u64(seed),
            sector,
            files: BTreeMap::new(),
            next_id: 0,
            names: BTreeMap::new(),
            synced_names: BTreeMap::new(),
            pending: Vec::new(),
            operations: 0,
            plan: Vec::new(),
            is_dead: false,
            cooled: Vec::new(),
        };
        Self::with(inner)
    }

    fn with(inner: Inner) -> Arc<Self> {
        Arc::new_cyclic(|me| FaultDisk {
            me: me.clone(),
            inner: Mutex::new(inner),
            died: Condvar::new(),
        })
    }

    /// From now on these operations fail so, counted from the next one.
    pub fn plan(&self, operations: std::ops::Range<u64>, fault: Fault) {
        let mut inner = self.inner.lock().unwrap();
        let now = inner.operations;
        inner.plan.push((now + operations.start..now.saturating_add(operations.end), fault));
    }

    pub fn clear_plan(&self) {
        self.inner.lock().unwrap().plan.clear();
    }

    pub fn operations(&self) -> u64 {
        self.inner.lock().unwrap().operations
    }

    pub fn is_dead(&self) -> bool {
        self.inner.lock().unwrap().is_dead
    }

    /// Waits until the machine has stopped, or `is_over` says that it will not.
    pub fn wait_for_death(&self, is_over: impl Fn() -> bool) -> bool {
        let mut inner = self.inner.lock().unwrap();
        while !inner.is_dead && !is_over() {
            inner = self.died.wait_timeout(inner, Duration::from_millis(1)).unwrap().0;
        }
        inner.is_dead
    }

    /// What is found when the machine starts again: what was synced, and of the rest whatever.
    pub fn after_power_loss(&self) -> Arc<Self> {
        let inner = &mut *self.inner.lock().unwrap();
        let mut names = inner.synced_names.clone();
        let survive = inner.rng.random_range(0..=inner.pending.len());
        inner.pending.iter().take(survive).for_each(|change| change.apply(&mut names));
        let mut files = BTreeMap::new();
        for id in names.values() {
            let mut data = inner.files[id].clone();
            data.write_back(inner.sector, |_| inner.rng.random());
            data.now = data.synced.clone();
            data.dirty.clear();
            files.insert(*id, data);
        }
        inner.again(files, names)
    }

    /// What is found when only the process has died.
    pub fn after_kill(&self) -> Arc<Self> {
        let mut inner = self.inner.lock().unwrap();
        let (files, names) = (inner.files.clone(), inner.names.clone());
        inner.again(files, names)
    }

    /// Changes a file behind everybody's back.
    pub fn edit(&self, name: &str, edit: impl FnOnce(&mut Vec<u8>)) {
        let mut inner = self.inner.lock().unwrap();
        let id = inner.names[name];
        let data = inner.files.get_mut(&id).unwrap();
        edit(&mut data.now);
        data.synced = data.now.clone();
    }

    /// From now on these bytes of a file cannot be read.
    pub fn make_unreadable(&self, name: &str, bytes: std::ops::Range<usize>) {
        let mut inner = self.inner.lock().unwrap();
        let id = inner.names[name];
        inner.files.get_mut(&id).unwrap().unreadable = bytes;
    }

    pub fn contents(&self, name: &str) -> Vec<u8> {
        let inner = self.inner.lock().unwrap();
        inner.files[&inner.names[name]].now.clone()
    }

    /// Names of files that the system was told to be read no more.
    pub fn cooled(&self) -> Vec<String> {
        self.inner.lock().unwrap().cooled.clone()
    }

    pub fn names(&self) -> Vec<String> {
        self.inner.lock().unwrap().names.keys().cloned().collect()
    }

    fn file(&self, id: u64) -> Arc<dyn DiskFile> {
        Arc::new(FaultFile { disk: self.me.upgrade().unwrap(), id })
    }

    /// Counts an operation and says what becomes of it.
    fn change<T>(
        &self,
        operation: impl FnOnce(&mut Inner, Option<Fault>) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut inner = self.inner.lock().unwrap();
        if inner.is_dead {
            return Err(io::Error::other("dead"));
        }
        let now = inner.operations;
        inner.operations += 1;
        let fault = inner.plan.iter().find(|(when, _)| when.contains(&now)).map(|plan| plan.1);
        let result = operation(&mut inner, fault);
        match fault {
            Some(Fault::Crash) => {
                inner.is_dead = true;
                self.died.notify_all();
                Err(io::Error::other("crash"))
            }
            Some(Fault::Error) => Err(io::Error::from_raw_os_error(5)),
            Some(Fault::Full) => Err(io::Error::from_raw_os_error(28)),
            Some(Fault::Short) | None => result,
        }
    }

    fn look<T>(&self, look: impl FnOnce(&Inner) -> io::Result<T>) -> io::Result<T> {
        let inner = self.inner.lock().unwrap();
        if inner.is_dead { Err(io::Error::other("dead")) } else { look(&inner) }
    }

    fn change_names(&self, change: NameChange) -> io::Result<()> {
        self.change(|inner, fault| {
            // Whether one that fails is done or not, nobody knows.
            if fault.is_some_and(|fault| fault != Fault::Short) && inner.rng.random() {
                return Ok(());
            }
            match &change {
                NameChange::Remove(name) | NameChange::Rename(name, _)
                    if !inner.names.contains_key(name) =>
                {
                    return Err(io::ErrorKind::NotFound.into());
                }
                _ => {}
            }
            change.apply(&mut inner.names);
            inner.pending.push(change);
            Ok(())
        })
    }
}

impl Inner {
    /// The disk when it is used again.
    fn again(
        &mut self,
        files: BTreeMap<u64, Data>,
        names: BTreeMap<String, u64>,
    ) -> Arc<FaultDisk> {
        FaultDisk::with(Inner {
            rng: StdRng::seed_from_u64(self.rng.random()),
            sector: self.sector,
            files,
            next_id: self.next_id,
            synced_names: names.clone(),
            names,
            pending: Vec::new(),
            operations: 0,
            plan: Vec::new(),
            is_dead: false,
            cooled: Vec::new(),
        })
    }
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<String, u64>) {
        match self {
            NameChange::Set(name, id) => {
                names.insert(name.clone(), *id);
            }
            NameChange::Remove(name) => {
                names.remove(name);
            }
            NameChange::Rename(from, to) => {
                if let Some(id) = names.remove(from) {
                    names.insert(to.clone(), id);
                }
            }
        }
    }
}

impl Data {
    /// Brings to the disk those parts that were not and that `chosen` is true for.
    fn write_back(&mut self, sector: usize, mut chosen: impl FnMut(usize) -> bool) {
        for index in std::mem::take(&mut self.dirty) {
            if !chosen(index) {
                continue;
            }
            let from = index * sector;
            let to = (from + sector).min(self.now.len());
            if self.synced.len() < to {
                self.synced.resize(to, 0);
            }
            self.synced[from..to].copy_from_slice(&self.now[from..to]);
        }
    }
}

impl Disk for FaultDisk {
    fn path(&self) -> &Path {
        Path::new("/disk")
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.look(|inner| Ok(inner.names.keys().cloned().collect()))
    }

    fn open(&self, name: &str, _: bool) -> io::Result<Arc<dyn DiskFile>> {
        let id = self
            .look(|inner| inner.names.get(name).copied().ok_or(io::ErrorKind::NotFound.into()))?;
        Ok(self.file(id))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let id = {
            let mut inner = self.inner.lock().unwrap();
            inner.next_id += 1;
            let id = inner.next_id;
            inner.files.insert(id, Data::default());
            id
        };
        self.change_names(NameChange::Set(name.to_owned(), id))?;
        Ok(self.file(id))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.change_names(NameChange::Rename(from.to_owned(), to.to_owned()))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.change_names(NameChange::Remove(name.to_owned()))
    }

    fn cool(&self, name: &str) -> io::Result<()> {
        self.inner.lock().unwrap().cooled.push(name.to_owned());
        Ok(())
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.change(|inner, fault| {
            if !matches!(fault, None | Some(Fault::Short)) {
                return Ok(());
            }
            inner.synced_names = inner.names.clone();
            inner.pending.clear();
            Ok(())
        })
    }
}

impl DiskFile for FaultFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.disk.look(|inner| {
            let data = &inner.files[&self.id];
            let (from, bad) = (offset as usize, &data.unreadable);
            if from < bad.end && from + buffer.len() > bad.start {
                return Err(io::Error::from_raw_os_error(5));
            }
            let rest = data.now.get(from..).unwrap_or_default();
            let n = rest.len().min(buffer.len());
            buffer[..n].copy_from_slice(&rest[..n]);
            Ok(n)
        })
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.disk.change(|inner, fault| {
            let n = match fault {
                None => bytes.len(),
                Some(Fault::Short) if bytes.len() < 2 => bytes.len(),
                Some(Fault::Short) => inner.rng.random_range(1..bytes.len()),
                Some(_) => inner.rng.random_range(0..=bytes.len()),
            };
            let (from, to) = (offset as usize, offset as usize + n);
            let sector = inner.sector;
            let data = inner.files.get_mut(&self.id).unwrap();
            if data.now.len() < to {
                data.now.resize(to, 0);
            }
            data.now[from..to].copy_from_slice(&bytes[..n]);
            if n > 0 {
                data.dirty.extend(from / sector..=(to - 1) / sector);
            }
            Ok(n)
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.change(|inner, fault| {
            let is_good = matches!(fault, None | Some(Fault::Short));
            let sector = inner.sector;
            let Inner { files, rng, .. } = inner;
            let data = files.get_mut(&self.id).unwrap();
            // One that fails forgets what it was to write: the next one says that all is well.
            data.write_back(sector, |_| is_good || rng.random());
            Ok(())
        })
    }

    fn size(&self) -> io::Result<u64> {
        self.disk.look(|inner| Ok(inner.files[&self.id].now.len() as u64))
    }
}
