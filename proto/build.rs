//! Compiles the contracts with the pure-Rust `protox`, so that nobody needs a `protoc`.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for file in ["shake.proto", "handoff.proto", "admin.proto"] {
        println!("cargo::rerun-if-changed={file}");
        let mut config = prost_build::Config::new();
        config.bytes(["."]);
        if file == "handoff.proto" {
            config.extern_path(".shake.v1", "crate::wire::v1");
        }
        config.compile_fds(protox::compile([file], ["."])?)?;
    }
    Ok(())
}
