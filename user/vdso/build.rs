//! Tells the linker that this program is a shared object, and where its parts go.

fn main() {
    let folder = env!("CARGO_MANIFEST_DIR");
    println!("cargo:rerun-if-changed={folder}/vdso.ld");
    println!("cargo:rerun-if-changed={folder}/vdso.map");
    for argument in [
        "-shared".to_owned(),
        "-soname=linux-vdso.so.1".to_owned(),
        "--hash-style=both".to_owned(),
        "-Bsymbolic".to_owned(),
        "-zmax-page-size=4096".to_owned(),
        "-znorelro".to_owned(),
        "-zrodynamic".to_owned(),
        "--strip-all".to_owned(),
        format!("--version-script={folder}/vdso.map"),
        format!("-T{folder}/vdso.ld"),
    ] {
        println!("cargo:rustc-link-arg-bins={argument}");
    }
}
