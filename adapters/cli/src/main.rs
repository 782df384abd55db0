//! The binary `vsiflow`.
fn main() {}
