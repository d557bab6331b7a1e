//! The metrics: what the engine knows and counted, for Prometheus. `docs/metrics.md` has the same table for users.
use super::exposition::{Exposition, Family, number, seconds};
use super::process::Process;
use crate::core::record::{Phase, Record, RotationResult};
use crate::core::time::Timestamp;
use crate::engine::handle::Snapshot;
use crate::engine::meters::{CALLS, Counts, NOTICE_RESULTS, RESULTS};
use crate::standing::{Concern, PhaseName, Subject, concerns, creates_left, forecast, phase_name};
use std::collections::{BTreeMap, BTreeSet};

macro_rules! families {
    ($($id:ident = $kind:literal $name:literal $help:literal;)+) => {
        $(const $id: Family = Family { name: $name, kind: $kind, help: $help };)+
        /// Every metric, in the order in which they are shown.
        pub const FAMILIES: &[Family] = &[$($id),+];
    };
}

families! {
    KEY_INFO = "gauge" "rekeyd_key_info" "Always 1: a key, with one series for each of its owners.";
    VALID_TO = "gauge" "rekeyd_key_valid_to_timestamp_seconds" "Until when the current version of a key is valid, where that is known.";
    NEXT = "gauge" "rekeyd_key_next_rotation_timestamp_seconds" "When the next rotation of a key begins, where one is foreseen; while one is under way, when it began.";
    LAST = "gauge" "rekeyd_key_last_rotation_timestamp_seconds" "When the last rotation of a key that succeeded ended.";
    ATTENTION = "gauge" "rekeyd_key_attention" "1 while something is wrong with a key; without a series while nothing is.";
    KEYS = "gauge" "rekeyd_keys" "How many keys are in a phase.";
    ROTATIONS = "counter" "rekeyd_rotations_total" "Rotations that succeeded, failed or halted; one that halted ends in another way later.";
    PHASE_SECONDS = "histogram" "rekeyd_rotation_phase_duration_seconds" "How long rotations that ended were in each of their phases.";
    GAP_SECONDS = "histogram" "rekeyd_cutover_gap_seconds" "How long consumers may have held a dead key, in rotations where they did.";
    REQUESTS = "counter" "rekeyd_provider_requests_total" "Calls to providers, by what came of them.";
    CREATES_LEFT = "gauge" "rekeyd_provider_creates_left" "Creates left in the daily budget of a provider's account.";
    NOTICES = "counter" "rekeyd_notices_total" "Tries to send a notice: sent, to be tried later, or given up.";
    PENDING = "gauge" "rekeyd_outbox_pending" "Notices on their way.";
    DEAD = "gauge" "rekeyd_outbox_dead" "Notices that were given up.";
    SWEEP = "gauge" "rekeyd_last_sweep_timestamp_seconds" "When every key was last looked at.";
    BACKUP = "gauge" "rekeyd_last_backup_timestamp_seconds" "When the last backup was made; 0 while there is none.";
    CLOCK = "gauge" "rekeyd_clock_suspect" "1 while the wall clock is not believed, and nothing is created or revoked.";
    TROUBLE = "gauge" "rekeyd_daemon_trouble" "1 for each thing that is wrong with the daemon itself, by its cause.";
    RELOAD = "gauge" "rekeyd_config_last_reload_successful" "1 where the newest config is in use.";
    BUILD = "gauge" "rekeyd_build_info" "Always 1: the version of rekeyd.";
    CPU = "counter" "process_cpu_seconds_total" "Processor time spent, in user and system mode.";
    RESIDENT = "gauge" "process_resident_memory_bytes" "Memory in use.";
    VIRTUAL = "gauge" "process_virtual_memory_bytes" "Address space in use.";
    OPEN_FDS = "gauge" "process_open_fds" "Open files.";
    MAX_FDS = "gauge" "process_max_fds" "How many files may be open.";
    START = "gauge" "process_start_time_seconds" "When the daemon started.";
}

