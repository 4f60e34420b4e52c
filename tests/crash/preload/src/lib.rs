//! A library to be loaded before the C library (`LD_PRELOAD`): it sees every call by which a process
//! changes files below one directory, writes them down, and lets them fail, stop half-way, or end in
//! a power loss that drops what was not synced. Everything else passes through untouched.
//!
//! What it is told stands in the environment, under names that are none of the host's (which begin with
//! `TROMMEL_`, and must be known to it); see `plan` for the grammar.
//!
//! | variable | meaning |
//! |---|---|
//! | `CRASH_DIR` | the directory that is watched, absolute and without links; without it nothing is |
//! | `CRASH_PLAN` | the plan: what happens at which operation |
//! | `CRASH_SEED` | decides what survives a power loss; 0 if not given |
//! | `CRASH_TRACE` | a file to which a line is added per operation |
//! | `CRASH_CLOCK` | a file that says by how many seconds the system's clock is set |
//! | `CRASH_SIDE` | an existing directory on the same file system, outside the watched one, for what must be kept meanwhile |
//!
//! # What a power loss does
//!
//! Each 4 KiB page of a file written since the file's last sync survives or not, by coin. Of the sizes
//! it has had since, one survives. Of the names made, moved and removed in a directory since that
//! directory's last sync the first few survive, by coin, in their order. Syncing a file does not save
//! its name; POSIX promises no more.
//!
//! # What it does not see
//!
//! System calls made without the C library (rustix does so, for one), writes to mapped memory, and
//! what other processes do. What was there when the process first opened it counts as safe, unless a
//! process before it was ended by this library: then what that one had not synced is handed on.
//!
//! `unsafe` is allowed here, because a function that stands in for one of C's gets raw pointers, and
//! what it stands in for can be reached only by system call. It is kept to `sys`, `calls` and `clock`.

mod calls;
mod carry;
mod clock;
mod coin;
mod data;
mod names;
mod open;
pub(crate) mod plan;
mod power;
mod sys;
mod world;
