//! Who depends on whom. The tables of `ARCHITECTURE.md` say which packages exist and what each may depend on; the packages are what
//! cargo says they are.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::{Finding, document};
use crate::tree::SourceFile;

/// Crates that take bytes, time and randomness as arguments.
pub(crate) const PURE: &[&str] = &["detect", "obfuscation", "protocol", "ssh", "tls"];

/// What no pure crate may depend on, tests aside.
const NOT_PURE: &[&str] = &[
    "async-std",
    "futures",
    "getrandom",
    "hyper",
    "libc",
    "mio",
    "rand",
    "rand_core",
    "rustix",
    "smol",
    "socket2",
    "tokio",
];

const DOCUMENT: &str = "ARCHITECTURE.md";
const CODE_MAP: &str = "Code map";
const ALLOWED: &str = "Allowed dependencies";
const PREFIX: &str = "culvert-";

/// One package of the workspace.
pub(crate) struct Package {
    /// Without the prefix that all of ours have.
    name: String,
    /// Its folder, relative to the repository's root.
    folder: String,
    /// Ours, without the prefix; for tests too.
    ours: BTreeSet<String>,
    /// Everything that the product part depends on.
    outside_tests: BTreeSet<String>,
}

/// Asks cargo for the packages of the workspace.
pub(crate) fn packages(root: &Path) -> Result<Vec<Package>, Box<dyn Error>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version=1", "--no-deps"])
        .current_dir(root)
        .output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    let metadata: Value = serde_json::from_slice(&output.stdout)?;
    let listed = metadata["packages"].as_array().ok_or("cargo metadata lists no packages")?;
    listed
        .iter()
        .map(|package| read(package, root).ok_or_else(|| "a package without name or place".into()))
        .collect()
}

fn read(package: &Value, root: &Path) -> Option<Package> {
    let manifest = Path::new(package["manifest_path"].as_str()?);
    let folder = manifest.parent()?.strip_prefix(root).ok()?.to_str()?.replace('\\', "/");
    let mut found = Package {
        name: bare(package["name"].as_str()?),
        folder,
        ours: BTreeSet::new(),
        outside_tests: BTreeSet::new(),
    };
    for dependency in package["dependencies"].as_array()? {
        let name = dependency["name"].as_str()?;
        if name.starts_with(PREFIX) {
            found.ours.insert(bare(name));
        }
        if dependency["kind"] != "dev" {
            found.outside_tests.insert(name.to_owned());
        }
    }
    Some(found)
}

fn bare(name: &str) -> String {
    name.strip_prefix(PREFIX).unwrap_or(name).to_owned()
}

pub(crate) fn check(files: &[SourceFile], packages: &[Package]) -> Vec<Finding> {
    let mut findings = purity(packages);
    findings.extend(shipped(packages));
    findings.extend(code_map(files, packages));
    findings.extend(directions(files, packages));
    findings
}

fn purity(packages: &[Package]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in packages.iter().filter(|package| PURE.contains(&package.name.as_str())) {
        for name in package.outside_tests.iter().filter(|name| NOT_PURE.contains(&name.as_str())) {
            findings.push(in_manifest(package, format!("a pure crate may not depend on `{name}`")));
        }
    }
    findings
}

/// What is shipped depends on nothing that only tests, tests of its own aside.
fn shipped(packages: &[Package]) -> Vec<Finding> {
    let is_shipped = |package: &&Package| package.folder.starts_with("crates/");
    let mut findings = Vec::new();
    for package in packages.iter().filter(is_shipped) {
        for other in packages.iter().filter(|other| !is_shipped(other)) {
            if package.outside_tests.contains(&format!("{PREFIX}{}", other.name)) {
                findings.push(in_manifest(package, format!("depends on `{}` outside its tests", other.name)));
            }
        }
    }
    findings
}

/// The code map lists exactly the packages that exist.
fn code_map(files: &[SourceFile], packages: &[Package]) -> Vec<Finding> {
    let Some(rows) = document::table(files, DOCUMENT, CODE_MAP) else { return vec![without(CODE_MAP)] };
    let mapped: BTreeSet<&str> = rows.iter().flat_map(|row| &row.left).map(String::as_str).collect();
    let there: BTreeSet<&str> = packages.iter().map(|package| package.folder.as_str()).collect();
    let missing = there.difference(&mapped).map(|folder| format!("the code map does not list `{folder}`"));
    let gone =
        mapped.difference(&there).map(|folder| format!("the code map lists `{folder}`, which is no package"));
    missing.chain(gone).map(|what| Finding::in_file(DOCUMENT, what)).collect()
}

