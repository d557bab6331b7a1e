//! The files of a config, as they lie on the disk.
use super::fault::{At, Faults, Findings, Hint};
use serde::{Deserialize, Serialize};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// The most bytes one file of the config may have.
pub const FILE_BYTES: u64 = 64 * 1024 * 1024;

/// The most files that are read from `conf.d`.
pub const FILES: usize = 32_768;

/// One file of the config. All of them together are the config as written, and can be kept to be read again.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Source {
    /// Its path, as faults name it.
    pub path: PathBuf,
    /// What is in it.
    pub text: String,
}

/// Reads a config and the `conf.d/*.toml` beside it, in the order of their names.
///
/// # Errors
/// Names each file that can't be read.
pub(super) fn read(path: &Path) -> Result<Vec<Source>, Faults> {
    let mut sources = Vec::new();
    let mut findings = Findings::default();
    read_into(&mut sources, &mut findings, path);
    let beside = path.parent().unwrap_or(Path::new("")).join("conf.d");
    match files(&beside) {
        Ok(paths) => paths.iter().for_each(|it| read_into(&mut sources, &mut findings, it)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => unreadable(&mut sources, &mut findings, &beside, &error),
    }
    if findings.is_clean() { Ok(sources) } else { Err(findings.finish(&sources)) }
}

fn read_into(sources: &mut Vec<Source>, findings: &mut Findings, path: &Path) {
    match text(path) {
        Ok(text) => sources.push(Source { path: path.to_owned(), text }),
        Err(error) => unreadable(sources, findings, path, &error),
    }
}

fn text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    std::fs::File::open(path)?.take(FILE_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > FILE_BYTES {
        return Err(io::Error::other(format!("it has more than {FILE_BYTES} bytes")));
    }
    Ok(text)
}

fn unreadable(sources: &mut Vec<Source>, findings: &mut Findings, path: &Path, error: &io::Error) {
    let hint = match error.kind() {
        io::ErrorKind::NotFound => Hint::from("write one with: rekeyd init"),
        io::ErrorKind::PermissionDenied => Hint::from("run as root or as the user of the service"),
        _ => Hint::default(),
    };
    findings.fault(At::after(sources), format!("can't be read: {error}"), hint);
    sources.push(Source { path: path.to_owned(), text: String::new() });
}

/// The `*.toml` of a folder by name, without hidden files, which editors and package managers leave behind.
fn files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let name = entry?.file_name();
        let hidden = name.as_encoded_bytes().starts_with(b".");
        if !hidden && Path::new(&name).extension().is_some_and(|it| it == "toml") {
            paths.push(dir.join(name));
        }
        if paths.len() > FILES {
            return Err(io::Error::other(format!("it holds more than {FILES} files")));
        }
    }
    paths.sort();
    Ok(paths)
}
