//! Bytes of a segment: its header, records, marks. Pure. docs/journal-format.md draws them. Key
//! types: [`Header`], [`Salt`], [`Piece`].

use super::Entry;

/// The newest version of the format that is known.
pub(super) const VERSION: u32 = 1;
/// A segment begins and ends with a block that holds its header.
pub(super) const BLOCK: u64 = 4096;
/// What stands before a payload.
pub(super) const RECORD_HEADER: usize = 32;
/// A mark, all of it.
pub(super) const MARK: usize = 64;
/// Records leave room for two marks at the end of a segment: one when idle, one when closed.
pub(super) const RESERVE: u64 = 2 * MARK as u64;

const MAGIC: [u8; 8] = *b"trommel\x5e";
const HEADER_LEN: usize = 60;
const IS_RECORD: u8 = 0xd1;
const IS_MARK: u8 = 0xd2;
/// What a mark's payload takes.
const MARK_PAYLOAD: u32 = (MARK - RECORD_HEADER) as u32;

/// What a segment says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) number: u64,
    pub(super) salt: u64,
    pub(super) first_seq: u64,
    pub(super) size: u64,
    pub(super) created_micros: u64,
}

/// What a block at the place of a header turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum HeaderBlock {
    Good(Header),
    /// Good, of a version of the format that is not known.
    Version(u32),
    Bad,
}

impl Header {
    /// The block that holds it.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut block = Vec::with_capacity(BLOCK as usize);
        block.extend_from_slice(&MAGIC);
        block.extend_from_slice(&VERSION.to_le_bytes());
        block.extend_from_slice(&[0; 4]);
        let fields = [self.number, self.salt, self.first_seq, self.size, self.created_micros];
        fields.iter().for_each(|field| block.extend_from_slice(&field.to_le_bytes()));
        let crc = crc32fast::hash(&block);
        block.extend_from_slice(&crc.to_le_bytes());
        block.resize(BLOCK as usize, 0);
        block
    }

    /// Magic, version and checksum have these places in all versions.
    pub(super) fn decode(block: &[u8]) -> HeaderBlock {
        if block.len() < HEADER_LEN
            || block[..8] != MAGIC
            || crc32fast::hash(&block[..HEADER_LEN - 4]) != u32_at(block, HEADER_LEN - 4)
        {
            return HeaderBlock::Bad;
        }
        match u32_at(block, 8) {
            VERSION => HeaderBlock::Good(Header {
                number: u64_at(block, 16),
                salt: u64_at(block, 24),
                first_seq: u64_at(block, 32),
                size: u64_at(block, 40),
                created_micros: u64_at(block, 48),
            }),
            version => HeaderBlock::Version(version),
        }
    }
}

/// What tells the records of a segment from those that were in its file before, and from bytes
/// that somebody sent: their magic and the beginning of their checksums are secret and new.
#[derive(Debug, Clone, Copy)]
pub(super) struct Salt {
    pub(super) magic: [u8; 3],
    crc: u32,
}

impl Salt {
    pub(super) fn new(salt: u64) -> Self {
        let bytes = salt.to_le_bytes();
        // High bits are set, so that zeros and text are passed over quickly.
        Salt { magic: [0, 1, 2].map(|i| bytes[i] | 0x80), crc: crc32fast::hash(&bytes) }
    }

    /// Over all that follows the checksum. The kind, which stands before it, changes it.
    #[inline]
    fn checksum(&self, piece: &[u8]) -> u32 {
        let mut hasher = crc32fast::Hasher::new_with_initial(self.crc);
        hasher.update(&piece[8..]);
        hasher.finalize() ^ u32::from(piece[3])
    }

    /// True where a record begins, be it good or not: a bit of what says so may have flipped.
    pub(super) fn begins_record(&self, bytes: &[u8]) -> bool {
        let [a, b, c] = self.magic;
        let begins = [a, b, c, IS_RECORD].into_iter().zip(bytes);
        begins.map(|(is, found)| (is ^ found).count_ones()).sum::<u32>() <= 1
    }

    /// Gives a record or mark its magic and checksum. `piece` ends with its payload.
    pub(super) fn seal(&self, piece: &mut [u8]) {
        piece[..3].copy_from_slice(&self.magic);
        let crc = self.checksum(piece);
        piece[4..8].copy_from_slice(&crc.to_le_bytes());
    }
}

/// The header of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RecordHeader {
    pub(super) len: u32,
    pub(super) tag: u32,
    pub(super) seq: u64,
    pub(super) time_micros: u64,
}

impl RecordHeader {
    pub(super) fn decode(bytes: &[u8]) -> Self {
        RecordHeader {
            len: u32_at(bytes, 8),
            tag: u32_at(bytes, 12),
            seq: u64_at(bytes, 16),
            time_micros: u64_at(bytes, 24),
        }
    }
}

/// Why a mark was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MarkKind {
    /// A group begins.
    Group,
    /// Nothing came for a while.
    Idle,
    /// The log was closed in order.
    Close,
}

