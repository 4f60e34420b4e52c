//! A program whose calls are known, to test the library on: does what its arguments say, one after the
//! other, and prints a line for each that failed.
//!
//! `make PATH`, `empty PATH` (makes or cuts it), `write PATH OFFSET BYTE COUNT`, `append PATH BYTE COUNT`, `sync PATH`,
//! `syncdir PATH`, `cut PATH SIZE`, `move FROM TO`, `remove PATH`, `mkdir PATH`, `rmdir PATH`,
//! `copy FROM TO`, `wait PATH` (until that file is there). A file stays open from its first use.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::FileExt as _;

struct Files(HashMap<String, File>);

impl Files {
    fn get(&mut self, path: &str) -> io::Result<&mut File> {
        if !self.0.contains_key(path) {
            let file = OpenOptions::new().read(true).write(true).open(path)?;
            self.0.insert(path.to_owned(), file);
        }
        self.0.get_mut(path).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn step(&mut self, words: &mut impl Iterator<Item = String>, verb: &str) -> io::Result<()> {
        let mut word = || words.next().unwrap_or_default();
        let path = word();
        let mut number = || word().parse::<u64>().map_err(io::Error::other);
        match verb {
            "make" => {
                let file = OpenOptions::new().write(true).create_new(true).open(&path)?;
                self.0.insert(path, file);
            }
            "empty" => {
                self.0.insert(path.clone(), File::create(path)?);
            }
            "write" => {
                let (offset, byte, count) = (number()?, number()?, number()?);
                self.get(&path)?.write_all_at(&vec![byte as u8; count as usize], offset)?;
            }
            "append" => {
                let (byte, count) = (number()?, number()?);
                let file = self.get(&path)?;
                file.seek(SeekFrom::End(0))?;
                let bytes = vec![byte as u8; count as usize];
                let half = bytes.len() / 2;
                let pieces = [io::IoSlice::new(&bytes[..half]), io::IoSlice::new(&bytes[half..])];
                let written = file.write_vectored(&pieces)?;
                if written != bytes.len() {
                    return Err(io::Error::other(format!("{written} of {count} bytes")));
                }
            }
            "sync" => self.get(&path)?.sync_data()?,
            "syncdir" => File::open(&path)?.sync_all()?,
            "cut" => {
                let size = number()?;
                self.get(&path)?.set_len(size)?;
            }
            "move" => fs::rename(&path, word())?,
            "remove" => fs::remove_file(&path)?,
            "mkdir" => fs::create_dir(&path)?,
            "rmdir" => fs::remove_dir(&path)?,
            "copy" => {
                fs::copy(&path, word())?;
            }
            "wait" => {
                while !fs::exists(&path)? {
                    std::thread::yield_now();
                }
            }
            _ => return Err(io::Error::other("no such step")),
        }
        Ok(())
    }
}

fn main() {
    let mut words = std::env::args().skip(1);
    let mut files = Files(HashMap::new());
    while let Some(verb) = words.next() {
        if let Err(error) = files.step(&mut words, &verb) {
            // Standard output is no watched file.
            let _ = writeln!(io::stdout(), "{verb}: {error}");
        }
    }
}
