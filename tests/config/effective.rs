//! `check --effective`: it means what the config means, and says where each value is from.
use super::{BASE, BULK, SMS, shipped};
use rekeyd::cli::check::{self, Args};
use rekeyd::config::{self, Loaded, Source};

fn parse(files: &[(&str, &str)]) -> Loaded {
    let source = |(path, text): &(&str, &str)| Source { path: path.into(), text: (*text).to_owned() };
    config::parse(files.iter().map(source).collect()).unwrap_or_else(|faults| panic!("{faults}"))
}

/// Checks that the config that is written out means the same, whoever reads it, and says the same of itself.
#[track_caller]
fn means_the_same(loaded: &Loaded) {
    let text = loaded.effective();
    let again = parse(&[("effective.toml", &text)]);
    let (said, meant) = (format!("{:#?}", again.settings), format!("{:#?}", loaded.settings));
    let other = said.lines().zip(meant.lines()).find(|(said, meant)| said != meant);
    assert!(said == meant, "{other:?} in\n{text}");
    assert_eq!(without_comments(&again.effective()), without_comments(&text));
    for line in text.lines().filter(|it| !it.is_empty()) {
        assert!(line.contains(" # "), "{line}");
    }
}

fn without_comments(text: &str) -> Vec<&str> {
    text.lines().map(|it| it.rsplit_once(" # ").map_or(it, |(code, _)| code)).collect()
}

#[test]
fn every_shipped_config_means_the_same_when_it_is_written_out() {
    for path in shipped() {
        means_the_same(&config::load(&path).unwrap());
    }
}

#[test]
fn each_value_is_told_with_the_place_that_it_is_from() {
    let keys = "[keys.billing]\nprofile = 'eu'\noverlap = \"1d\"\n\n[[keys.billing.deliver]]\nkind = 'exec'\n\
                command = ['/usr/bin/put', \"a \\\"b\\\" \\\\ \\u0007\"]\nconfirm.command = ['/bin/true']\n\
                [keys.bulk]\nprovider = 'bulk'\nmax_age = '90d'\nwindows = ['nights']\n[keys.eu]\nprofile = 'eu'\n";
    let layers = "[defaults]\nowners = ['team']\nrotate_before = '14d'\n\
                  [profiles.eu]\nprovider = 'sms'\nvalid_for = '90d'\ncreate = { name = '{{key}}' }\n\
                  [[profiles.eu.deliver]]\nkind = 'file'\npath = '/srv/{{key}}.key'\nthen = { restart = ['{{key}}.service'] }\n";
    let main = format!(
        "[daemon]\nmaster_key.credential = 'master-key'\nowners = ['team']\ntimezone = 'Europe/London'\n\
         [owners.team]\nwebhook = [{{ url = 'https://hooks.example.com/', secret = [{{ env = 'NEW' }}, {{ env = 'OLD' }}] }}]\n\
         [windows.nights]\nopen = '0 22 * * *'\nduration = '4h'\n{SMS}{BULK}"
    );
    let loaded = parse(&[("rekeyd.toml", &main), ("conf.d/10.toml", layers), ("conf.d/20.toml", keys)]);
    means_the_same(&loaded);
    let want = include_str!("../golden/effective.toml");
    let text = loaded.effective();
    assert_eq!(text, want, "\n{text}");
}

#[test]
fn what_is_printed_can_be_read_as_a_config_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("rekeyd.toml");
    let run = |json: bool| {
        let mut out = Vec::new();
        let code = check::run(&Args { effective: true, ..Args::default() }, &path, json, &mut out).unwrap();
        (code.code(), String::from_utf8(out).unwrap())
    };
    std::fs::write(&path, format!("{BASE}{BULK}")).unwrap();
    let (code, text) = run(false);
    assert_eq!(code, 0);
    assert!(text.starts_with(&format!("# {}:2:25: warning: credential `master-key`", path.display())), "{text}");
    assert!(text.contains("\n#   hint: credentials are visible only"), "{text}");
    let again = parse(&[("effective.toml", &text)]);
    assert_eq!(again.settings.providers.len(), 1);
    let json: serde_json::Value = serde_json::from_str(&run(true).1).unwrap();
    assert!(text.ends_with(json["effective"].as_str().unwrap()));

    std::fs::write(&path, format!("{BASE}{BULK}[keys.k]")).unwrap();
    let (code, text) = run(false);
    assert_eq!(code, 78);
    assert!(text.contains("`provider` is missing") && !text.contains("[providers.bulk]"), "{text}");
}
