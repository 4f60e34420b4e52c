//! The preloaded library itself, on a program whose calls are known: what it counts, lets fail, and what
//! survives a power loss. Key type: [`Bench`].

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};

use tempfile::TempDir;

use super::preload::{Preload, built};
use crate::support::output_of;

/// A watched directory, and what is needed besides.
struct Bench {
    dir: TempDir,
    preload: Preload,
}

/// How the program fared.
struct Fared {
    status: ExitStatus,
    /// What it said of steps that failed.
    said: String,
}

impl Bench {
    fn new() -> Bench {
        let dir = TempDir::new().unwrap();
        let preload = Preload::new(dir.path());
        Bench { dir, preload }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Runs steps; `/` at the start of a word is the watched directory.
    fn run(&self, plan: &str, seed: u64, steps: &str) -> Fared {
        let mut command = Command::new(built("writer"));
        self.preload.apply(&mut command, plan, seed);
        let root = self.dir.path().display().to_string();
        command.args(steps.split_whitespace().map(|word| match word.strip_prefix('/') {
            Some(rest) => format!("{root}/{rest}"),
            None => word.to_owned(),
        }));
        let output = output_of(&mut command);
        Fared { status: output.status, said: String::from_utf8(output.stdout).unwrap() }
    }

    fn is_killed(&self, plan: &str, seed: u64, steps: &str) {
        let fared = self.run(plan, seed, steps);
        assert_eq!(fared.status.signal(), Some(9), "{plan}: {}", fared.said);
    }

    /// The bytes of a file as the first of each page.
    fn pages(&self, name: &str) -> String {
        let bytes = fs::read(self.path(name)).unwrap();
        for page in bytes.chunks(4096) {
            assert!(page.iter().all(|byte| *byte == page[0]), "a page of {name} is mixed");
        }
        let letter = |byte: u8| if byte == 0 { '.' } else { char::from(byte) };
        bytes.chunks(4096).map(|page| letter(page[0])).collect()
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.dir.path()).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

/// What different seeds leave.
fn over_seeds(look: impl Fn(u64) -> String) -> BTreeSet<String> {
    (0..64).map(look).collect()
}

fn set(all: &[&str]) -> BTreeSet<String> {
    all.iter().map(|text| (*text).to_owned()).collect()
}

#[test]
fn operations_are_counted_and_written_down() {
    let bench = Bench::new();
    let steps = "mkdir /d make /d/a write /d/a 0 65 100 append /d/a 66 50 sync /d/a syncdir /d cut /d/a 10 \
        empty /d/a move /d/a /b copy /b /c remove /b rmdir /d";
    let fared = bench.run("", 0, steps);
    assert_eq!((fared.status.code(), fared.said.as_str()), (Some(0), ""));
    let seen: Vec<String> = bench.preload.trace().iter().map(|op| op.to_string()).collect();
    assert_eq!(
        seen,
        [
            "mkdir d",
            "create d/a",
            "write d/a 0+100",
            "write d/a 100+50",
            "sync d/a",
            "dirsync d",
            "truncate d/a 10+140",
            "truncate d/a",
            "rename d/a -> b",
            "create c",
            "unlink b",
            "rmdir d",
        ]
    );
}

#[test]
fn a_kill_is_before_within_or_after_a_write() {
    for (moment, size) in [("before", 0), ("half", 50), ("after", 100)] {
        let bench = Bench::new();
        bench.is_killed(
            &format!("kill=write:1@a,{moment}"),
            0,
            "make /b append /b 1 9 make /a append /a 1 100",
        );
        assert_eq!(fs::metadata(bench.path("a")).unwrap().len(), size, "{moment}");
        assert_eq!(fs::metadata(bench.path("b")).unwrap().len(), 9);
    }
}

#[test]
fn writes_are_short_and_operations_fail() {
    let bench = Bench::new();
    let steps = "make /a append /a 65 100 append /a 66 100 sync /a append /a 67 10 make /b";
    let fared =
        bench.run("short=write:1; error=write:2,errno=ENOSPC,count=1; error=create:2", 0, steps);
    assert_eq!(
        fared.said,
        "append: 50 of 100 bytes\nappend: No space left on device (os error 28)\nmake: Input/output error (os error 5)\n"
    );
    assert_eq!(fs::metadata(bench.path("a")).unwrap().len(), 60);
    assert_eq!(bench.names(), ["a"]);
}

#[test]
fn a_full_disk_takes_what_fits_and_nothing_more() {
    let bench = Bench::new();
    let full = bench.preload.side("full");
    let plan = format!("full={}", full.display());
    bench.run(&plan, 0, "make /a write /a 0 65 8192");
    fs::write(&full, "").unwrap();
    let fared = bench.run(
        &plan,
        0,
        "write /a 0 66 4096 write /a 4096 67 8192 append /a 1 1 make /b mkdir /d",
    );
    assert_eq!(fared.said.matches("os error 28").count(), 4, "{}", fared.said);
    assert_eq!(bench.pages("a"), "BA");
    fs::remove_file(&full).unwrap();
    assert_eq!(bench.run(&plan, 0, "append /a 67 4096 make /b").said, "");
    assert_eq!(bench.pages("a"), "BAC");
}

#[test]
fn without_power_pages_survive_by_coin_unless_they_were_synced() {
    let seen = over_seeds(|seed| {
        let bench = Bench::new();
        let steps =
            "make /a write /a 0 65 12288 sync /a syncdir / write /a 4096 66 8192 remove /none";
        bench.is_killed("power=write:2,after", seed, steps);
        bench.pages("a")
    });
    assert_eq!(seen, set(&["AAA", "AAB", "ABA", "ABB"]));
    let synced = over_seeds(|seed| {
        let bench = Bench::new();
        let steps = "make /a syncdir / write /a 0 65 8192 sync /a cut /a 0";
        bench.is_killed("power=truncate:1", seed, steps);
        bench.pages("a")
    });
    assert_eq!(synced, set(&["AA"]));
}

#[test]
fn without_power_a_size_survives_by_coin_with_or_without_what_was_written() {
    let seen = over_seeds(|seed| {
        let bench = Bench::new();
        let steps = "make /a write /a 0 65 4096 sync /a syncdir / append /a 66 4096 append /a 67 4096 sync /a";
        bench.is_killed("power=sync:2", seed, steps);
        bench.pages("a")
    });
    assert_eq!(seen, set(&["A", "AB", "A.", "ABC", "AB.", "A.C", "A.."]));
    let cut = over_seeds(|seed| {
        let bench = Bench::new();
        let steps = "make /a write /a 0 65 8192 sync /a syncdir / cut /a 4096 sync /a";
        bench.is_killed("power=sync:2", seed, steps);
        bench.pages("a")
    });
    assert_eq!(cut, set(&["A", "AA"]));
}

#[test]
fn without_power_the_first_names_survive() {
    let steps = "make /z syncdir / make /a make /b move /b /c make /d remove /z syncdir /";
    let seen = over_seeds(|seed| {
        let bench = Bench::new();
        bench.is_killed("power=dirsync:2", seed, steps);
        bench.names().concat()
    });
    assert_eq!(seen, set(&["z", "az", "abz", "acz", "acdz", "acd"]));
    let bench = Bench::new();
    bench.is_killed("power=dirsync:2,after", 0, steps);
    assert_eq!(bench.names().concat(), "acd");
}

#[test]
fn without_power_a_replaced_file_comes_back_and_a_new_directory_goes_with_all_in_it() {
    let seen = over_seeds(|seed| {
        let bench = Bench::new();
        let steps = "make /a write /a 0 65 4096 sync /a syncdir / \
            mkdir /d make /d/p write /d/p 0 66 4096 sync /d/p syncdir /d move /d/p /a syncdir /";
        bench.is_killed("power=dirsync:3", seed, steps);
        let left: Vec<_> = bench.names().into_iter().chain([bench.pages("a")]).collect();
        left.concat()
    });
    // The directory's own sync does not save its name.
    assert_eq!(seen, set(&["aA", "adA", "adB"]));
}

#[test]
fn what_a_failed_sync_should_have_saved_is_lost_though_the_next_one_succeeds() {
    let steps = "make /a write /a 0 65 8192 sync /a syncdir / \
        write /a 0 66 4096 sync /a write /a 4096 67 4096 sync /a cut /a 8191";
    let end = |drop: &str, seed| {
        let bench = Bench::new();
        bench.is_killed(&format!("error=sync:2,drop={drop}; power=truncate:1"), seed, steps);
        bench.pages("a")
    };
    assert_eq!(over_seeds(|seed| end("all", seed)), set(&["AC"]));
    assert_eq!(over_seeds(|seed| end("some", seed)), set(&["AC", "BC"]));
    assert_eq!(over_seeds(|seed| end("none", seed)), set(&["BC"]));
    let bench = Bench::new();
    assert_eq!(
        bench.run("error=sync:2,drop=now", 0, steps).said,
        "sync: Input/output error (os error 5)\n"
    );
    assert_eq!(fs::read(bench.path("a")).unwrap()[..4096], [b'A'; 4096]);
}

#[test]
fn what_a_killed_process_had_not_synced_can_be_lost_by_the_next() {
    let seen = over_seeds(|seed| {
        let bench = Bench::new();
        let first =
            "make /a write /a 0 65 4096 sync /a syncdir / make /b write /a 0 66 4096 sync /a";
        bench.is_killed("kill=sync:2", seed, first);
        assert_eq!((bench.pages("a").as_str(), bench.names().concat().as_str()), ("B", "ab"));
        bench.is_killed("power=create:1", seed, "make /c");
        bench.names().concat() + &bench.pages("a")
    });
    assert_eq!(seen, set(&["aA", "aB", "abA", "abB"]));
    // Unless that one syncs it.
    let bench = Bench::new();
    bench.is_killed("kill=sync:1", 0, "make /a write /a 0 65 4096 sync /a");
    bench.is_killed("power=create:1", 3, "sync /a syncdir / make /c");
    assert_eq!((bench.pages("a").as_str(), bench.names().concat().as_str()), ("A", "a"));
}

#[test]
fn the_power_goes_when_a_file_says_so() {
    let bench = Bench::new();
    let gone = bench.preload.side("gone");
    fs::write(&gone, "").unwrap();
    let plan = format!("power=file:{}", gone.display());
    bench.is_killed(&plan, 0, "make /a wait /never");
}
