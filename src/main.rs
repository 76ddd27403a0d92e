//! The `coretide` program.

fn main() {}
