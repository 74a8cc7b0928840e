//! The `netchannel` command.
fn main() {}
