//! The rules of the house, held against the sources: who may know whom, who reads the time, who sees a secret. Each rule is a
//! function from sources to what breaks it, and is itself shown to notice a source that does.
#![allow(unreachable_pub, clippy::unwrap_used, reason = "a test may panic anywhere, and nobody uses it")]
#[path = "architecture/source.rs"]
mod source;

use rekeyd::{notifiers, providers, targets};
use source::{Source, files, root, sources};
use std::collections::BTreeSet;
use std::fs;

/// The layers, lowest first. Modules of one layer don't see each other.
const LAYERS: [&[&str]; 10] = [
    &["core"],
    &["secret", "clock", "humane", "failpoint"],
    &["http", "command", "socket", "systemd"],
    &["providers", "targets", "notifiers", "store"],
    &["config"],
    &["engine"],
    &["standing"],
    &["control", "credentials", "web", "service", "simulator"],
    &["cli"],
    &["fuzzing"],
];

/// The only file that may ask what time it is.
const CLOCK: &str = "src/clock.rs";

/// Who may see the bytes of a secret, and what for.
const EXPOSERS: [(&str, &str); 22] = [
    ("src/cli/stdin.rs", "asks whether it is text, before it goes to the socket"),
    ("src/cli/reveal.rs", "reveals it, on stdout"),
    ("src/control/requests.rs", "carries it over the socket, for adopt and reveal"),
    ("src/control/verbs.rs", "asks whether it is text, as JSON has to carry it"),
    ("src/credentials/answer.rs", "delivers it, to a unit that fetches it"),
    ("src/http.rs", "sends it, in a header or a body"),
    ("src/http/webhooks.rs", "signs with it, and sends to a URL that is one"),
    ("src/notifiers/dkim.rs", "signs mails with it"),
    ("src/notifiers/smtp.rs", "logs in with it"),
    ("src/providers/fuzzing.rs", "looks whether what was read out of an answer can be a key"),
    ("src/providers/infobip/wire.rs", "tells JSON from XML, to read a key out of an answer"),
    ("src/providers/infobip_2fa.rs", "reads a key out of an answer"),
    ("src/providers/mobivate.rs", "sends it, in the body of a request"),
    ("src/providers/reply.rs", "reads a key out of an answer"),
    ("src/secret.rs", "is where it lives"),
    ("src/store/escrow.rs", "seals it"),
    ("src/store/seal.rs", "seals it, and seals with it"),
    ("src/command.rs", "delivers it, on the stdin of an exec target"),
    ("src/targets/age.rs", "encrypts it, to whom the config names"),
    ("src/targets/file.rs", "compares what is delivered, and keeps the other lines of a file"),
    ("src/targets/format.rs", "renders what is delivered, and reads it back"),
    ("src/targets/place.rs", "delivers it, into a file"),
];

/// `mask` exists to take a secret out of what a command said, and has to know it for that.
const MASKS: &str = "src/command/mask.rs";

const MOST_LINES: usize = 500;
const MEDIAN_LINES: usize = 200;

fn check(rule: fn(&[Source]) -> Vec<String>, broken_by: &[(&str, &str)]) {
    let broken = rule(&sources());
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
    for (path, text) in broken_by {
        let found = rule(&[Source::new(path, text)]);
        assert!(!found.is_empty(), "the rule does not notice {path}: {text}");
    }
}

#[test]
fn a_module_knows_only_the_layers_below_it() {
    let broken_by = [
        ("src/core/plan.rs", "use crate::clock::now;"),
        ("src/core/plan.rs", "use crate::{core::time::Timestamp, store};"),
        ("src/providers/reply.rs", "fn a() { crate::targets::check() }"),
        ("src/store/mod.rs", "use super::engine::Handle;"),
        ("src/store/seal.rs", "use super::super::engine::Handle;"),
        ("src/brand_new.rs", "use crate::core::time::Timestamp;"),
    ];
    check(layers, &broken_by);
}

