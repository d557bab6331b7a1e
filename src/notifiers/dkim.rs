//! Signs mails with DKIM (RFC 6376; Ed25519: RFC 8463), for domains whose mail server does not.
//!
//! lettre can sign too, but with two dozen crates more, among them `rsa`, whose timing gives keys away (RUSTSEC-2023-0071).
//! `ring`, which does TLS for us already, knows both algorithms; what is left is the canonical form "relaxed".
use super::Fault;
use crate::core::time::Timestamp;
use crate::secret::SecretRef;
use crate::secret::reference::Reference;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use zeroize::Zeroize;

/// Headers that are signed, as often as they are there. Those of the second list once more: nobody can add another.
const SIGNED: [&str; 12] = [
    "from",
    "to",
    "subject",
    "date",
    "message-id",
    "in-reply-to",
    "references",
    "mime-version",
    "content-type",
    "content-transfer-encoding",
    "auto-submitted",
    "list-id",
];
const NONE_MORE: [&str; 4] = ["from", "to", "subject", "date"];
/// How much base64 stands in a line of the header.
const LINE_CHARS: usize = 72;
/// How many names stand in a line of the header.
const NAMES_A_LINE: usize = 5;
/// What a wrong key is answered with.
const REMEDY: &str = "write a private key in PEM form, RSA of 2048 bits or more or Ed25519, such as by: \
                      openssl genpkey -algorithm rsa -pkeyopt rsa_keygen_bits:2048";

/// `dkim` in `[smtp]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dkim {
    /// Under which name the public key stands in the DNS: `selector._domainkey.domain`.
    selector: String,
    /// For which domain; that of the sender if none is named.
    domain: Option<String>,
    /// The private key.
    key: Reference,
}

/// A private key that can sign.
enum Key {
    Rsa(RsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl Dkim {
    /// Looks whether it can speak for a sender.
    ///
    /// # Errors
    /// A sentence for people: a name that the DNS can't hold, or a domain that receivers would not take for the sender's.
    pub(super) fn fits(&self, sender: &str) -> Result<(), String> {
        for (field, name) in [("selector", Some(&self.selector)), ("domain", self.domain.as_ref())] {
            if let Some(name) = name.filter(|it| !is_domain_name(it)) {
                return Err(format!(
                    "dkim.{field} {name:?} is no name of the DNS; write it in ASCII, such as \"mail\""
                ));
            }
        }
        let Some(domain) = &self.domain else { return Ok(()) };
        let under = sender.to_ascii_lowercase();
        let above = domain.to_ascii_lowercase();
        if under == above || under.strip_suffix(&above).is_some_and(|it| it.ends_with('.')) {
            return Ok(());
        }
        Err(format!("dkim.domain {domain} is neither {sender}, which `from` is of, nor above it; write one of these"))
    }

    /// Looks whether the key is there and sound.
    ///
    /// # Errors
    /// Why not; never shows it.
    pub(super) fn check(&self) -> Result<(), Fault> {
        key(&self.key.0).map(drop)
    }

    /// A mail with its signature before it. `now` is when it was signed. The key is read now, so this blocks.
    ///
    /// # Errors
    /// As [`Dkim::check`].
    pub(super) fn sign(&self, sender: &str, mail: &[u8], now: Timestamp) -> Result<Vec<u8>, Fault> {
        let key = key(&self.key.0)?;
        let (headers, body) = halves(mail);
        let headers = fields(&headers);
        let domain = self.domain.as_deref().unwrap_or(sender);
        let names: Vec<&str> = named(&headers);
        let body_hash = STANDARD.encode(Sha256::digest(relaxed_body(body)));
        let unsigned = format!(
            "DKIM-Signature: v=1; a={}; c=relaxed/relaxed; d={domain};\r\n\ts={}; t={};\r\n\th={};\r\n\tbh={body_hash};\r\n\tb=",
            key.algorithm(),
            self.selector,
            now.0.div_euclid(1000),
            names.chunks(NAMES_A_LINE).map(|it| it.join(":")).collect::<Vec<_>>().join(":\r\n\t "),
        );
        let mut signed = chosen(&headers, &names);
        signed.push_str(relaxed_header(&unsigned).trim_end());
        let signature = folded(&STANDARD.encode(key.sign(signed.as_bytes())?));
        let mut out = format!("{unsigned}{signature}\r\n").into_bytes();
        out.extend_from_slice(mail);
        Ok(out)
    }
}

impl Key {
    fn algorithm(&self) -> &'static str {
        match self {
            Self::Rsa(_) => "rsa-sha256",
            Self::Ed25519(_) => "ed25519-sha256",
        }
    }

    fn sign(&self, text: &[u8]) -> Result<Vec<u8>, Fault> {
        match self {
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public().modulus_len()];
                let done = key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text, &mut signature);
                done.map_err(|_| Fault::Wrong("dkim.key can't sign".into()))?;
                Ok(signature)
            }
            Self::Ed25519(key) => Ok(key.sign(&Sha256::digest(text)).as_ref().to_vec()),
        }
    }
}

