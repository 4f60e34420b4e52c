//! Trommel.
fn main() {}
