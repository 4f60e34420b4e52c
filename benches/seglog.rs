//! The log of `seglog` beside what it replaces: records with a checksum appended to a growing file,
//! one fdatasync per group. The same groups on the same disk, a caller that waits for each group in
//! both. The host appends without waiting, and a thread of the log writes: this is the dearer way, which only
//! tests take besides. Then reading and opening. The directory is the first argument; target/bench-seglog if
//! there is none.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a bench that cannot go on may panic")]

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use trommel::seglog::{Entry, Log, Options};

const RECORD: usize = 300;
const RUN: Duration = Duration::from_secs(3);
const RUNS: usize = 3;

/// Thousand records per second, and processor time per record, µs.
#[derive(Clone, Copy)]
struct Figure {
    rate: f64,
    cpu: f64,
}

fn main() {
    // `cargo test --benches` asks for nothing to be measured.
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    if args.iter().any(|arg| arg == "--test") {
        return;
    }
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench-seglog");
    let dir = args.first().map_or(default, PathBuf::from);
    println!("records of {RECORD} B, medians of {RUNS} runs of {} s", RUN.as_secs());
    println!("{:<28} {:>12} {:>14} {:>7}", "group", "k records/s", "µs CPU/record", "ratio");
    for group in [64, 256, 1024] {
        // In turn, so that what else the machine does meets both.
        let mut figures = [Vec::new(), Vec::new()];
        for _ in 0..RUNS {
            figures[0].push(in_empty(&dir, |dir| raw(dir, group)));
            figures[1].push(in_empty(&dir, |dir| log(dir, group)));
        }
        // Of neighbours: what else uses the disk comes and goes.
        let pairs = figures[0].iter().zip(&figures[1]);
        let mut ratios: Vec<f64> = pairs.map(|(raw, log)| log.rate / raw.rate).collect();
        ratios.sort_by(f64::total_cmp);
        let [raw, log] = figures.map(median);
        let rows = [("raw append + fdatasync", raw, 1.0), ("log", log, ratios[RUNS / 2])];
        for (what, figure, ratio) in rows {
            let (rate, cpu) = (figure.rate, figure.cpu);
            println!("{group:>4} {what:<23} {rate:>12.0} {cpu:>14.2} {ratio:>7.2}");
        }
    }
    in_empty(&dir, reading);
}

fn median(mut figures: Vec<Figure>) -> Figure {
    figures.sort_by(|a, b| a.rate.total_cmp(&b.rate));
    figures[figures.len() / 2]
}

fn in_empty<T>(dir: &Path, work: impl FnOnce(&Path) -> T) -> T {
    if dir.exists() {
        fs::remove_dir_all(dir).unwrap();
    }
    fs::create_dir_all(dir).unwrap();
    // What the run before wrote is none of this one's.
    rustix::fs::sync();
    let result = work(dir);
    fs::remove_dir_all(dir).unwrap();
    result
}

fn payload() -> [u8; RECORD] {
    std::array::from_fn(|i| (i * 31 % 251) as u8)
}

/// Does `group` again and again for the time of a run.
fn measure(records: u64, mut group: impl FnMut()) -> Figure {
    let (begun, cpu) = (Instant::now(), cpu_time());
    let mut count = 0;
    while begun.elapsed() < RUN {
        group();
        count += records;
    }
    let (took, cpu) = (begun.elapsed(), cpu_time() - cpu);
    Figure {
        rate: count as f64 / took.as_secs_f64() / 1e3,
        cpu: cpu.as_secs_f64() * 1e6 / count as f64,
    }
}

/// Processor time of all threads, user and system: proc(5), in hundredths of a second.
fn cpu_time() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let after_name = &stat[stat.rfind(')').unwrap() + 2..];
    let ticks = after_name.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap());
    Duration::from_millis(ticks.sum::<u64>() * 10)
}

fn raw(dir: &Path, group: u64) -> Figure {
    let payload = payload();
    let mut file = OpenOptions::new().create(true).append(true).open(dir.join("raw.log")).unwrap();
    let mut buffer = Vec::new();
    measure(group, || {
        buffer.clear();
        for _ in 0..group {
            buffer.extend_from_slice(&(RECORD as u32).to_le_bytes());
            buffer.extend_from_slice(&crc32fast::hash(&payload).to_le_bytes());
            buffer.extend_from_slice(&payload);
        }
        file.write_all(&buffer).unwrap();
        file.sync_data().unwrap();
    })
}

fn log(dir: &Path, group: u64) -> Figure {
    let log = Log::open(dir, Options::default(), 0, Box::new(|_| {})).unwrap();
    let payload = payload();
    let entry = Entry { time_micros: 1, tag: 1, head: &payload[..16], body: &payload[16..] };
    let entries = vec![entry; group as usize];
    // As it runs when it has run for a while: what nobody needs any longer is used again.
    let keep = 3 * (Options::default().segment_bytes / RECORD as u64);
    let put = || {
        let seqs = log.append_durable(&entries, &|| false).unwrap();
        log.release(seqs.end.saturating_sub(keep));
    };
    let warm = Instant::now();
    while warm.elapsed() < RUN / 3 {
        put();
    }
    let figure = measure(group, put);
    log.close(Duration::from_secs(10)).unwrap();
    figure
}

fn reading(dir: &Path) {
    let log = Log::open(dir, Options::default(), 0, Box::new(|_| {})).unwrap();
    let payload = payload();
    let entry = Entry { time_micros: 1, tag: 1, head: &[], body: &payload };
    let entries = vec![entry; 1000];
    // Up to where the last segment is nearly full.
    let (small, large) = (Options::default().first_segment_bytes, Options::default().segment_bytes);
    let count = (small + 4 * large - large / 20) / (RECORD as u64 + 36);
    for _ in 0..count / 1000 {
        log.append(&entries, &|| false).unwrap();
    }
    log.flush(&|| false).unwrap();
    let mut nanos: Vec<f64> = (0..5)
        .map(|_| {
            let (mut reader, mut records) = (log.reader(1), 0);
            let begun = Instant::now();
            loop {
                let block = reader.read(1024, 1 << 20).unwrap();
                if block.is_empty() {
                    break;
                }
                records += block.records.len();
            }
            begun.elapsed().as_nanos() as f64 / records as f64
        })
        .collect();
    nanos.sort_by(f64::total_cmp);
    println!("reading {:.0} ns per record", nanos[2]);
    log.close(Duration::from_secs(10)).unwrap();
    drop(log);
    let mut opening: Vec<f64> = (0..5)
        .map(|_| {
            let begun = Instant::now();
            let log = Log::open(dir, Options::default(), 0, Box::new(|_| {})).unwrap();
            let took = begun.elapsed();
            log.close(Duration::from_secs(10)).unwrap();
            took.as_secs_f64() * 1e3
        })
        .collect();
    opening.sort_by(f64::total_cmp);
    println!("opening {:.1} ms, the last segment nearly full", opening[2]);
}