fn layers(sources: &[Source]) -> Vec<String> {
    let mut broken = Vec::new();
    for source in sources {
        let Some(top) = source.top() else { continue };
        let Some(layer) = layer(top) else {
            broken.push(format!("{}: the module {top} has no layer yet; add it to LAYERS", source.path));
            continue;
        };
        for line in source.lines() {
            for other in known_at(line.code) {
                let below = self::layer(other).is_some_and(|it| it < layer);
                if other != top && !below {
                    broken.push(format!("{}: {top} may not know {other}", source.place(line)));
                }
            }
        }
        for line in source.program().filter(|it| climbs(it.code) >= source.depth()) {
            broken.push(format!("{}: write crate:: for what is outside of {top}", source.place(line)));
        }
    }
    broken
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|it| it.contains(&module))
}

/// The top modules that a line of code names after `crate::`, alone or in braces.
fn known_at(code: &str) -> Vec<&str> {
    let word = |it: &str| it.find(|it: char| !it.is_alphanumeric() && it != '_').unwrap_or(it.len());
    let mut found = Vec::new();
    for (at, path) in code.match_indices("crate::") {
        let after = &code[at + path.len()..];
        match after.strip_prefix('{') {
            Some(several) => found.extend(several.split(',').map(str::trim).map(|it| &it[..word(it)])),
            None => found.push(&after[..word(after)]),
        }
    }
    found.retain(|it| !it.is_empty() && *it != "self");
    found
}

/// How many modules up the longest `super::super::…` of a line goes.
fn climbs(code: &str) -> usize {
    (0..).take_while(|it| code.contains(&"super::".repeat(it + 1))).count()
}

#[test]
fn only_the_clock_reads_the_time() {
    check(one_clock, &[("src/engine/mod.rs", "let a = 1;\nlet now = std::time::Instant::now();")]);
}

fn one_clock(sources: &[Source]) -> Vec<String> {
    const CLOCKS: [&str; 5] = ["SystemTime::now", "Instant::now", "Utc::now", "Local::now", "OffsetDateTime::now"];
    found(sources, &CLOCKS, |it| it.path != CLOCK)
}

#[test]
fn the_core_is_pure() {
    let broken_by = ["use std::fs;", "async fn a() {}", "tokio::spawn(a)", "getrandom::fill(b)", "rand::random()"];
    check(pure_core, &broken_by.map(|it| ("src/core/plan.rs", it)));
}

fn pure_core(sources: &[Source]) -> Vec<String> {
    const WORLD: [&str; 14] = [
        "tokio",
        "async ",
        ".await",
        "std::fs",
        "std::net",
        "std::env",
        "std::io",
        "std::process",
        "std::thread",
        "getrandom",
        "rand::",
        "tracing::",
        "chrono::Utc",
        "crate::secret",
    ];
    found(sources, &WORLD, |it| it.top() == Some("core"))
}

#[test]
fn a_secret_is_seen_only_where_it_is_used() {
    check(exposers, &[("src/engine/mod.rs", "log(secret.expose());"), ("src/cli/status.rs", "it.expose_str()")]);
}

fn exposers(sources: &[Source]) -> Vec<String> {
    found(sources, &["expose(", "expose_str("], |it| {
        it.path != MASKS && !EXPOSERS.iter().any(|(path, _)| *path == it.path)
    })
}

#[test]
fn whoever_is_listed_to_see_secrets_still_does() {
    let sources = sources();
    for (path, why) in EXPOSERS {
        let source = sources.iter().find(|it| it.path == path);
        let sees = source.is_some_and(|it| it.program().any(|it| it.code.contains("expose")));
        assert!(sees, "{path} ({why}) sees no secret any more: take it off the list");
    }
}

#[test]
fn only_the_store_speaks_with_the_database() {
    check(one_database, &[("src/engine/mod.rs", "let db = sled::open(path);")]);
}

fn one_database(sources: &[Source]) -> Vec<String> {
    found(sources, &["sled::"], |it| it.top() != Some("store"))
}

#[test]
fn no_file_is_too_long_and_half_of_them_are_short() {
    let long = "\n".repeat(MOST_LINES + 1);
    check(short_files, &[("src/engine/mod.rs", &long), ("src/engine/mod.rs", &long[MOST_LINES - MEDIAN_LINES..])]);
}

