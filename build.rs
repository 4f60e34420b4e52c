//! Compiles `proto/` without protoc: Rust messages for the simulators and the envelope, and one
//! descriptor set from which the JSON of every payload is written. Builds no guests.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

use protox::prost::Message as _;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    let mut files = Vec::new();
    find_protos(Path::new("proto"), &mut files)?;
    files.sort();

    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_imports(true).include_source_info(true);
    for file in &files {
        compiler.open_file(file.strip_prefix("proto")?)?;
        println!("cargo::rerun-if-changed={}", file.display());
    }
    println!("cargo::rerun-if-changed=proto");
    let mut descriptors = compiler.file_descriptor_set();

    prost_build::Config::new()
        .out_dir(&out)
        .include_file("proto.rs")
        .compile_fds(descriptors.clone())?;

    // Comments are for the Rust docs only; the set that ships in the binary does without.
    for file in &mut descriptors.file {
        file.source_code_info = None;
    }
    fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    Ok(())
}

fn find_protos(dir: &Path, found: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            find_protos(&path, found)?;
        } else if path.extension().is_some_and(|e| e == "proto") {
            found.push(path);
        }
    }
    Ok(())
}
