//! What the daemon says that has a name of its own in the journal, so that `journalctl MESSAGE_ID=…` finds it whatever it is
//! about, and `journalctl -x` explains it with systemd/rekeyd.catalog. An event is known by its constant text.

/// A key moved on.
pub(super) const PHASE: &str = "phase";
/// The journal took nothing for a while; how many lines that cost stands before it.
pub(super) const DROPPED: &str = "the journal took none for a while";

/// The texts, with their ids. An id stays what it is when its text changes: scripts look for it.
const MESSAGES: &[(&str, &str)] = &[
    (PHASE, "cea7ec1ae78043fe8f4bbbacab2611c3"),
    (DROPPED, "d0d4fbb59db24d0e8c1ec98df9bd7a36"),
    ("halted: a human is needed", "82a9a12d97064c928c0ab6f0aa3a776a"),
    ("trouble", "5d772cd0875844269ad560f1c84b8bc7"),
    ("an action failed", "fbcd046d78af4c4096d2fb15aef22abc"),
    ("trouble that belongs to no key", "291e0920e14d4f8bb4117d5da1557221"),
    ("told", "6117f29ce96c4e15a71a78459ee45199"),
    ("a notice waits", "a462936bb3504de8bf82192a98d2db56"),
    ("a notice was refused", "23a84ce84a784716b5bfbf78685a1aea"),
    ("a notice was given up", "7992988646744a8db1c2f955dd669161"),
    ("an operator's verb", "9177336b1fda4d4d9e3c2463ea18c70f"),
    ("revealed", "999618797cad4a16974e7db83be007f1"),
    ("not permitted", "3aacb6cdee75495490e4d929d78d1fc7"),
    ("the new config is in use", "ad64b50a07fd47c0843c2716ec1532f6"),
    ("the config on disk is not used", "571c2a53d3c0463aa6b0e1c9eb490e41"),
    ("started with the last good config; no rotation begins", "2ee1bb30a1d443fdb11e56bdda24a197"),
    ("serving", "50ecf4366e5d48c8bf1f924376340a80"),
    ("stopped", "4f487b9a928843faac46e67557eeecb1"),
    ("not everything ended in time; the next start goes on from what is durable", "be29dc1ca7194e09b5f08019db3c8fa7"),
    ("the state can't be opened yet", "ca82691497784108a72b2ae226bcbb61"),
    ("the state can't be written; what is to be recorded waits", "02ea1272c6544dc0a6d45088051a23d4"),
    ("the state can be written again; everything goes on", "cadaf4b1654347b6a8379fe1b687b049"),
    ("the clock is behind the last commit; nothing is created or revoked", "eeefa7b829cd4684963caa51d97aa4b8"),
    ("the clock has jumped; nothing is created or revoked until it agrees", "186c5c4518774916a0c318acdd98b678"),
    ("the clock differs from a provider's; nothing is created or revoked", "ef95ccfa93454d6bbb9caa01a9e9e2e7"),
    ("the provider does not answer, or refuses", "c8a012eb6edd4d5a999cd27c9b5b3ed4"),
    ("the provider answers again", "e84978a946e5434fac865b882e707fad"),
    ("the database is damaged; what can be read is taken over into a new one", "bd6bde5278174198ba721dce80e923ff"),
    ("a unit fetches the key", "54457218dd7f4ade89940f073f36e562"),
    ("a unit gets no key, and does not start", "43138a20c72a4f5bb8784ab509a777d2"),
    ("only root may fetch keys; refused", "ca0b4f04313647f085e62fbbf6472e69"),
    ("the channel is switched off", "bd7f52c2a15f4a1187bfa4cea779e666"),
    ("no longer managed: the config does not name it", "d49aed04c0d64522bf55dd471b266592"),
    ("forgotten", "8cd0004b5c53494ba9e28323b70c3d58"),
    ("the answer to a create was found in escrow", "f877db1c7ab24fe0bf04c9f3340293c6"),
    ("the answer to a create is newer than the state; it is kept", "6ca258cc6dbd4bc391c413855734daaf"),
    ("the answer to a create could not be kept aside before it is read", "d5a4a4b3b0f64289904adb98351625a3"),
    ("an answer in escrow is cut short; its create counts as lost", "6156fff9186f42e59b361aaf8dff06cc"),
    ("a look at the world broke down; please report this", "4058e2c2d0ec42b9b9d6821e67b32327"),
    ("a secret of the state can't be read", "2e8f61a7737b404b977a95fc8a00ddfd"),
    (
        "the state was restored, rolled back, moved or copied; every key is looked at before anything is done",
        "8f3ee221aae54b2d83141357ea652139",
    ),
    ("the state is older than the provider's; a new epoch begins", "d3be9fb010a34607ae2aae23f267db9e"),
    ("rows of the database are not those that were written last", "8d147826eff8445db8253aa2589f06d8"),
    ("lost to damage", "49496f9fb726446e8a12e22b7e390ab4"),
    ("the state is brought up to a newer format", "7b030d2aa2cb44feafdb899b43049253"),
    ("the state can be read, but not written", "8173eba03b334178b4b9dbed123d4d09"),
    ("the disk is full: the reserve was given up to open the state", "423d14d3987b49d2867ce8015cfd6b03"),
    ("the reserve beside the state can't be taken; no key is created until it can", "c637f9d37f8c444bae05bfe1e90ae0e4"),
    ("the clock agrees with a provider's again", "836a8c28c49e43acab3a0bf68297f789"),
    ("a provider's clock differs from ours, with which another's agrees", "ecac97f9bf3b40339a9c84b563eb2537"),
    (
        "its login was refused before the start, and is tried again when that is an hour ago",
        "5516969d437c407a8714e768e90a49bc",
    ),
    ("its login was changed; it is tried", "b29200f48c3e461fb45f8da809fe8dcb"),
    ("no channel takes it; others are told", "e57c93c246474666b6a40df021ef15fb"),
    ("the channel is used again", "9482bb0523054a9c963c654173928a2b"),
    ("a mail template can't be used; the built-in one is sent instead", "e160d45b78d546f5b103d1cfe59ff1ac"),
    ("a message is refused for what it says; it goes in two", "0b4c3821bef141b68d4bbaffac9eaae9"),
    ("a unit waits for its key", "b83eeab31b0c45fc9140d8f5004998b7"),
    (
        "a connection to the credential socket says not for which unit; it is refused",
        "dd36770f0fa342958b3ff1426b09b28b",
    ),
    ("everything goes on", "e6a1c4de5cf446d98c618ca83bed7f82"),
    ("the state was fetched as a backup", "cf7a258483ca43398253e4d15faa350f"),
    ("a test notice goes through every channel", "49e9566ba7ea428da4502b8ea00a9d81"),
    ("the last good config can't be used either", "d3edab95dba7492a98b65a7b3ebc5075"),
    ("a backup was made", "956be8b6348345d882d71208056a8189"),
];

