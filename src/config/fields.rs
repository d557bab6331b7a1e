//! The fields of each section with their defaults, as a config would say them: for those who want to see the whole of it.
//! That they are the true ones is held by a test: with all of them written out, a config means what it meant without.

/// The fields of a section in the order of `docs/config.md`; behind each what holds where it isn't written, in TOML, and
/// nothing where nothing does.
pub(super) type Fields = &'static [(&'static str, &'static str)];

pub(super) const DAEMON: Fields = &[
    ("master_key", ""),
    ("owners", ""),
    ("operators", ""),
    ("state_dir", ""),
    ("control_socket", ""),
    ("credential_socket", ""),
    ("listen", ""),
    ("timezone", r#""UTC""#),
    ("max_removals", r#""10%""#),
    ("history_for", r#""400d""#),
    ("reserve", r#""16MiB""#),
    ("sweep", r#""0 */5 * * * *""#),
    ("max_concurrent_rotations", "64"),
];

pub(super) const SMTP: Fields = &[
    ("host", ""),
    ("port", "587"),
    ("security", r#""starttls""#),
    ("from", ""),
    ("username", ""),
    ("password", ""),
    ("ca_file", ""),
    ("dkim", ""),
    ("templates", ""),
    ("allow_plaintext", "false"),
];

const DKIM: Fields = &[("selector", ""), ("key", ""), ("domain", "")];

pub(super) const BACKUP: Fields = &[("schedule", r#""0 0 3 * * *""#), ("keep", "14"), ("dir", "")];

pub(super) const OWNER: Fields = &[
    ("email", ""),
    ("notify_before", r#"["14d", "7d", "3d", "1d"]"#),
    ("digest", ""),
    ("group_within", r#""5m""#),
    ("escalate_to", ""),
    ("escalate_before", r#""1d""#),
    ("timezone", ""),
];

const WEBHOOK: Fields = &[
    ("url", ""),
    ("secret", ""),
    ("format", r#""standard""#),
    ("min_severity", r#""info""#),
    ("allow_private", "true"),
];

const EXEC_CHANNEL: Fields = &[("command", ""), ("timeout", r#""30s""#), ("min_severity", r#""info""#)];

pub(super) const WINDOW: Fields = &[("open", ""), ("duration", ""), ("timezone", "")];

pub(super) const FREEZE: Fields = &[("from", ""), ("to", ""), ("keys", r#""all""#), ("timezone", "")];

pub(super) const PROVIDER: Fields = &[
    ("kind", ""),
    ("account", ""),
    ("creates_per_day", "20"),
    ("accept_within", r#""10m""#),
    ("settle", r#""30s""#),
    ("watch", r#""7d""#),
    ("owners", ""),
];

const INFOBIP: Fields = &[
    ("base_url", r#""https://api.infobip.com""#),
    ("username", ""),
    ("password", ""),
    ("account_key", r#""_""#),
    ("format", r#""json""#),
    ("probe", r#""/account/1/balance""#),
    ("api", "1"),
];

const INFOBIP_2FA: Fields =
    &[("base_url", r#""https://api.infobip.com""#), ("username", ""), ("password", ""), ("probe", r#""none""#)];

const MOBIVATE: Fields = &[
    ("base_url", r#""https://api.mobivatebulksms.com""#),
    ("username", ""),
    ("password", ""),
    ("probe", r#""/auth/test""#),
];

const SINGLE_INVOICE: Fields = &[
    ("base_url", r#""https://api.single-invoice.co/v2.0""#),
    ("apikey", ""),
    ("list", r#""none""#),
    ("probe", r#""none""#),
];

// To write `attempts_in_window` is to insist on it, so that its default is left unwritten.
pub(super) const KEY: Fields = &[
    ("provider", ""),
    ("owners", ""),
    ("initial", r#""adopt""#),
    ("rotate_before", r#""33%""#),
    ("valid_for", ""),
    ("max_age", ""),
    ("overlap", r#""3d""#),
    ("windows", ""),
    ("freezes", ""),
    ("attempts_in_window", ""),
    ("announce", r#""2d""#),
    ("outside_window", r#""if-expiring""#),
    ("together", ""),
    ("on_ambiguous", r#""halt""#),
    ("on_drift", r#""adopt""#),
    ("ack_timeout", r#""7d""#),
    ("stuck_after", r#""1h""#),
    ("probe_every", r#""1d""#),
    ("create", ""),
];

const FILE: Fields = &[
    ("kind", ""),
    ("path", ""),
    ("mode", r#""0640""#),
    ("owner", ""),
    ("group", ""),
    ("format", r#""raw""#),
    ("variable", ""),
    ("template", ""),
    ("then", ""),
    ("confirm", ""),
];

const EXEC: Fields = &[("kind", ""), ("command", ""), ("timeout", r#""30s""#), ("confirm", "")];

const KEY_WEBHOOK: Fields =
    &[("kind", ""), ("url", ""), ("secret", ""), ("encrypt_to", ""), ("allow_private", "true"), ("confirm", "")];

const CREDENTIAL: Fields = &[("kind", ""), ("name", ""), ("units", ""), ("then", "")];

const HOOK: Fields = &[("restart", ""), ("reload", ""), ("command", ""), ("timeout", r#""2m""#)];

/// Those of a kind of provider, beside what all share.
pub(super) fn of_provider(kind: &str) -> Fields {
    match kind {
        "infobip" => INFOBIP,
        "infobip-2fa" => INFOBIP_2FA,
        "mobivate" => MOBIVATE,
        "single-invoice" => SINGLE_INVOICE,
        "manual" => &[("instructions", "")],
        _ => &[],
    }
}

/// Those of an element of a list, by the name of the list and the element's kind.
pub(super) fn of_element(list: &str, kind: &str) -> Fields {
    match (list, kind) {
        ("webhook", _) => WEBHOOK,
        ("exec", _) => EXEC_CHANNEL,
        ("deliver", "file") => FILE,
        ("deliver", "exec") => EXEC,
        ("deliver", "webhook") => KEY_WEBHOOK,
        ("deliver", "credential") => CREDENTIAL,
        _ => &[],
    }
}

/// Those of a table in a section.
pub(super) fn of_table(name: &str) -> Fields {
    match name {
        "then" | "confirm" => HOOK,
        "dkim" => DKIM,
        _ => &[],
    }
}
