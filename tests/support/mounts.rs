//! Small disks of their own for a test, where mounting is allowed; elsewhere the test says that it is skipped.
#![allow(clippy::print_stdout, reason = "a test that is skipped says so")]
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The size of a disk in memory, in bytes: room for the state, and soon full.
const MEMORY_BYTES: u64 = 192 * 1024 * 1024;
/// The size of an image, in bytes.
const IMAGE_BYTES: u64 = 64 * 1024 * 1024;

/// A disk that is mounted as long as this lives.
pub(crate) struct Mount {
    at: PathBuf,
}

impl Mount {
    /// A disk in memory.
    pub(crate) fn memory(at: &Path) -> Option<Self> {
        Self::with(at, &["-t", "tmpfs", "-o", &format!("size={MEMORY_BYTES}"), "tmpfs"])
    }

    /// The file system in an image. An error of the device makes it read-only.
    pub(crate) fn image(image: &Path, at: &Path) -> Option<Self> {
        Self::with(at, &["-o", "loop,errors=remount-ro", &image.display().to_string()])
    }

    /// The same, for what only stands for a device: what it is told to sync need not reach a disk.
    #[allow(dead_code, reason = "each test binary uses its part")]
    pub(crate) fn stand_in(image: &Path, at: &Path) -> Option<Self> {
        Self::with(at, &["-o", "loop,nobarrier", &image.display().to_string()])
    }

    fn with(at: &Path, words: &[&str]) -> Option<Self> {
        fs::create_dir_all(at).unwrap();
        if quietly(Command::new("mount").args(words).arg(at)) {
            return Some(Self { at: at.to_owned() });
        }
        println!("skipped: mounting is not allowed here");
        None
    }

    /// Mounts it anew: `ro` or `rw`. Says whether the kernel did.
    #[allow(dead_code, reason = "each test binary uses its part")]
    pub(crate) fn make(&self, how: &str) -> bool {
        quietly(Command::new("mount").args(["-o", &format!("remount,{how}")]).arg(&self.at))
    }

    /// Takes all room that there is, and some files later more of it.
    pub(crate) fn fill(&self) {
        let filler = File::options().append(true).create(true).open(self.filler());
        let Ok(mut filler) = filler else { return };
        for piece in [1 << 20, 4096, 1] {
            while filler.write_all(&vec![b'.'; piece]).is_ok() {}
        }
    }

    /// Gives the room back.
    pub(crate) fn free(&self) {
        let _ = fs::remove_file(self.filler());
    }

    fn filler(&self) -> PathBuf {
        self.at.join("filler")
    }

    /// The device under it.
    pub(crate) fn device(&self) -> String {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        let at = self.at.display().to_string();
        let line = mounts.lines().rfind(|it| it.split(' ').nth(1) == Some(at.as_str())).unwrap();
        line.split(' ').next().unwrap().trim_start_matches("/dev/").to_owned()
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if !quietly(Command::new("umount").arg(&self.at)) {
            quietly(Command::new("umount").arg("-l").arg(&self.at));
        }
    }
}

/// Makes an image with an empty ext4 in it.
pub(crate) fn make_image(path: &Path) -> bool {
    make_image_of(path, IMAGE_BYTES)
}

/// The same of so many bytes.
pub(crate) fn make_image_of(path: &Path, bytes: u64) -> bool {
    File::create(path).unwrap().set_len(bytes).unwrap();
    quietly(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(path))
}

fn quietly(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|it| it.success())
}
