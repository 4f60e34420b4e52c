//! Trommel.
