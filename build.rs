//! Turns the wire contracts in `proto/` into Rust, without a protoc binary.

fn main() -> anyhow::Result<()> {
    println!("cargo::rerun-if-changed=proto");
    let contract =
        protox::compile(["proto/csi.proto", "proto/pluginregistration.proto"], ["proto"])?;
    // Calls that are not implemented answer so by themselves; maps are ordered, so that what is
    // made of them is the same every time.
    tonic_prost_build::configure()
        .generate_default_stubs(true)
        .btree_map(".")
        .compile_fds(contract)?;
    Ok(())
}
