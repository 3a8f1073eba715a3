//! Builds the object that the kernel maps into every process, and tells the compiler where it is.
//!
//! It is a program of its own for the same target, position-independent, so that cargo must be asked for it separately.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

const TARGET: &str = "riscv64imac-unknown-none-elf";

fn main() {
    let variable = |name: &str| PathBuf::from(env::var_os(name).expect("cargo sets it for build scripts"));
    let output = variable("OUT_DIR").join("vdso");
    let source = variable("CARGO_MANIFEST_DIR").join("../../user/vdso");
    for part in [source.as_path(), &source.join("../../abi/src")] {
        println!("cargo:rerun-if-changed={}", part.display());
    }
    let built = build(&source, &folder(&variable("OUT_DIR")), &variable("CARGO"));
    fs::copy(&built, &output).expect("the output folder is writable");
    println!("cargo:rustc-env=ASYNCOS_VDSO={}", output.display());
}

/// One folder for all profiles: `vdso` beside the targets' own folders.
fn folder(output: &Path) -> PathBuf {
    output.ancestors().nth(5).unwrap_or(output).join("vdso")
}

fn build(source: &Path, folder: &Path, cargo: &Path) -> PathBuf {
    let mut command = Command::new(cargo);
    command.arg("build").arg("--quiet").arg("--manifest-path").arg(source.join("Cargo.toml"));
    command.args(["--profile", "vdso", "--target", TARGET, "--target-dir"]).arg(folder);
    // What the outer build asks of its compiler is not meant for this one.
    for name in ["CARGO_ENCODED_RUSTFLAGS", "RUSTC_WORKSPACE_WRAPPER", "RUSTC_WRAPPER"] {
        command.env_remove(name);
    }
    command.env("RUSTFLAGS", "-Crelocation-model=pic");
    let status = command.status().expect("cargo runs");
    assert!(status.success(), "building the vDSO failed: {status}");
    folder.join(TARGET).join("vdso/vdso")
}
