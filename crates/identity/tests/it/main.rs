//! Identity through its real router, on every engine.
fn main() {}