fn key(place: &SecretRef) -> Result<Key, Fault> {
    let secret = place.resolve()?;
    let wrong = || Fault::Wrong(format!("dkim.key ({place}) is no key that can sign; {REMEDY}"));
    let mut der = PrivateKeyDer::from_pem_slice(secret.expose()).map_err(|_| wrong())?;
    let key = match &der {
        PrivateKeyDer::Pkcs1(it) => RsaKeyPair::from_der(it.secret_pkcs1_der()).map(Key::Rsa).ok(),
        PrivateKeyDer::Pkcs8(it) => {
            let der = it.secret_pkcs8_der();
            let ed25519 = |_| Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).map(Key::Ed25519);
            RsaKeyPair::from_pkcs8(der).map(Key::Rsa).or_else(ed25519).ok()
        }
        _ => None,
    };
    der.zeroize();
    key.ok_or_else(wrong)
}

fn is_domain_name(text: &str) -> bool {
    let label = |it: &str| {
        let fits = |it: u8| it.is_ascii_alphanumeric() || it == b'-' || it == b'_';
        (1..=63).contains(&it.len()) && it.bytes().all(fits)
    };
    text.len() <= 253 && text.split('.').all(label)
}

/// The headers and the body. What we write has both.
fn halves(mail: &[u8]) -> (String, &[u8]) {
    let end = mail.windows(4).position(|it| it == b"\r\n\r\n").map_or(mail.len(), |it| it + 2);
    let body = mail.get(end + 2..).unwrap_or_default();
    (String::from_utf8_lossy(&mail[..end]).into_owned(), body)
}

/// Each header with its name in lower case, and whole: its further lines begin with a blank.
fn fields(headers: &str) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    for line in headers.split_inclusive("\r\n") {
        match found.last_mut() {
            Some((_, field)) if line.starts_with([' ', '\t']) => field.push_str(line),
            _ => {
                let name = line.split(':').next().unwrap_or_default().trim().to_ascii_lowercase();
                found.push((name, line.to_owned()));
            }
        }
    }
    found
}

/// The names of those that are signed; the receiver takes the last of its name first, and nothing where there is none.
fn named<'h>(headers: &'h [(String, String)]) -> Vec<&'h str> {
    let there = |name: &'h &str| headers.iter().filter(|(it, _)| it == name).count();
    let mut names: Vec<&str> = SIGNED.iter().flat_map(|it| std::iter::repeat_n(*it, there(it))).collect();
    names.extend(NONE_MORE);
    names
}