/// Everything, in the text format.
pub fn metrics(snapshot: &Snapshot) -> String {
    let mut text = Exposition::default();
    let keys: Vec<_> = Subject::all(snapshot).collect();
    of_keys(&mut text, &keys);
    of_rotations(&mut text, snapshot);
    of_providers(&mut text, snapshot);
    of_notices(&mut text, snapshot);
    of_daemon(&mut text, snapshot);
    of_process(&mut text, &Process::read(), snapshot.started_at);
    text.into_text()
}

fn of_keys(text: &mut Exposition, keys: &[Subject<'_>]) {
    text.family(&KEY_INFO);
    keys.iter().for_each(|it| key_info(text, it));
    let mut each = |family: &Family, value: &dyn Fn(&Subject<'_>) -> Option<Timestamp>| {
        text.family(family);
        for key in keys {
            if let Some(at) = value(key) {
                text.sample(family, &[("key", key.name.as_str())], moment(at));
            }
        }
    };
    each(&VALID_TO, &|key| key.record?.current.as_ref()?.valid_to);
    each(&NEXT, &next_rotation);
    each(&LAST, &|key| key.record.and_then(last_rotation));
    text.family(&ATTENTION);
    for key in keys {
        // Several targets may be wrong in the same way.
        let reasons: BTreeSet<_> = concerns(key).iter().map(Concern::code).collect();
        for reason in reasons {
            text.sample(&ATTENTION, &[("key", key.name.as_str()), ("reason", reason)], 1.0);
        }
    }
    text.family(&KEYS);
    let mut phases: BTreeMap<PhaseName, u64> = PhaseName::ALL.iter().map(|it| (*it, 0)).collect();
    keys.iter().for_each(|it| *phases.entry(phase_name(it)).or_default() += 1);
    phases.iter().for_each(|(phase, count)| text.sample(&KEYS, &[("phase", phase.word())], number(*count)));
}

fn key_info(text: &mut Exposition, key: &Subject<'_>) {
    let (provider, kind) = key.section.map_or(("", ""), |it| (it.name.as_str(), it.kind));
    let owners = key.config.map(|it| it.owners.as_slice()).filter(|it| !it.is_empty());
    let nobody = [String::new()];
    for owner in owners.unwrap_or(&nobody) {
        let labels = [("key", key.name.as_str()), ("provider", provider), ("kind", kind), ("owner", owner)];
        text.sample(&KEY_INFO, &labels, 1.0);
    }
}

fn next_rotation(key: &Subject<'_>) -> Option<Timestamp> {
    let record = key.record?;
    if let (Some(rotation), false) = (&record.rotation, matches!(record.phase, Phase::Halted { .. })) {
        return Some(rotation.started_at);
    }
    if !matches!(record.phase, Phase::Steady | Phase::Announce { .. }) {
        return None;
    }
    forecast::first(key, record, record.current.as_ref()?).map(|it| it.at)
}

/// The record keeps only the last rotation. Where that one failed, the key in use tells when it was made.
fn last_rotation(record: &Record) -> Option<Timestamp> {
    match &record.last_rotation {
        Some(it) if it.result == Some(RotationResult::Succeeded) => it.finished_at,
        _ => record.current.as_ref().filter(|it| it.token.is_some()).map(|it| it.obtained_at),
    }
}

fn of_rotations(text: &mut Exposition, snapshot: &Snapshot) {
    let meters = &snapshot.meters;
    text.family(&ROTATIONS);
    let names = snapshot.settings.providers.keys();
    let all = names.flat_map(|name| RESULTS.map(|it| (name.clone(), [it])));
    let counts = with_zeros(&meters.rotations, all);
    for ((provider, [result]), count) in &counts {
        text.sample(&ROTATIONS, &[("provider", provider), ("result", result)], number(*count));
    }
    text.family(&PHASE_SECONDS);
    for (phase, took) in &meters.phases {
        text.histogram(&PHASE_SECONDS, &[("phase", phase)], took);
    }
    text.family(&GAP_SECONDS);
    text.histogram(&GAP_SECONDS, &[], &meters.gaps);
}

fn of_providers(text: &mut Exposition, snapshot: &Snapshot) {
    text.family(&REQUESTS);
    let names = snapshot.settings.providers.keys();
    let calls = || CALLS.into_iter().flat_map(|(call, results)| results.iter().map(move |it| [call, *it]));
    let all = names.flat_map(|name| calls().map(|it| (name.clone(), it)));
    let counts = with_zeros(&snapshot.meters.requests, all);
    for ((provider, [call, result]), count) in &counts {
        text.sample(&REQUESTS, &[("provider", provider), ("call", call), ("result", result)], number(*count));
    }
    text.family(&CREATES_LEFT);
    for section in snapshot.settings.providers.values() {
        if let Some(left) = creates_left(snapshot, section) {
            text.sample(&CREATES_LEFT, &[("provider", &section.name)], f64::from(left));
        }
    }
}

fn of_notices(text: &mut Exposition, snapshot: &Snapshot) {
    text.family(&NOTICES);
    let channels = snapshot.settings.owners.values().flat_map(|it| &it.channels).map(|it| it.notifier.kind());
    let all = channels.flat_map(|kind| NOTICE_RESULTS.map(|it| (kind.to_owned(), [it])));
    let counts = with_zeros(&snapshot.meters.notices, all);
    for ((channel, [result]), count) in &counts {
        text.sample(&NOTICES, &[("channel", channel), ("result", result)], number(*count));
    }
    gauge(text, &PENDING, number(snapshot.outbox_pending));
    gauge(text, &DEAD, number(snapshot.outbox_dead));
}

fn of_daemon(text: &mut Exposition, snapshot: &Snapshot) {
    gauge(text, &SWEEP, moment(snapshot.swept_at));
    gauge(text, &BACKUP, snapshot.backup.as_ref().and_then(|it| it.last_at).map_or(0.0, moment));
    gauge(text, &CLOCK, f64::from(u8::from(snapshot.clock_suspect)));
    text.family(&TROUBLE);
    for cause in ["channel", "clock", "disk", "machine", "reserve", "slow disk", "templates"] {
        let is_it = |it: &String| it == cause || (cause == "channel" && it.starts_with("gone:"));
        let holds = snapshot.troubles.keys().any(is_it);
        text.sample(&TROUBLE, &[("cause", cause)], f64::from(u8::from(holds)));
    }
    gauge(text, &RELOAD, f64::from(u8::from(snapshot.config_rejected.is_none())));
    text.family(&BUILD);
    text.sample(&BUILD, &[("version", env!("CARGO_PKG_VERSION"))], 1.0);
}

fn of_process(text: &mut Exposition, process: &Process, started_at: Timestamp) {
    let Process { cpu_seconds, resident_bytes, virtual_bytes, open_fds, max_fds } = *process;
    let known = [
        (&CPU, cpu_seconds),
        (&RESIDENT, resident_bytes),
        (&VIRTUAL, virtual_bytes),
        (&OPEN_FDS, open_fds),
        (&MAX_FDS, max_fds),
        (&START, Some(moment(started_at))),
    ];
    for (family, value) in known {
        if let Some(value) = value {
            gauge(text, family, value);
        }
    }
}

/// What has not happened yet is shown as 0: else its first time would not be seen as a change.
fn with_zeros<const WORDS: usize>(
    counts: &Counts<WORDS>,
    all: impl Iterator<Item = (String, [&'static str; WORDS])>,
) -> Counts<WORDS> {
    let zeros: Counts<WORDS> = all.map(|it| (it, 0)).collect();
    zeros.into_iter().chain(counts.clone()).collect()
}

fn gauge(text: &mut Exposition, family: &Family, value: f64) {
    text.family(family);
    text.sample(family, &[], value);
}

/// Seconds since the epoch; what lies before it is no moment of ours.
fn moment(at: Timestamp) -> f64 {
    seconds(u64::try_from(at.0).unwrap_or(0))
}