/// The id of an event with this text, if it has one.
pub(super) fn id(text: &str) -> Option<&'static str> {
    let is_dropped = |it: &str| it == DROPPED && text.ends_with(DROPPED);
    MESSAGES.iter().find(|it| it.0 == text || is_dropped(it.0)).map(|it| it.1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::path::Path;

    const CATALOG: &str = include_str!("../../systemd/rekeyd.catalog");

    #[test]
    fn the_catalog_explains_every_id_and_no_other() {
        let explained: Vec<_> = CATALOG.lines().filter_map(|it| it.strip_prefix("-- ")).collect();
        let ids: BTreeSet<_> = MESSAGES.iter().map(|it| it.1).collect();
        assert_eq!(ids.len(), MESSAGES.len(), "an id is there twice");
        assert_eq!(explained.len(), ids.len());
        assert_eq!(explained.into_iter().collect::<BTreeSet<_>>(), ids);
    }

    #[test]
    fn every_text_is_said_somewhere() {
        let mut sources = String::new();
        collect(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src")), &mut sources);
        for (text, _) in MESSAGES.iter().filter(|it| it.0 != DROPPED) {
            assert!(sources.contains(&format!(", \"{text}\"")) || sources.contains(&format!("(\"{text}\"")), "{text}");
        }
    }

    /// What the programs say, without this list.
    fn collect(dir: &Path, into: &mut String) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(&path, into);
            } else if path.extension().is_some_and(|it| it == "rs") && !path.ends_with("messages.rs") {
                let text = std::fs::read_to_string(path).unwrap();
                let words: Vec<&str> = text.split_whitespace().collect();
                into.push_str(&words.join(" ").replace("( \"", "(\""));
            }
        }
    }
}