/// Those headers in their canonical form, as the receiver will find them.
fn chosen(headers: &[(String, String)], names: &[&str]) -> String {
    let mut out = String::new();
    let mut left: Vec<&(String, String)> = headers.iter().collect();
    for name in names {
        if let Some(at) = left.iter().rposition(|(it, _)| it == name) {
            out.push_str(&relaxed_header(&left.remove(at).1));
        }
    }
    out
}

/// RFC 6376, 3.4.2: the name in lower case, the lines as one, every run of blanks as one, none at the ends.
fn relaxed_header(field: &str) -> String {
    let (name, value) = field.split_once(':').unwrap_or((field, ""));
    let value: Vec<&str> = value.split([' ', '\t', '\r', '\n']).filter(|it| !it.is_empty()).collect();
    format!("{}:{}\r\n", name.trim().to_ascii_lowercase(), value.join(" "))
}

/// RFC 6376, 3.4.4: every run of blanks in a line as one, none at its end, and no empty lines at the end of all.
fn relaxed_body(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len());
    for line in body.split_inclusive(|it| *it == b'\n') {
        let line = line.strip_suffix(b"\r\n").unwrap_or(line);
        let mut blank = false;
        for byte in line {
            if matches!(byte, b' ' | b'\t') {
                blank = true;
                continue;
            }
            if std::mem::take(&mut blank) {
                out.push(b' ');
            }
            out.push(*byte);
        }
        out.extend_from_slice(b"\r\n");
    }
    while out.ends_with(b"\r\n\r\n") {
        out.truncate(out.len() - 2);
    }
    if out == b"\r\n" { Vec::new() } else { out }
}

/// Broken into lines, as a header must be.
fn folded(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (line, more) = rest.split_at(rest.len().min(LINE_CHARS));
        if !out.is_empty() {
            out.push_str("\r\n\t");
        }
        out.push_str(line);
        rest = more;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_canonical_form_is_that_of_the_examples_in_the_specification() {
        // RFC 6376, 3.4.5.
        assert_eq!(relaxed_header("A: X\r\n"), "a:X\r\n");
        assert_eq!(relaxed_header("B : Y\t\r\n\tZ  \r\n"), "b:Y Z\r\n");
        assert_eq!(relaxed_body(b" C \r\nD \t E\r\n\r\n\r\n"), b" C\r\nD E\r\n");
        assert_eq!(relaxed_body(b"\r\n\r\n"), b"");
        assert_eq!(relaxed_body(b""), b"");
        assert_eq!(relaxed_body(b"no end"), b"no end\r\n");
    }

    #[test]
    fn a_header_that_somebody_adds_breaks_the_signature() {
        let headers = fields("From: a\r\nTo: b,\r\n c\r\nX: d\r\n");
        assert_eq!(named(&headers), ["from", "to", "from", "to", "subject", "date"]);
        assert_eq!(chosen(&headers, &named(&headers)), "from:a\r\nto:b, c\r\n");
        let more = fields("From: evil\r\nFrom: a\r\nTo: b,\r\n c\r\n");
        assert_eq!(chosen(&more, &named(&headers)), "from:a\r\nto:b, c\r\nfrom:evil\r\n");
    }

    #[test]
    fn it_speaks_for_the_domain_of_the_sender_or_one_above_it() {
        let dkim = |selector: &str, domain: &str| {
            toml::from_str::<Dkim>(&format!("selector = {selector:?}\ndomain = {domain:?}\nkey = {{ env = \"K\" }}"))
                .unwrap()
        };
        for domain in ["mail.example.com", "Example.com"] {
            dkim("s1", domain).fits("mail.example.com").unwrap();
        }
        for (selector, domain, wanted) in [
            ("s1", "other.example.com", "neither"),
            ("s1", "ample.com", "neither"),
            ("s 1", "example.com", "selector"),
            ("", "example.com", "selector"),
            ("s1", "exämple.com", "domain"),
        ] {
            let why = dkim(selector, domain).fits("mail.example.com").unwrap_err();
            assert!(why.contains(wanted), "{why}");
        }
    }
}