fn short_files(sources: &[Source]) -> Vec<String> {
    let mut lengths: Vec<_> = sources.iter().map(|it| it.text.lines().count()).collect();
    lengths.sort_unstable();
    let median = lengths[lengths.len() / 2];
    let long = |it: &&Source| it.text.lines().count() > MOST_LINES;
    let mut broken: Vec<_> =
        sources.iter().filter(long).map(|it| format!("{} has more than {MOST_LINES} lines", it.path)).collect();
    if median > MEDIAN_LINES {
        broken.push(format!("the median file has {median} lines, more than {MEDIAN_LINES}"));
    }
    broken
}

#[test]
fn nothing_is_left_to_do() {
    let broken_by = ["todo!()", "unimplemented!()", "// TODO later", "// FIXME", "dbg!(a)"];
    check(finished, &broken_by.map(|it| ("src/engine/mod.rs", it)));
}

fn finished(sources: &[Source]) -> Vec<String> {
    let mut broken = found(sources, &["todo!", "unimplemented!", "dbg!"], |_| true);
    for source in sources {
        let lines = source.text.lines().enumerate().filter(|it| it.1.contains("TODO") || it.1.contains("FIXME"));
        broken.extend(lines.map(|(nth, it)| format!("{}:{}: {}", source.path, nth + 1, it.trim())));
    }
    broken
}

/// Every line of the program with one of these words in its code, in the files that the rule is about.
fn found(sources: &[Source], words: &[&str], is_about: impl Fn(&Source) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources.iter().filter(|it| is_about(it)) {
        let lines = source.program().filter(|line| words.iter().any(|it| line.code.contains(it)));
        found.extend(lines.map(|it| format!("{}: {}", source.place(it), it.code.trim())));
    }
    found
}

#[test]
fn every_kind_is_documented() {
    let text: String = docs().iter().map(|it| it.1.as_str()).collect();
    let mut kinds: Vec<_> = providers::KINDS.iter().map(|it| it.name).collect();
    kinds.extend(targets::KINDS.iter().map(|it| it.name));
    kinds.extend(notifiers::KINDS.iter().map(|it| it.name));
    for kind in kinds {
        let spellings = [format!("`{kind}`"), format!("\"{kind}\""), format!("owners.NAME.{kind}")];
        assert!(spellings.iter().any(|it| text.contains(it)), "no document says what {kind} is");
    }
}

/// The documents for users, with their names.
fn docs() -> Vec<(String, String)> {
    let mut paths = files(&root().join("docs"), "md");
    paths.extend(fs::exists(root().join("README.md")).unwrap().then(|| root().join("README.md")));
    let name = |it: &std::path::Path| it.file_name().unwrap().to_str().unwrap().to_owned();
    paths.iter().map(|it| (name(it), fs::read_to_string(it).unwrap())).collect()
}

#[test]
fn a_document_that_is_mentioned_is_there() {
    let names: BTreeSet<_> = docs().into_iter().map(|it| it.0).collect();
    for source in sources() {
        for name in documents_in(&source.text) {
            assert!(names.contains(name), "{} mentions {name}, which is not in the tree", source.path);
        }
    }
    assert_eq!(documents_in("see docs/PLAN.md, `notes.md`, and https://a.example/b.md."), ["PLAN.md", "notes.md"]);
}

/// The documents that a text names, apart from those that it has an address for.
fn documents_in(text: &str) -> Vec<&str> {
    let words = text.split_whitespace().filter(|it| !it.contains("://"));
    let words = words.flat_map(|it| it.split(|it: char| !it.is_alphanumeric() && !"._-".contains(it)));
    words.map(|it| it.trim_matches('.')).filter(|it| it.ends_with(".md") && it.len() > 3).collect()
}

#[test]
fn no_path_of_somebody_s_machine_is_left_behind() {
    let here = root().parent().unwrap().to_str().unwrap();
    let mut paths = Vec::new();
    for (folder, ending) in [("src", "rs"), ("tests", "rs"), ("tests", "toml"), ("config", "toml"), ("docs", "md")] {
        paths.extend(files(&root().join(folder), ending));
    }
    for path in paths {
        let text = fs::read_to_string(&path).unwrap();
        // At the root of a file system the folder above is "/", which is everywhere.
        assert!(here == "/" || !text.contains(&format!("{here}/")), "{} names {here}", path.display());
    }
}