/// No package depends on one of ours that its row does not name.
fn directions(files: &[SourceFile], packages: &[Package]) -> Vec<Finding> {
    let Some(rows) = document::table(files, DOCUMENT, ALLOWED) else { return vec![without(ALLOWED)] };
    let mut allowed: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for row in &rows {
        for name in &row.left {
            allowed.entry(name).or_default().extend(row.right.iter().map(String::as_str));
        }
    }
    let mut findings = Vec::new();
    for package in packages {
        let Some(allowed) = allowed.get(package.name.as_str()) else {
            findings.push(Finding::in_file(
                DOCUMENT,
                format!("no row says what `{}` may depend on", package.name),
            ));
            continue;
        };
        for name in package.ours.iter().filter(|name| !allowed.contains(name.as_str())) {
            findings.push(in_manifest(package, format!("`{}` may not depend on `{name}`", package.name)));
        }
    }
    findings
}

fn in_manifest(package: &Package, what: String) -> Finding {
    Finding::in_file(&format!("{}/Cargo.toml", package.folder), what)
}

fn without(heading: &str) -> Finding {
    Finding::in_file(DOCUMENT, format!("no heading `{heading}` with a table"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::tests::file;

    fn package(name: &str, dependencies: &[&str]) -> Package {
        Package {
            name: name.to_owned(),
            folder: format!("crates/{name}"),
            ours: dependencies
                .iter()
                .filter(|name| name.starts_with(PREFIX))
                .map(|name| bare(name))
                .collect(),
            outside_tests: dependencies.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    fn findings(packages: &[Package]) -> Vec<String> {
        let map = "## Code map\n\n| folder | is |\n|--|--|\n| `crates/ssh` | x |\n| `crates/cli` | x |\n";
        let allowed =
            "## Allowed dependencies\n\n| crate | on |\n|--|--|\n| `ssh` | nothing |\n| `cli` | `ssh` |\n";
        let architecture = file(DOCUMENT, &format!("{map}\n{allowed}"));
        check(&[architecture], packages).into_iter().map(|finding| finding.what).collect()
    }

    #[test]
    fn what_the_tables_say_is_accepted() {
        assert!(
            findings(&[package("ssh", &["bytes"]), package("cli", &["culvert-ssh", "tokio"])]).is_empty()
        );
    }

    #[test]
    fn a_dependency_against_the_table_is_found() {
        let found = findings(&[package("ssh", &["culvert-cli"]), package("cli", &[])]);
        assert_eq!(found, ["`ssh` may not depend on `cli`"]);
    }

    #[test]
    fn a_pure_crate_with_a_runtime_is_found() {
        let found = findings(&[package("ssh", &["tokio"]), package("cli", &[])]);
        assert_eq!(found, ["a pure crate may not depend on `tokio`"]);
    }

    #[test]
    fn a_shipped_package_that_needs_a_test_package_is_found() {
        let interop = Package { folder: "interop".to_owned(), ..package("interop", &[]) };
        let found = shipped(&[package("cli", &["culvert-interop"]), interop]);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].what, "depends on `interop` outside its tests");
    }

    #[test]
    fn a_code_map_that_differs_from_the_tree_is_found() {
        let found = findings(&[package("ssh", &[])]);
        assert_eq!(found, ["the code map lists `crates/cli`, which is no package"]);
        let found = findings(&[package("ssh", &[]), package("cli", &[]), package("new", &[])]);
        assert_eq!(
            found,
            ["the code map does not list `crates/new`", "no row says what `new` may depend on"]
        );
    }

    #[test]
    fn tables_that_are_not_there_are_found() {
        assert_eq!(check(&[file(DOCUMENT, "# A\n")], &[]).len(), 2);
    }

    #[test]
    fn cargo_lists_this_package() {
        let packages = packages(&crate::tree::root()).unwrap();
        assert!(packages.iter().any(|package| package.name == "xtask" && package.folder == "xtask"));
    }
}
