//! Looks for secrets in whatever was collected, in every form in which one could slip out: as it is, encoded, escaped.
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write;

/// How many bytes of a form it is looked up by; no form is shorter.
const START: usize = 8;
/// The shortest secret of which a half is looked for too: half of a shorter one would be found by accident.
const HALVED: usize = 32;

/// What is looked for.
pub struct Needles {
    forms: Vec<(Vec<u8>, String)>,
    by_start: HashMap<[u8; START], Vec<usize>>,
    /// Whether any form begins with these two bytes: most places are left with one look.
    begins: Vec<bool>,
}

impl Default for Needles {
    fn default() -> Self {
        Self { forms: Vec::new(), by_start: HashMap::new(), begins: vec![false; 1 << 16] }
    }
}

impl Needles {
    /// Looks for this from now on.
    pub fn add(&mut self, name: &str, secret: &[u8]) {
        for (form, bytes) in forms(secret) {
            let start = *bytes.first_chunk().unwrap_or_else(|| panic!("{name}, {form}: too short to be looked for"));
            self.begins[pair(&start)] = true;
            self.by_start.entry(start).or_default().push(self.forms.len());
            self.forms.push((bytes, format!("{name}, {form}")));
        }
    }

    /// What of it is in there, and in which form.
    pub fn find(&self, hay: &[u8]) -> BTreeSet<&str> {
        let mut found = BTreeSet::new();
        for (at, start) in hay.windows(START).enumerate().filter(|it| self.begins[pair(it.1)]) {
            for nth in self.by_start.get(start).into_iter().flatten() {
                let (bytes, what) = &self.forms[*nth];
                if hay[at..].starts_with(bytes) {
                    found.insert(what.as_str());
                }
            }
        }
        found
    }
}

fn pair(start: &[u8]) -> usize {
    usize::from(start[0]) << 8 | usize::from(start[1])
}

/// Every form of a secret, each once, with its name.
fn forms(secret: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut forms: BTreeMap<Vec<u8>, String> = BTreeMap::new();
    let mut add = |name: &str, bytes: Vec<u8>| {
        forms.entry(bytes).or_insert_with(|| name.to_owned());
    };
    add("as it is", secret.to_vec());
    if secret.len() >= HALVED {
        add("its second half", secret[secret.len() / 2..].to_vec());
    }
    let spelled = |spell: fn(u8) -> String| secret.iter().map(|it| spell(*it)).collect::<String>().into_bytes();
    add("hex", spelled(|it| format!("{it:02x}")));
    add("HEX", spelled(|it| format!("{it:02X}")));
    add("a list of bytes", spelled(|it| format!("{it}, ")));
    add("percent-escaped", spelled(|it| percent(it, |it| format!("%{it:02x}"))));
    add("PERCENT-escaped", spelled(|it| percent(it, |it| format!("%{it:02X}"))));
    add("as a form", spelled(|it| if it == b' ' { "+".into() } else { percent(it, |it| format!("%{it:02X}")) }));
    for offset in 0..3 {
        add(&format!("base64 after {offset}"), base64(&STANDARD_NO_PAD, secret, offset));
        add(&format!("base64url after {offset}"), base64(&URL_SAFE_NO_PAD, secret, offset));
    }
    if let Ok(text) = std::str::from_utf8(secret) {
        let json = serde_json::to_string(text).unwrap();
        let json = &json[1..json.len() - 1];
        add("JSON-escaped", json.into());
        add("JSON-escaped with slashes", json.replace('/', "\\/").into());
        add("JSON-escaped to ASCII", ascii(json, |it| format!("\\u{it:04x}")).into());
        add("JSON-escaped to upper ASCII", ascii(json, |it| format!("\\u{it:04X}")).into());
        add("debug-escaped", text.escape_debug().to_string().into());
        let html = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        add("XML-escaped", html.replace('"', "&quot;").into());
        add("HTML-escaped", html.replace('"', "&#34;").replace('/', "&#x2f;").into());
        add("HTML-escaped with quotes", html.replace('"', "&quot;").replace('/', "&#x2f;").into());
    }
    forms.into_iter().map(|(bytes, name)| (name, bytes)).collect()
}

fn percent(byte: u8, escape: fn(u8) -> String) -> String {
    let plain = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    if plain { char::from(byte).to_string() } else { escape(byte) }
}

fn ascii(text: &str, escape: fn(u16) -> String) -> String {
    let mut out = String::new();
    for it in text.chars() {
        if it.is_ascii() {
            out.push(it);
        } else {
            it.encode_utf16(&mut [0; 2]).iter().for_each(|it| out.push_str(&escape(*it)));
        }
    }
    out
}

/// The characters of base64 that only depend on the secret, where so many bytes (modulo 3) stand before it.
fn base64(alphabet: &impl Engine, secret: &[u8], offset: usize) -> Vec<u8> {
    let encoded = alphabet.encode([&vec![0; offset], secret].concat());
    let (first, end) = ((8 * offset).div_ceil(6), 8 * (offset + secret.len()) / 6);
    encoded.as_bytes()[first..end].to_vec()
}

