//! Every kind of fault, in one config that has them all: each is told at once, with its place and what to do about it.
use rekeyd::config;
use std::path::Path;

/// `tests/golden/faults` is the config, and `tests/golden/faults.txt` what is said of it.
#[test]
fn all_faults_are_told_at_once_each_with_its_place_and_its_remedy() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/faults");
    let found = config::load(&folder.join("rekeyd.toml")).unwrap_err();
    let warnings = found.warnings.iter().map(|it| format!("warning: {it}\n")).collect::<String>();
    let said = format!("{found}\n{warnings}").replace(&format!("{}/", folder.display()), "");
    assert_eq!(said, include_str!("../golden/faults.txt"), "\n{said}");
    for fault in &found.faults {
        assert!(fault.hint.is_some() || fault.message.contains("expected"), "{fault}");
    }
}

/// What keys that lie in files of their own take, in time on a processor: nothing else that runs there counts.
fn time_to_check(keys: usize) -> f64 {
    let layers = "daemon = { master_key = { credential = 'm' }, owners = ['o'] }\n\
                  [smtp]\nhost = 'localhost'\nfrom = 'a@b.example'\n[owners.o]\nemail = ['a@b.example']\n\
                  [windows.w]\nopen = '0 22 * * *'\nduration = '4h'\n[freezes.f]\nfrom = '12-18'\nto = '01-04'\n\
                  [providers.p]\nkind = 'infobip'\nusername = 'u'\npassword = { credential = 'p' }\ncreates_per_day = 1000\n\
                  [profiles.a]\nprovider = 'p'\nowners = ['o']\nvalid_for = '90d'\ncreate = { name = '{{key}}' }\n\
                  windows = ['w']\ndeliver = [{ kind = 'file', path = '/srv/{{key}}/k' }]\n";
    let dir = tempfile::tempdir().unwrap();
    let main = dir.path().join("rekeyd.toml");
    let beside = dir.path().join("conf.d");
    std::fs::create_dir(&beside).unwrap();
    std::fs::write(&main, layers).unwrap();
    for n in 0..keys {
        let text = format!("[keys.service-{n}]\nprofile = 'a'\nmax_age = '80d'\n");
        std::fs::write(beside.join(format!("service-{n}.toml")), text).unwrap();
    }
    let before = processor_time();
    let loaded = config::load(&main).unwrap();
    let took = processor_time() - before;
    assert_eq!(loaded.settings.keys.len(), keys);
    took
}

/// What this thread has used of a processor so far, in seconds.
fn processor_time() -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
    // Behind the name, which may have anything in it, the times in user and in kernel mode are the 12th and the 13th.
    let fields: Vec<_> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: f64 = fields[11..13].iter().map(|it| it.parse::<f64>().unwrap()).sum();
    ticks / 100.0
}

#[test]
fn ten_thousand_keys_in_ten_thousand_files_take_about_ten_times_as_long_as_a_thousand() {
    let (few, many) = (time_to_check(1_000), time_to_check(10_000));
    // A tick is 10 ms; what grew with the square would take a hundred times as long.
    assert!(many < 30.0 * few.max(0.05), "{few} s, then {many} s");
}

#[test]
fn a_thousand_unknown_names_among_a_thousand_others_cost_no_comparison_of_each_with_each() {
    let provider = |n| format!("[providers.p{n}]\nkind = 'mobivate'\nusername = 'u{n}'\npassword = {{ env = 'P' }}\n");
    let key = |n| format!("[keys.k{n}]\nprovider = 'q{n}'\nowners = ['team']\nmax_age = '9d'\ndeliver = []\n");
    let parts: String = (0..1_000).map(|n| provider(n) + &key(n)).collect();
    let found = super::parse(&format!("{}{parts}", super::BASE)).unwrap_err();
    let hints: Vec<_> = found.faults.iter().filter_map(|it| it.hint.as_deref()).collect();
    assert_eq!(hints.len(), 1_000);
    assert_eq!((hints[0], hints[999]), ("did you mean `p0`?", "look at the sections [providers.…]"));
}
