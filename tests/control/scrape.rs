//! The metrics: what a scrape shows, and that Prometheus has nothing to say against it.
use crate::fixture::*;
use crate::views::golden;
use rekeyd::config::settings::Settings;
use rekeyd::core::record::Held;
use rekeyd::web::{FAMILIES, metrics};
use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Arc;

/// What scripts and dashboards rely on.
const CONTRACT: [&str; 19] = [
    "rekeyd_key_info{key,provider,kind,owner}",
    "rekeyd_key_valid_to_timestamp_seconds{key}",
    "rekeyd_key_next_rotation_timestamp_seconds{key}",
    "rekeyd_key_last_rotation_timestamp_seconds{key}",
    "rekeyd_key_attention{key,reason}",
    "rekeyd_keys{phase}",
    "rekeyd_rotations_total{provider,result}",
    "rekeyd_rotation_phase_duration_seconds{phase}",
    "rekeyd_cutover_gap_seconds",
    "rekeyd_provider_requests_total{provider,call,result}",
    "rekeyd_provider_creates_left{provider}",
    "rekeyd_notices_total{channel,result}",
    "rekeyd_outbox_pending",
    "rekeyd_outbox_dead",
    "rekeyd_last_sweep_timestamp_seconds",
    "rekeyd_last_backup_timestamp_seconds",
    "rekeyd_clock_suspect",
    "rekeyd_config_last_reload_successful",
    "rekeyd_build_info{version}",
];

const DOCS: &str = include_str!("../../docs/metrics.md");

#[test]
fn a_scrape_is_as_committed_and_prometheus_takes_it() {
    let text = metrics(&world());
    check_with_promtool(&["check", "metrics"], &text);
    // What is said of the process differs from run to run.
    let own: Vec<&str> = text.lines().filter(|it| !it.contains("process_")).collect();
    golden("metrics.txt", &(own.join("\n") + "\n"));
}

#[test]
fn every_metric_that_is_promised_is_there_with_its_labels_and_documented() {
    let table = DOCS.split("## The metrics").nth(1).unwrap().split("\n## ").next().unwrap();
    let documented: BTreeSet<&str> =
        table.lines().filter_map(|it| it.strip_prefix("| `")?.split_once('`').map(|it| it.0)).collect();
    for promised in CONTRACT {
        assert!(documented.contains(promised), "docs/metrics.md lacks {promised}");
    }
    let names: BTreeSet<&str> = documented.iter().map(|it| it.split('{').next().unwrap()).collect();
    assert_eq!(names, FAMILIES.iter().map(|it| it.name).collect(), "what is documented, and what there is");
    let text = metrics(&world());
    for family in FAMILIES {
        assert!(text.contains(&format!("# TYPE {} {}\n", family.name, family.kind)), "{}", family.name);
        let row = table.lines().find(|it| it.starts_with(&format!("| `{}", family.name))).unwrap();
        assert!(row.contains(&format!("| {} |", family.kind)), "{row}");
        let labels =
            row.split('`').nth(1).and_then(|it| it.split_once('{')).map_or("", |it| it.1).trim_end_matches('}');
        let samples = text.lines().filter(|it| !it.starts_with('#') && it.starts_with(family.name));
        for sample in samples.filter(|it| it[family.name.len()..].starts_with(['{', ' '])) {
            assert_eq!(labels_of(sample), labels, "{sample}");
        }
    }
}

/// The names of a sample's labels; none of the values of this world contains a comma.
fn labels_of(sample: &str) -> String {
    let inside = sample.split_once('{').map_or("", |it| it.1.rsplit_once('}').unwrap().0);
    inside.split(',').filter(|it| !it.is_empty()).map(|it| it.split('=').next().unwrap()).collect::<Vec<_>>().join(",")
}

#[test]
fn every_reason_for_attention_is_documented() {
    for code in rekeyd::standing::Concern::CODES {
        assert!(DOCS.contains(&format!("| `{code}` | ")), "docs/metrics.md lacks {code}");
    }
}

#[test]
fn a_key_has_a_series_for_each_owner_and_one_where_nobody_owns_it() {
    let mut world = world();
    let mut settings: Settings = (*world.settings).clone();
    settings.keys.get_mut(&name("expired")).unwrap().owners = vec!["a".to_owned(), "b".to_owned()];
    world.settings = Arc::new(settings);
    let text = metrics(&world);
    for owner in ["a", "b"] {
        let line =
            format!("rekeyd_key_info{{key=\"expired\",provider=\"sms\",kind=\"infobip\",owner=\"{owner}\"}} 1\n");
        assert!(text.contains(&line), "{text}");
    }
    assert!(text.contains("rekeyd_key_info{key=\"gone\",provider=\"sms\",kind=\"infobip\",owner=\"\"} 1\n"), "{text}");
}

#[test]
fn attention_is_told_only_while_it_is_true_and_once_however_many_targets_there_are() {
    let mut record = record("it", version(2, "2026-06-01T00:00:00Z", Some("2027-06-01T00:00:00Z")));
    let series = |world: &_| metrics(world).lines().filter(|it| it.starts_with("rekeyd_key_attention{")).count();
    assert_eq!(series(&one(policy(), record.clone())), 0);
    let mut policy = policy();
    policy.targets.push(rekeyd::core::policy::TargetPolicy {
        id: rekeyd::core::names::TargetId::new("file", "/etc/other"),
        ..policy.targets[0].clone()
    });
    record.held.values_mut().for_each(|it| *it = Held::default());
    let world = one(policy, record);
    assert_eq!(series(&world), 1);
    assert!(metrics(&world).contains("rekeyd_key_attention{key=\"it\",reason=\"undelivered\"} 1\n"));
}

#[test]
fn the_alerts_that_are_shipped_are_rules_on_metrics_that_there_are() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/alerts.yml");
    check_with_promtool(&["check", "rules", "--lint-fatal", path], "");
    let text = std::fs::read_to_string(path).unwrap();
    let words = text.split(|it: char| !it.is_ascii_alphanumeric() && it != '_').filter(|it| it.starts_with("rekeyd_"));
    for word in words {
        let bare = word.trim_end_matches("_bucket");
        assert!(FAMILIES.iter().any(|it| it.name == bare), "there is no {word}");
    }
}

/// Runs promtool on a text; it must have nothing to say.
#[track_caller]
fn check_with_promtool(args: &[&str], text: &str) {
    let mut promtool = Command::new("promtool");
    promtool.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = promtool.spawn().expect("promtool is needed here: tests/run installs it");
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let said = child.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&said.stderr);
    assert!(said.status.success() && errors.is_empty(), "{}{errors}\n{text}", String::from_utf8_lossy(&said.stdout));
}
