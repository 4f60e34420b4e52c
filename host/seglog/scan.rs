//! Finds what a segment holds and where it ends: the rules of recovery. Key function: [`scan`].

use std::io;
use std::ops::Range;

use super::format::{Mark, MarkKind, Piece, RECORD_HEADER, RecordHeader};
use super::segment::Segment;
use super::types::Damage;
use super::walk::{Step, Walker};

/// From where a segment is looked at, and what is known of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct From {
    /// Bytes.
    pub(super) at: u64,
    /// The record that should come first.
    pub(super) seq: u64,
    /// Everything through this was durable once.
    pub(super) certified: u64,
    /// The first record of the next segment: this one holds only what comes before it.
    pub(super) limit: Option<u64>,
}

/// What is kept of a segment, counted from where the scan began.
#[derive(Debug, Clone, Default)]
pub(super) struct Kept {
    /// Where it ends, bytes.
    pub(super) end: u64,
    /// The record after the last one.
    pub(super) next_seq: u64,
    pub(super) records: u64,
    /// Of their payloads.
    pub(super) bytes: u64,
    /// Times of the first and the last.
    pub(super) times: Option<(u64, u64)>,
    /// Sequence numbers of the first and the last.
    pub(super) seqs: Option<(u64, u64)>,
    /// The last mark, and where it stands, bytes.
    pub(super) last_mark: Option<(u64, MarkKind)>,
}

/// What a scan found.
#[derive(Debug, Default)]
pub(super) struct Scan {
    pub(super) kept: Kept,
    pub(super) damage: Vec<Damage>,
    /// Where what is not kept ends, bytes: good pieces behind a bad one that nobody was promised,
    /// or one that was written in part.
    pub(super) torn_to: Option<u64>,
}

/// Something that is not good, and what is good again after it.
struct Break {
    /// Where it begins, bytes.
    at: u64,
    missing: Range<u64>,
    before: Kept,
}

/// Looks at the records of a segment in order.
///
/// At or below what is certified (by marks, by the caller, by the next segment), records that are
/// bad are damage: they alone are lost. Above it, what is good and dense is kept up to the first
/// that is bad or missing; the rest was never promised.
///
/// # Errors
/// The disk cannot be read.
pub(super) fn scan(segment: &Segment, from: From) -> io::Result<Scan> {
    let mut walker = Walker::new(segment, from.at)?;
    let mut certified = from.limit.map_or(from.certified, |limit| from.certified.max(limit - 1));
    let mut kept = Kept { end: from.at, next_seq: from.seq, ..Kept::default() };
    let mut breaks = Vec::new();
    let end = segment.data_end;
    loop {
        // Where the next segment goes on, nothing in this one matters.
        if from.limit.is_some_and(|limit| kept.next_seq >= limit) {
            break;
        }
        let at = walker.at();
        let mut is_broken = false;
        let piece = match walker.step(end)? {
            Step::End => break,
            Step::Good(piece) if piece_seq(&piece) >= kept.next_seq => piece,
            Step::Good(_) | Step::Bad => {
                let next_seq = kept.next_seq;
                let wanted = |piece: &Piece| piece_seq(piece) >= next_seq;
                if !walker.skip(end, wanted)? {
                    break;
                }
                is_broken = true;
                match walker.step(end)? {
                    Step::Good(piece) => piece,
                    Step::Bad | Step::End => break,
                }
            }
        };
        let seq = piece_seq(&piece);
        let is_record = matches!(piece, Piece::Record(_));
        if from.limit.is_some_and(|limit| seq > limit || (is_record && seq == limit)) {
            break;
        }
        if is_broken || seq > kept.next_seq {
            breaks.push(Break { at, missing: kept.next_seq..seq, before: kept.clone() });
        }
        match piece {
            Piece::Record(header) => take_record(&mut kept, &header, &mut walker),
            Piece::Mark(mark) => {
                certified = certified.max(mark.through);
                take_mark(&mut kept, &mark, &mut walker);
            }
            Piece::Short(_) | Piece::Bad => {}
        }
    }
    let mut scan = settle(segment, kept, breaks, certified);
    if from.limit.is_none() && scan.torn_to.is_none() {
        scan.torn_to = half_a_record(segment, &scan.kept)?;
    }
    Ok(scan)
}

fn piece_seq(piece: &Piece) -> u64 {
    match piece {
        Piece::Record(header) => header.seq,
        Piece::Mark(mark) => mark.seq,
        Piece::Short(_) | Piece::Bad => 0,
    }
}

fn take_record(kept: &mut Kept, header: &RecordHeader, walker: &mut Walker) {
    walker.pass(header.len);
    kept.end = walker.at();
    kept.next_seq = header.seq + 1;
    kept.records += 1;
    kept.bytes += u64::from(header.len);
    kept.times = Some((kept.times.map_or(header.time_micros, |times| times.0), header.time_micros));
    kept.seqs = Some((kept.seqs.map_or(header.seq, |seqs| seqs.0), header.seq));
}

fn take_mark(kept: &mut Kept, mark: &Mark, walker: &mut Walker) {
    kept.last_mark = Some((walker.at(), mark.kind));
    walker.pass((super::format::MARK - RECORD_HEADER) as u32);
    kept.end = walker.at();
    kept.next_seq = mark.seq;
}

/// Decides which breaks are damage, and which is the one that the log ends at.
fn settle(segment: &Segment, kept: Kept, breaks: Vec<Break>, certified: u64) -> Scan {
    let mut scan = Scan::default();
    let all_end = kept.end;
    let damage = |at: u64, seqs: Range<u64>| Damage {
        file: segment.name(),
        offset: at,
        what: if seqs.is_empty() { "not readable; no record is lost" } else { "not readable" }
            .to_owned(),
        seqs,
    };
    for broken in breaks {
        let missing = broken.missing;
        if missing.end <= certified + 1 {
            // What nobody was promised may be torn without a word.
            if !missing.is_empty() || missing.start <= certified {
                scan.damage.push(damage(broken.at, missing));
            }
        } else if !missing.is_empty() {
            let promised = missing.start..(certified + 1).max(missing.start);
            scan.kept = Kept { next_seq: promised.end, ..broken.before };
            if !promised.is_empty() {
                scan.damage.push(damage(broken.at, promised));
            }
            scan.torn_to = Some(all_end);
            return scan;
        }
    }
    if kept.next_seq <= certified {
        scan.damage.push(damage(kept.end, kept.next_seq..certified + 1));
    }
    scan.kept = Kept { next_seq: kept.next_seq.max(certified + 1), ..kept };
    scan
}

/// Where a record that was begun behind what is kept would end, bytes.
fn half_a_record(segment: &Segment, kept: &Kept) -> io::Result<Option<u64>> {
    let mut bytes = [0; RECORD_HEADER];
    let n = super::disk::read_full(&*segment.file()?, &mut bytes, kept.end)?;
    if n < bytes.len() || !segment.salt.begins_record(&bytes) {
        return Ok(None);
    }
    let header = RecordHeader::decode(&bytes);
    let end = kept.end + RECORD_HEADER as u64 + u64::from(header.len);
    Ok(Some(end.min(segment.data_end)))
}
