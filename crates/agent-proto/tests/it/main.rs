//! The Rust that is kept is what `proto/agent.proto` makes. It is kept so that whoever builds Remuda need not build its generator.

use std::path::Path;
use std::{env, fs};

#[test]
fn the_kept_rust_is_that_of_the_protocol() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let protocol = root.join("proto");
    let files = protox::compile(["agent.proto"], [&protocol]).unwrap();
    let made = tempfile::tempdir().unwrap();
    tonic_prost_build::configure()
        .bytes(".")
        .build_transport(false)
        .out_dir(made.path())
        .compile_fds(files)
        .unwrap();
    let made = fs::read_to_string(made.path().join("remuda.agent.v1.rs")).unwrap();
    let kept = root.join("generated/remuda.agent.v1.rs");
    if env::var_os("REMUDA_UPDATE_GOLDEN").is_some() {
        fs::write(&kept, &made).unwrap();
    }
    assert!(
        made == fs::read_to_string(&kept).unwrap(),
        "renew it: REMUDA_UPDATE_GOLDEN=1 cargo xtask test -E 'package(remuda-agent-proto)'"
    );
}
