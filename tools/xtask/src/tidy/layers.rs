//! The arrows between crates, and the places where `unsafe` and assembly may stand: `layers.toml`.

use super::Finding;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// The rules of `layers.toml`.
#[derive(Debug)]
pub struct Layers {
    /// Folder at the root: the folders that its crates may use.
    below: BTreeMap<String, Vec<String>>,
    /// Crate: the crates of its own folder that it may use.
    inside: BTreeMap<String, Vec<String>>,
    unsafe_paths: Vec<String>,
    assembly_paths: Vec<String>,
}

impl Layers {
    /// Reads the file's text.
    pub fn parse(text: &str) -> Result<Self> {
        let value: Value = basic_toml::from_str(text)?;
        let known = ["layers", "inside", "unsafe", "assembly"];
        if let Some(table) =
            value.as_object().and_then(|tables| tables.keys().find(|key| !known.contains(&key.as_str())))
        {
            bail!("unknown table `{table}`");
        }
        let layers = Self {
            below: lists(&value["layers"]).context("[layers]")?,
            inside: lists(&value["inside"]).context("[inside]")?,
            unsafe_paths: list(&value["unsafe"]["paths"]).context("[unsafe]")?,
            assembly_paths: list(&value["assembly"]["paths"]).context("[assembly]")?,
        };
        layers.check_order()?;
        Ok(layers)
    }

    /// Arrows only go down: a layer may name only layers that stand before it in some order.
    fn check_order(&self) -> Result<()> {
        let mut placed: Vec<&String> = Vec::new();
        while placed.len() < self.below.len() {
            let ready = self.below.iter().find(|(layer, below)| {
                !placed.contains(layer) && below.iter().all(|other| placed.contains(&other))
            });
            let Some((layer, _)) = ready else {
                bail!("the layers go in a circle, or one of them is unknown")
            };
            placed.push(layer);
        }
        Ok(())
    }

    /// Whether a file may contain `unsafe`.
    pub fn allows_unsafe(&self, path: &str) -> bool {
        lies_in(path, &self.unsafe_paths)
    }

    /// Whether a file may contain assembly.
    pub fn allows_assembly(&self, path: &str) -> bool {
        lies_in(path, &self.assembly_paths)
    }

    /// Checks every dependency between the workspace's crates; `metadata` is cargo's.
    pub fn check(&self, metadata: &Value, root: &Path) -> Result<Vec<Finding>> {
        let packages = metadata["packages"].as_array().context("cargo metadata has no packages")?;
        let mut folders = BTreeMap::new();
        for package in packages {
            let manifest =
                Path::new(package["manifest_path"].as_str().context("a package without a manifest")?);
            let relative = manifest.strip_prefix(root).unwrap_or(manifest).display().to_string();
            folders.insert(package["name"].as_str().context("a package without a name")?, relative);
        }
        let mut findings = Vec::new();
        for package in packages {
            let name = package["name"].as_str().unwrap_or_default();
            let manifest = &folders[name];
            let layer = layer_of(manifest);
            let Some(below) = self.below.get(layer) else {
                findings.push(Finding::new(manifest, 1, format!("`{layer}` is no layer of layers.toml")));
                continue;
            };
            for dependency in package["dependencies"].as_array().into_iter().flatten() {
                let used = dependency["name"].as_str().unwrap_or_default();
                let Some(used_manifest) = folders.get(used) else {
                    continue;
                };
                let used_layer = layer_of(used_manifest);
                let allowed = if used_layer == layer {
                    used == name
                        || self.inside.get(name).is_some_and(|crates| crates.iter().any(|one| one == used))
                } else {
                    below.iter().any(|one| one == used_layer)
                };
                if !allowed {
                    let text = std::fs::read_to_string(root.join(manifest)).unwrap_or_default();
                    let line =
                        text.lines().position(|line| line.starts_with(used)).map_or(1, |index| index + 1);
                    let what = format!("`{name}` in {layer} may not depend on `{used}` in {used_layer}");
                    findings.push(Finding::new(manifest, line, what));
                }
            }
        }
        Ok(findings)
    }
}

fn layer_of(manifest: &str) -> &str {
    manifest.split('/').next().unwrap_or_default()
}

fn lies_in(path: &str, places: &[String]) -> bool {
    places.iter().any(|place| {
        path.strip_prefix(place.as_str())
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || place.ends_with('/'))
    })
}

fn lists(value: &Value) -> Result<BTreeMap<String, Vec<String>>> {
    let table = value.as_object().context("expected a table")?;
    table.iter().map(|(key, value)| Ok((key.clone(), list(value).with_context(|| key.clone())?))).collect()
}

fn list(value: &Value) -> Result<Vec<String>> {
    let items = value.as_array().context("expected a list")?;
    items.iter().map(|item| Ok(item.as_str().context("expected a string")?.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const RULES: &str = "[layers]\nbase = []\nlogic = [\"base\"]\nkernel = [\"logic\", \"base\"]\n\
                         [inside]\nvfs = [\"memory\"]\n[unsafe]\npaths = [\"base/src\", \"logic/memory/src/frames.rs\"]\n\
                         [assembly]\npaths = [\"arch\"]\n";

    fn package(folder: &str, name: &str, dependencies: &[&str]) -> Value {
        let dependencies: Vec<Value> = dependencies.iter().map(|name| json!({ "name": name })).collect();
        json!({ "name": name, "manifest_path": format!("/w/{folder}/Cargo.toml"), "dependencies": dependencies })
    }

    #[test]
    fn arrows_that_go_up_or_sideways_are_found() {
        let layers = Layers::parse(RULES).unwrap();
        let metadata = json!({ "packages": [
            package("base", "base", &["serde", "vfs"]),
            package("logic/vfs", "vfs", &["memory", "base"]),
            package("logic/memory", "memory", &["vfs"]),
            package("kernel/core", "core", &["vfs", "base"]),
            package("extra/x", "x", &[]),
        ]});
        let findings = layers.check(&metadata, Path::new("/w")).unwrap();
        let found: Vec<String> = findings.iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "base/Cargo.toml:1: `base` in base may not depend on `vfs` in logic",
                "logic/memory/Cargo.toml:1: `memory` in logic may not depend on `vfs` in logic",
                "extra/x/Cargo.toml:1: `extra` is no layer of layers.toml",
            ]
        );
    }

    #[test]
    fn circles_and_unknown_words_are_refused() {
        let rest = "[inside]\n[unsafe]\npaths = []\n[assembly]\npaths = []\n";
        assert!(Layers::parse(&format!("[layers]\na = [\"b\"]\nb = [\"a\"]\n{rest}")).is_err());
        assert!(Layers::parse(&format!("[layers]\na = [\"nosuch\"]\n{rest}")).is_err());
        assert!(Layers::parse(&format!("[layers]\na = []\n[other]\n{rest}")).is_err());
        assert!(Layers::parse(&format!("[layers]\na = 1\n{rest}")).is_err());
    }

    #[test]
    fn places_are_whole_folders_or_files() {
        let layers = Layers::parse(RULES).unwrap();
        assert!(layers.allows_unsafe("base/src/sync/lock.rs"));
        assert!(layers.allows_unsafe("logic/memory/src/frames.rs"));
        assert!(!layers.allows_unsafe("base/src2/lib.rs"));
        assert!(!layers.allows_unsafe("logic/memory/src/lib.rs"));
        assert!(layers.allows_assembly("arch/riscv64/src/trap.rs"));
    }
}
