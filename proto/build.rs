//! Compiles the .proto files in pure Rust, so that no protoc is needed.
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = ["proto/api.proto", "proto/session.proto", "proto/peer.proto", "proto/admin.proto"];
    for file in files {
        println!("cargo:rerun-if-changed={file}");
    }
    let descriptors = protox::compile(files, ["proto"])?;
    tonic_prost_build::configure().bytes(".").compile_fds(descriptors)?;
    Ok(())
}
