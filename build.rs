//! Turns the wire contracts in `proto/` into Rust, without a protoc binary.

fn main() -> anyhow::Result<()> {
    println!("cargo::rerun-if-changed=proto");
    let contract = protox::compile(["proto/csi.proto"], ["proto"])?;
    tonic_prost_build::configure().compile_fds(contract)?;
    Ok(())
}