/// A mail as it came, followed by what its encodings hide: quoted-printable and base64, in the body and in headers.
pub fn decoded(mail: &str) -> Vec<u8> {
    let mut out = mail.as_bytes().to_vec();
    out.extend(quoted_printable(mail.as_bytes()));
    for word in mail.split("=?").skip(1) {
        let mut parts = word.splitn(4, '?').skip(1);
        match (parts.next().unwrap_or(""), parts.next().unwrap_or("")) {
            ("b" | "B", text) => out.extend(STANDARD_NO_PAD.decode(text.trim_end_matches('=')).unwrap_or_default()),
            (_, text) => out.extend(quoted_printable(text.as_bytes())),
        }
    }
    let is_base64 = |it: &str| it.len() >= 4 && it.bytes().all(|it| it.is_ascii_alphanumeric() || b"+/=".contains(&it));
    let lines: Vec<_> = mail.lines().map(str::trim_end).collect();
    for run in lines.split(|it| !is_base64(it)) {
        out.extend(STANDARD.decode(run.concat()).unwrap_or_default());
    }
    out
}

fn quoted_printable(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text;
    while let [first, after @ ..] = rest {
        let code = after.get(..2).and_then(|it| std::str::from_utf8(it).ok());
        let byte = code.and_then(|it| u8::from_str_radix(it, 16).ok());
        (rest, _) = match (first, byte) {
            (b'=', Some(byte)) => (&after[2..], out.push(byte)),
            (b'=', None) if code == Some("\r\n") => (&after[2..], ()),
            _ => (after, out.push(*first)),
        };
    }
    out
}

const CANARY: &str = "c4n\"ary/ün+<d> &f~l1es%2F-0ver-it";

fn finds(hay: impl AsRef<[u8]>, want: &str) {
    let mut needles = Needles::default();
    needles.add("another", b"somebody-else-s-secret");
    needles.add("canary", CANARY.as_bytes());
    let hay = [b"before ", hay.as_ref(), b" after"].concat();
    let found = needles.find(&hay);
    assert!(
        found.contains(format!("canary, {want}").as_str()),
        "{want}: {found:?} in {}",
        String::from_utf8_lossy(&hay)
    );
    assert!(found.iter().all(|it| it.starts_with("canary")), "{found:?}");
}

#[test]
fn a_secret_is_found_in_every_form() {
    // Written by other means than those that look for it, or by hand.
    let hex: String = CANARY.bytes().fold(String::new(), |mut out, it| {
        let _ = write!(out, "{:x}{:x}", it >> 4, it & 15);
        out
    });
    finds(CANARY, "as it is");
    finds(&CANARY[17..], "its second half");
    finds(&hex, "hex");
    finds(hex.to_uppercase(), "HEX");
    finds(format!("{:?}", CANARY.as_bytes()).replace(']', ", "), "a list of bytes");
    finds(r#"c4n\"ary/ün+<d> &f~l1es%2F-0ver-it"#, "JSON-escaped");
    finds(r#"c4n\"ary\/ün+<d> &f~l1es%2F-0ver-it"#, "JSON-escaped with slashes");
    finds(r#"c4n\"ary/\u00fcn+<d> &f~l1es%2F-0ver-it"#, "JSON-escaped to ASCII");
    finds(r#"c4n\"ary/\u00FCn+<d> &f~l1es%2F-0ver-it"#, "JSON-escaped to upper ASCII");
    finds("c4n%22ary%2F%C3%BCn%2B%3Cd%3E%20%26f~l1es%252F-0ver-it", "PERCENT-escaped");
    finds("c4n%22ary%2f%c3%bcn%2b%3cd%3e%20%26f~l1es%252F-0ver-it", "percent-escaped");
    finds("c4n%22ary%2F%C3%BCn%2B%3Cd%3E+%26f~l1es%252F-0ver-it", "as a form");
    finds("c4n&quot;ary/ün+&lt;d&gt; &amp;f~l1es%2F-0ver-it", "XML-escaped");
    finds("c4n&#34;ary&#x2f;ün+&lt;d&gt; &amp;f~l1es%2F-0ver-it", "HTML-escaped");
}

#[test]
fn a_secret_is_found_in_base64_wherever_it_stands() {
    for (before, want) in [("", 0), ("a", 1), ("ab", 2), ("abc", 0), ("user:", 2)] {
        for after in ["", "x", "yz"] {
            let text = format!("{before}{CANARY}{after}");
            finds(STANDARD.encode(&text), &format!("base64 after {want}"));
        }
    }
    // Of bytes whose base64 differs between the two alphabets.
    let mut needles = Needles::default();
    needles.add("canary", &[0xff; 12]);
    assert!(needles.find(b"________________").contains("canary, base64url after 0"));
    assert!(needles.find(b"////////////////").contains("canary, base64 after 0"));
}

#[test]
fn a_secret_is_found_in_a_mail_however_it_is_encoded() {
    let quoted = "c4n\"ary/=C3=BCn+<d> =\r\n&f~l1es=252F-0ver-it";
    let base64 = STANDARD.encode(CANARY);
    let (one, two) = base64.split_at(20);
    for mail in [
        format!("Subject: a\r\n\r\n{quoted}\r\n"),
        format!("Subject: a\r\n\r\n{one}\r\n{two}\r\n\r\n--end"),
        format!("Subject: =?utf-8?b?{base64}?=\r\n\r\n"),
        format!("Subject: =?UTF-8?Q?{}?=\r\n\r\n", quoted.replace("=\r\n", "")),
    ] {
        finds(decoded(&mail), "as it is");
    }
}
