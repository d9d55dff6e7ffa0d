//! The `remuda` program.

use std::process::ExitCode;

#[cfg(not(target_env = "musl"))]
#[global_allocator]
static ALLOCATOR: std::alloc::System = std::alloc::System;
/// musl's own takes one lock for all threads.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    remuda::run(std::env::args_os())
}
