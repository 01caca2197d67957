//! Compiles the two contracts with the pure-Rust `protox`, so that nobody needs a `protoc`.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = ["shake.proto", "handoff.proto"];
    for file in files {
        println!("cargo::rerun-if-changed={file}");
    }
    prost_build::Config::new()
        .bytes(["."])
        .enable_type_names()
        .compile_fds(protox::compile(files, ["."])?)?;
    Ok(())
}