/// Says what was durable when it was written, and of which segment it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) kind: MarkKind,
    /// The sequence number of the next record.
    pub(super) seq: u64,
    /// When it was written.
    pub(super) time_micros: u64,
    /// Everything through this was durable.
    pub(super) through: u64,
    pub(super) number: u64,
    pub(super) salt: u64,
    pub(super) first_seq: u64,
}

impl Mark {
    /// Writes it to the beginning of `out`.
    pub(super) fn encode(&self, out: &mut [u8]) {
        let kind = match self.kind {
            MarkKind::Group => 0,
            MarkKind::Idle => 1,
            MarkKind::Close => 2,
        };
        let header = RecordHeader {
            len: MARK_PAYLOAD,
            tag: kind,
            seq: self.seq,
            time_micros: self.time_micros,
        };
        out[..RECORD_HEADER].copy_from_slice(&header_bytes(IS_MARK, &header));
        let fields = [self.through, self.number, self.salt, self.first_seq];
        for (field, place) in fields.iter().zip(out[RECORD_HEADER..MARK].chunks_exact_mut(8)) {
            place.copy_from_slice(&field.to_le_bytes());
        }
        Salt::new(self.salt).seal(&mut out[..MARK]);
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let header = RecordHeader::decode(bytes);
        let kind = match header.tag {
            0 => MarkKind::Group,
            1 => MarkKind::Idle,
            2 => MarkKind::Close,
            _ => return None,
        };
        Some(Mark {
            kind,
            seq: header.seq,
            time_micros: header.time_micros,
            through: u64_at(bytes, 32),
            number: u64_at(bytes, 40),
            salt: u64_at(bytes, 48),
            first_seq: u64_at(bytes, 56),
        })
    }

    /// The mark that a segment's first group begins with has a fixed place, and so is a third copy
    /// of its header. It is checked with the salt that it names itself.
    pub(super) fn first_of(bytes: &[u8]) -> Option<Self> {
        let mark = Mark::decode(bytes.get(..MARK)?)?;
        match Piece::parse(bytes, MARK as u64, &Salt::new(mark.salt)) {
            Piece::Mark(mark) => Some(mark),
            _ => None,
        }
    }
}

/// What stands somewhere in a segment.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Record(RecordHeader),
    Mark(Mark),
    /// So many bytes must be there before more can be said.
    Short(usize),
    Bad,
}

impl Piece {
    /// Looks at the beginning of `bytes`, after which `room` bytes of the segment remain, these
    /// among them.
    #[inline]
    pub(super) fn parse(bytes: &[u8], room: u64, salt: &Salt) -> Piece {
        if room < RECORD_HEADER as u64 {
            return Piece::Bad;
        }
        if bytes.len() < RECORD_HEADER {
            return Piece::Short(RECORD_HEADER);
        }
        let is_mark = bytes[3] == IS_MARK;
        if bytes[..3] != salt.magic || !(is_mark || bytes[3] == IS_RECORD) {
            return Piece::Bad;
        }
        let header = RecordHeader::decode(bytes);
        let len = RECORD_HEADER as u64 + u64::from(header.len);
        if len > room || (is_mark && header.len != MARK_PAYLOAD) {
            return Piece::Bad;
        }
        let Some(piece) = bytes.get(..len as usize) else { return Piece::Short(len as usize) };
        if salt.checksum(piece) != u32_at(bytes, 4) {
            return Piece::Bad;
        }
        if !is_mark {
            return Piece::Record(header);
        }
        Mark::decode(piece).map_or(Piece::Bad, Piece::Mark)
    }
}

fn header_bytes(kind: u8, header: &RecordHeader) -> [u8; RECORD_HEADER] {
    let mut bytes = [0; RECORD_HEADER];
    bytes[3] = kind;
    bytes[8..12].copy_from_slice(&header.len.to_le_bytes());
    bytes[12..16].copy_from_slice(&header.tag.to_le_bytes());
    bytes[16..24].copy_from_slice(&header.seq.to_le_bytes());
    bytes[24..].copy_from_slice(&header.time_micros.to_le_bytes());
    bytes
}

/// What a record takes with its header and padding, bytes.
#[inline]
pub(super) fn record_len(payload: usize) -> usize {
    (RECORD_HEADER + payload).next_multiple_of(8)
}

/// Appends a record that has no magic and no checksum yet.
#[inline]
pub(super) fn encode_record(entry: &Entry<'_>, seq: u64, out: &mut Vec<u8>) {
    let payload = entry.head.len() + entry.body.len();
    let header =
        RecordHeader { len: payload as u32, tag: entry.tag, seq, time_micros: entry.time_micros };
    out.extend_from_slice(&header_bytes(IS_RECORD, &header));
    out.extend_from_slice(entry.head);
    out.extend_from_slice(entry.body);
    let padding = record_len(payload) - RECORD_HEADER - payload;
    out.extend_from_slice(&[0; 8][..padding]);
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut le = [0; 4];
    le.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(le)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut le = [0; 8];
    le.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(le)
}
