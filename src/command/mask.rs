//! Takes a secret out of what others say.
use crate::secret::Secret;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use std::collections::HashSet;
use zeroize::Zeroizing;

/// So many bytes in a row that also stand in the secret, in this order, are taken for a piece of it.
pub(super) const RUN: usize = 8;
/// A secret that is longer than this, in bytes, would be too much work to look for: then nothing is told.
const SEARCHED_BYTES: usize = 16 * 1024;
/// An encoded form that is shorter than this would hide half of any text.
const FORM_BYTES: usize = 4;

/// The text from `start` on, with every piece of the secrets (raw, base64, hex) replaced where there is one, and without control characters
/// other than line ends, so that it can be logged and shown. What stands before `start` only helps to recognise pieces.
pub(super) fn mask(text: &[u8], start: usize, secrets: &[&Secret]) -> String {
    if secrets.iter().any(|it| it.expose().len() > SEARCHED_BYTES) {
        return if text.is_empty() { String::new() } else { "(not shown: the secret is too long to be masked)".into() };
    }
    let mut hidden = vec![false; text.len()];
    for form in secrets.iter().flat_map(|it| forms(it)) {
        hide(text, &form, &mut hidden);
    }
    let mut shown = Vec::new();
    for at in start..text.len() {
        match hidden[at] {
            false => shown.push(text[at]),
            true if at == start || !hidden[at - 1] => shown.extend_from_slice(b"[secret]"),
            true => {}
        }
    }
    let printable = |it: char| if it.is_control() && it != '\n' { ' ' } else { it };
    String::from_utf8_lossy(&shown).chars().map(printable).collect()
}

fn hide(text: &[u8], form: &[u8], hidden: &mut [bool]) {
    let run = form.len().min(RUN);
    if run == 0 {
        return;
    }
    let pieces: HashSet<&[u8]> = form.windows(run).collect();
    for (at, window) in text.windows(run).enumerate() {
        if pieces.contains(window) {
            hidden[at..at + run].fill(true);
        }
    }
}

/// The ways in which a secret is likely to be said.
fn forms(secret: &Secret) -> Vec<Zeroizing<Vec<u8>>> {
    let raw = secret.expose();
    let hex: String = raw.iter().map(|it| format!("{it:02x}")).collect();
    let mut forms = vec![hex.to_uppercase(), hex];
    for shift in 0..3 {
        forms.push(inner_base64(&STANDARD_NO_PAD, raw, shift));
        forms.push(inner_base64(&URL_SAFE_NO_PAD, raw, shift));
    }
    forms.retain(|it| it.len() >= FORM_BYTES);
    let forms = forms.into_iter().map(|it| Zeroizing::new(it.into_bytes()));
    forms.chain([Zeroizing::new(raw.to_vec())]).collect()
}

/// What the secret becomes in the base64 of a longer text, such as `user:secret`, where so many bytes modulo 3 stand
/// before it: only the characters that depend on nothing but the secret.
fn inner_base64(engine: &impl Engine, raw: &[u8], shift: usize) -> String {
    let padded = Zeroizing::new([&[0; 3][..shift], raw].concat());
    let text = engine.encode(&*padded);
    let first = (shift * 8).div_ceil(6);
    let last = padded.len() * 8 / 6;
    text.get(first..last).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(text: &str, secret: &str) -> String {
        mask(text.as_bytes(), 0, &[&Secret::from(secret.to_owned())])
    }

    #[test]
    fn a_secret_is_masked_however_it_is_said() {
        let secret = "correct-horse-battery";
        assert_eq!(masked("key correct-horse-battery!", secret), "key [secret]!");
        for bytes in [secret.to_owned(), format!("a{secret}z"), format!("ab{secret}yz"), format!("user:{secret}")] {
            for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
                let said = masked(&format!("auth {} end", engine.encode(&bytes)), secret);
                assert!(said.contains("[secret]") && said.len() < 34, "{said}");
            }
        }
        let hex: String = secret.bytes().map(|it| format!("{it:02x}")).collect();
        assert_eq!(masked(&format!("x {hex} y"), secret), "x [secret] y");
        assert_eq!(masked(&hex.to_uppercase(), secret), "[secret]");
    }

    #[test]
    fn a_piece_of_a_secret_is_masked_even_where_the_cut_goes_through_it() {
        let secret = "correct-horse-battery";
        assert_eq!(masked("corre wrapped: correct-horse\n-battery", secret), "corre wrapped: [secret]\n[secret]");
        let text = b"........correct-horse-battery failed";
        for start in 8..29 {
            assert_eq!(mask(text, start, &[&Secret::from(secret.to_owned())]), "[secret] failed");
        }
    }

    #[test]
    fn a_short_secret_is_masked_too_and_ordinary_text_is_left_alone() {
        assert_eq!(masked("pin 1234 and 12345", "1234"), "pin [secret] and [secret]5");
        assert_eq!(masked("no such unit: billing.service", "correct-horse-battery"), "no such unit: billing.service");
        assert_eq!(masked("\u{1b}[31mred\u{7}\nü", "correct-horse-battery"), " [31mred \nü");
    }
}
