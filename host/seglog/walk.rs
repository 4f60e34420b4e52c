//! Goes through a segment, piece by piece, from window to window. Key type: [`Walker`].

use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use memchr::memmem;

use super::disk::{DiskFile, read_full};
use super::format::{Piece, RECORD_HEADER, RecordHeader, Salt};
use super::segment::Segment;

/// What is read at a time, bytes.
const WINDOW: u64 = 512 << 10;
const LEAST_WINDOW: usize = 16 << 10;

/// A place in a segment and a window of the bytes that follow it.
pub(super) struct Walker {
    file: Arc<dyn DiskFile>,
    salt: Salt,
    /// Where it stands in the file, bytes.
    at: u64,
    window: Bytes,
    /// Where the window begins in the file, bytes, and how much of it was read.
    window_at: u64,
    filled: usize,
    /// How much is read at a time, bytes.
    most: u64,
}

/// What stands where the walker is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A record, or a mark; [`Walker::pass`] goes on after it.
    Good(Piece),
    /// Neither; [`Walker::skip`] looks for the next.
    Bad,
    End,
}

impl Walker {
    /// # Errors
    /// The segment's file cannot be opened.
    pub(super) fn new(segment: &Segment, at: u64) -> io::Result<Self> {
        Ok(Walker {
            file: segment.file()?,
            salt: segment.salt,
            at,
            window: Bytes::new(),
            window_at: at,
            filled: 0,
            most: WINDOW,
        })
    }

    /// One that will not go far.
    ///
    /// # Errors
    /// The segment's file cannot be opened.
    pub(super) fn small(segment: &Segment, at: u64) -> io::Result<Self> {
        Ok(Walker { most: LEAST_WINDOW as u64, ..Walker::new(segment, at)? })
    }

    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// Looks at what stands here, in front of `end`.
    ///
    /// # Errors
    /// The disk cannot be read.
    #[inline]
    pub(super) fn step(&mut self, end: u64) -> io::Result<Step> {
        loop {
            if self.at >= end {
                return Ok(Step::End);
            }
            match Piece::parse(self.rest(), end - self.at, &self.salt) {
                Piece::Bad => return Ok(Step::Bad),
                Piece::Short(needed) => {
                    self.fill(needed, end)?;
                    if self.rest().len() < needed {
                        return Ok(Step::Bad);
                    }
                }
                piece => return Ok(Step::Good(piece)),
            }
        }
    }

    /// Goes to the end of a piece with a payload of this length.
    pub(super) fn pass(&mut self, payload: u32) {
        self.at += super::format::record_len(payload as usize) as u64;
    }

    /// True while what stands here begins in the window.
    #[inline]
    pub(super) fn has_more(&self) -> bool {
        !self.rest().is_empty()
    }

    /// The payload of the record that it stands at.
    #[inline]
    pub(super) fn payload(&self, header: &RecordHeader) -> Bytes {
        let from = (self.at - self.window_at) as usize + RECORD_HEADER;
        self.window.slice(from..from + header.len as usize)
    }

    /// Goes to the next good piece that `wanted` is true for. False, and nothing has changed, if
    /// there is none in front of `end`.
    pub(super) fn skip(&mut self, end: u64, wanted: impl Fn(&Piece) -> bool) -> io::Result<bool> {
        let start = self.at;
        let finder = memmem::Finder::new(&self.salt.magic).into_owned();
        self.at += 8;
        loop {
            if self.rest().len() < RECORD_HEADER {
                self.fill(RECORD_HEADER, end)?;
            }
            let Some(ahead) = finder.find(self.rest()) else {
                let len = self.rest().len() as u64;
                if len < RECORD_HEADER as u64 || self.at + len >= end {
                    self.at = start;
                    return Ok(false);
                }
                // The end of this window may hold the beginning of a magic.
                self.at += (len - 8) & !7;
                self.fill(RECORD_HEADER, end)?;
                continue;
            };
            // Pieces begin at multiples of 8.
            self.at += ahead as u64 & !7;
            if ahead % 8 == 0
                && let Step::Good(piece) = self.step(end)?
                && wanted(&piece)
            {
                return Ok(true);
            }
            self.at += 8;
        }
    }

    /// What has been read of what follows.
    #[inline]
    fn rest(&self) -> &[u8] {
        let from = self.at.checked_sub(self.window_at).map_or(usize::MAX, |from| from as usize);
        self.window.get(from..self.filled).unwrap_or_default()
    }

    /// Reads a window that begins here: what is needed, and as much more as is sensible.
    fn fill(&mut self, needed: usize, end: u64) -> io::Result<()> {
        let room = end.saturating_sub(self.at);
        let wanted = room.min(self.most.max(needed as u64)) as usize;
        // The window before is used again if nobody holds a part of it.
        let mut buffer = std::mem::take(&mut self.window).try_into_mut().unwrap_or_default();
        self.filled = 0;
        if buffer.len() < wanted {
            buffer = BytesMut::zeroed(wanted.next_power_of_two().max(LEAST_WINDOW));
        }
        let read = read_full(&*self.file, &mut buffer[..wanted], self.at);
        self.window = buffer.freeze();
        self.window_at = self.at;
        self.filled = read?;
        Ok(())
    }
}
