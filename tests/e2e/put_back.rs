//! What root does to a state for the service's user leaves nothing behind that the user can't use, nor what the old key opens.
use crate::rig::{Rig, calm, write};
use rekeyd::simulator::Service;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

/// A user of no name.
const USER: u32 = 424_242;
const OTHER: &str = "ffeeddccbbaa99887766554433221100ffeeddccbbaa99887766554433221100";

/// Everything below a folder that another user owns.
fn foreign(dir: &Path) -> Vec<PathBuf> {
    let mut foreign = Vec::new();
    for path in fs::read_dir(dir).unwrap().map(|it| it.unwrap().path()) {
        if path.is_dir() {
            foreign.extend(self::foreign(&path));
        }
        if fs::metadata(&path).unwrap().uid() != USER {
            foreign.push(path);
        }
    }
    foreign
}

#[tokio::test]
async fn what_root_puts_back_and_seals_anew_is_the_services_users_and_nothing_old_is_left() {
    if !rustix::process::geteuid().is_root() {
        return println!("skipped: only root can act for another user");
    }
    let mut rig = Rig::start_created(calm(&[Service::Infobip])).await;
    let (file, state) = (rig.path("state.backup"), rig.path("state"));
    rig.ok(&["backup", file.to_str().unwrap()]).await;
    rig.stop().await;
    fs::remove_dir_all(&state).unwrap();
    // What a daemon leaves that was killed in its start, and what a rescue kept aside: neither is a state.
    fs::create_dir_all(state.join("sled.damaged")).unwrap();
    fs::write(state.join("sled.damaged/db"), "what could not be read").unwrap();
    fs::write(state.join("probe"), "?").unwrap();
    for path in ["", "sled.damaged", "sled.damaged/db", "probe"] {
        chown(state.join(path), Some(USER), Some(USER)).unwrap();
    }
    rig.ok(&["restore", file.to_str().unwrap()]).await;
    assert_eq!(foreign(&state), Vec::<PathBuf>::new());
    assert!(state.join("sled.damaged/db").exists(), "whoever wants to look finds it");
    let new = rig.path("secrets/master-2");
    write(&new, OTHER);
    fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).unwrap();
    rig.ok(&["reseal", "--new-key", &format!("file:{}", new.display())]).await;
    assert_eq!(foreign(&state), Vec::<PathBuf>::new());
    assert!(!state.join("sled.damaged").exists(), "it was sealed with the old key");
}
