//! Who logged in, of those who act as somebody else: `sudo` and `su` keep it. The kernel's audit knows; where `/proc` shows no
//! processes of others (`ProtectProc=`), the slice that logind has put the session into says the same.
use std::fs;
use std::path::{Path, PathBuf};

/// What `/proc/PID/loginuid` says where nobody logged in.
const NO_LOGIN: u32 = u32::MAX;
/// Where sessions lie among the control groups: alone, or beside those of version 1.
const SESSIONS: [&str; 3] =
    ["/sys/fs/cgroup/user.slice", "/sys/fs/cgroup/systemd/user.slice", "/sys/fs/cgroup/unified/user.slice"];
/// The most groups that are looked through for one process. Who has more sessions open than that is not found.
const GROUPS_MOST: usize = 4096;

/// Who logged in, of the process with this id.
pub(super) fn uid(pid: i32) -> Option<u32> {
    match fs::read_to_string(format!("/proc/{pid}/loginuid")) {
        Ok(text) => text.trim().parse().ok().filter(|it| *it != NO_LOGIN),
        Err(_) => SESSIONS.iter().find_map(|it| of_sessions(Path::new(it), pid)),
    }
}

/// Whose slice a process is in.
fn of_sessions(slices: &Path, pid: i32) -> Option<u32> {
    let mut left = GROUPS_MOST;
    let mut users = fs::read_dir(slices).ok()?.flatten().filter_map(|it| Some((slice_of(&it.path())?, it.path())));
    users.find(|(_, slice)| holds(slice, pid, &mut left)).map(|it| it.0)
}

/// `user-1000.slice` is that of the user 1000.
fn slice_of(path: &Path) -> Option<u32> {
    path.file_name()?.to_str()?.strip_prefix("user-")?.strip_suffix(".slice")?.parse().ok()
}

/// Whether a process is in a group or one below it.
fn holds(group: &Path, pid: i32, left: &mut usize) -> bool {
    let mut groups: Vec<PathBuf> = vec![group.to_owned()];
    while let Some(group) = groups.pop() {
        *left = left.saturating_sub(1);
        let members = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
        if *left == 0 || members.lines().any(|it| it.parse() == Ok(pid)) {
            return *left > 0;
        }
        let below = fs::read_dir(group).into_iter().flatten().flatten();
        groups.extend(below.filter(|it| it.file_type().is_ok_and(|it| it.is_dir())).map(|it| it.path()));
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slice_of_a_session_says_who_logged_in() {
        let dir = tempfile::tempdir().unwrap();
        for (group, members) in [
            ("user-1000.slice/session-3.scope", "12\n34\n"),
            ("user-1000.slice/user@1000.service/app.slice/terminal.scope", "56\n"),
            ("user-1001.slice/session-4.scope", "78\n"),
            ("other.slice", "90\n"),
        ] {
            let group = dir.path().join(group);
            fs::create_dir_all(&group).unwrap();
            fs::write(group.join("cgroup.procs"), members).unwrap();
        }
        for (pid, expected) in [(34, Some(1000)), (56, Some(1000)), (78, Some(1001)), (90, None), (3, None)] {
            assert_eq!(of_sessions(dir.path(), pid), expected, "{pid}");
        }
        assert_eq!(of_sessions(&dir.path().join("none"), 34), None);
    }
}
