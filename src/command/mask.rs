//! Takes secrets out of what others say.
use crate::secret::Secret;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use zeroize::Zeroizing;

/// So many bytes in a row that also stand in the secret, in this order, are taken for a piece of it.
pub(super) const RUN: usize = 8;
/// An encoded form that is shorter than this would hide half of any text.
const FORM_BYTES: usize = 4;
/// What is told where it can't be known what must be hidden.
const WITHHELD: &str = "(not shown: the secrets that must not be in it can't be read)";

/// A text whose secrets can't be found within this, its turn included, is withheld: a secret may lie on a mount that hangs, and
/// what comes of a command must not wait for it.
const MASKED_WITHIN: Duration = Duration::from_secs(30);

/// All secrets that must not be told, whoever says them. They are looked up only when there is something to tell, for they may
/// be many.
#[derive(Clone, Default)]
pub struct Veil(Option<Arc<Lookup>>);

/// Shows each secret. May block.
type Lookup = dyn Fn(&mut dyn FnMut(&Secret)) -> Result<(), Unknown> + Send + Sync;

/// Nobody can say which secrets there are: then nothing is told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Unknown;

impl Veil {
    /// Hides what `lookup` shows. It is called on a thread that may wait for a disk.
    pub fn new(lookup: impl Fn(&mut dyn FnMut(&Secret)) -> Result<(), Unknown> + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(lookup)))
    }
}

impl fmt::Debug for Veil {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Veil")
    }
}

/// The text from `start` on without the secrets of its own and those behind the veil, see [`Mask`]. One text at a time: with a
/// large fleet each costs tenths of a second of a processor.
pub(super) async fn told(text: Vec<u8>, start: usize, own: Vec<Secret>, veil: Veil) -> String {
    static TURN: Semaphore = Semaphore::const_new(1);
    told_within(MASKED_WITHIN, &TURN, (text, start), own, veil).await
}

/// The turn lasts until the last secret is read, also where nobody waits for it any more: a disk that hangs holds one thread, and
/// not one for each text.
async fn told_within(
    limit: Duration,
    turn: &'static Semaphore,
    (text, start): (Vec<u8>, usize),
    own: Vec<Secret>,
    veil: Veil,
) -> String {
    if text.is_empty() {
        return String::new();
    }
    let mask = move || {
        let mut mask = Mask::over(&text);
        own.iter().for_each(|it| mask.hide(it));
        let known = veil.0.is_none_or(|lookup| lookup(&mut |it| mask.hide(it)).is_ok());
        if known { mask.shown(start) } else { WITHHELD.to_owned() }
    };
    let masked = async {
        let turn = turn.acquire().await.ok()?;
        let masked = spawn_blocking(move || {
            let _turn = turn;
            mask()
        });
        masked.await.ok()
    };
    timeout(limit, masked).await.ok().flatten().unwrap_or_else(|| WITHHELD.to_owned())
}

/// A text, and which of its bytes must not be seen.
struct Mask<'t> {
    text: &'t [u8],
    hidden: Vec<bool>,
    /// Where each run of bytes stands in the text: so it is the text that is searched for pieces of a secret, and each further
    /// secret costs only its own length.
    runs: HashMap<&'t [u8], Vec<usize>>,
}

impl<'t> Mask<'t> {
    fn over(text: &'t [u8]) -> Self {
        let mut runs: HashMap<&[u8], Vec<usize>> = HashMap::new();
        text.windows(RUN).enumerate().for_each(|(at, run)| runs.entry(run).or_default().push(at));
        Self { text, hidden: vec![false; text.len()], runs }
    }

    /// Hides every piece of a secret, raw, in base64 and in hex.
    fn hide(&mut self, secret: &Secret) {
        for form in forms(secret) {
            if form.len() < RUN {
                self.hide_whole(&form);
                continue;
            }
            for at in form.windows(RUN).filter_map(|it| self.runs.get(it)).flatten() {
                self.hidden[*at..at + RUN].fill(true);
            }
        }
    }

    /// A secret that has no pieces is found as a whole.
    fn hide_whole(&mut self, form: &[u8]) {
        if form.is_empty() {
            return;
        }
        for (at, window) in self.text.windows(form.len()).enumerate() {
            if window == form {
                self.hidden[at..at + form.len()].fill(true);
            }
        }
    }

    /// What may be seen from `start` on, without control characters other than line ends, so that it can be logged and shown.
    /// What stands before only helps to recognise pieces.
    fn shown(&self, start: usize) -> String {
        let mut shown = Vec::new();
        for at in start..self.text.len() {
            match self.hidden[at] {
                false => shown.push(self.text[at]),
                true if at == start || !self.hidden[at - 1] => shown.extend_from_slice(b"[secret]"),
                true => {}
            }
        }
        let printable = |it: char| if it.is_control() && it != '\n' { ' ' } else { it };
        String::from_utf8_lossy(&shown).chars().map(printable).collect()
    }
}

/// The ways in which a secret is likely to be said.
fn forms(secret: &Secret) -> Vec<Zeroizing<Vec<u8>>> {
    let raw = secret.expose();
    let hex = hex(raw);
    let mut forms = vec![hex.to_uppercase(), hex];
    for shift in 0..3 {
        forms.push(inner_base64(&STANDARD_NO_PAD, raw, shift));
        forms.push(inner_base64(&URL_SAFE_NO_PAD, raw, shift));
    }
    forms.retain(|it| it.len() >= FORM_BYTES);
    let forms = forms.into_iter().map(|it| Zeroizing::new(it.into_bytes()));
    forms.chain([Zeroizing::new(raw.to_vec())]).collect()
}

fn hex(raw: &[u8]) -> String {
    let digit = |it: u8| char::from_digit(it.into(), 16).unwrap_or_default();
    raw.iter().flat_map(|it| [digit(it >> 4), digit(it & 15)]).collect()
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
        from(0, text, secret)
    }

    fn from(start: usize, text: &str, secret: &str) -> String {
        let mut mask = Mask::over(text.as_bytes());
        mask.hide(&Secret::from(secret.to_owned()));
        mask.shown(start)
    }

    fn secrets(all: &'static [&'static str]) -> Veil {
        Veil::new(|see| {
            all.iter().for_each(|it| see(&Secret::from((*it).to_owned())));
            Ok(())
        })
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
        for start in 8..29 {
            assert_eq!(from(start, "........correct-horse-battery failed", secret), "[secret] failed");
        }
    }

    #[test]
    fn a_short_secret_is_masked_too_and_ordinary_text_is_left_alone() {
        assert_eq!(masked("pin 1234 and 12345", "1234"), "pin [secret] and [secret]5");
        assert_eq!(masked("no such unit: billing.service", "correct-horse-battery"), "no such unit: billing.service");
        assert_eq!(masked("\u{1b}[31mred\u{7}\nü", "correct-horse-battery"), " [31mred \nü");
    }

    #[tokio::test]
    async fn every_secret_behind_the_veil_is_masked_beside_ones_own() {
        let own = vec![Secret::from("correct-horse-battery".to_owned())];
        let veil = secrets(&["another-key-0123456789", "hunter2"]);
        let text = b"correct-horse-battery, another-key-0123456789, hunter2 and no more".to_vec();
        assert_eq!(told(text, 0, own, veil).await, "[secret], [secret], [secret] and no more");
    }

    #[tokio::test]
    async fn nothing_is_told_where_nobody_knows_what_to_hide() {
        let text = b"correct-horse-battery".to_vec();
        assert_eq!(told(text, 0, Vec::new(), Veil::new(|_| Err(Unknown))).await, WITHHELD);
        assert_eq!(told(Vec::new(), 0, Vec::new(), Veil::new(|_| Err(Unknown))).await, "", "nothing was said");
    }

    #[tokio::test]
    async fn a_secret_that_hangs_withholds_every_text_until_it_is_read_and_stops_nobody() {
        static TURN: Semaphore = Semaphore::const_new(1);
        let told = |limit, veil| told_within(limit, &TURN, (b"it says hunter2".to_vec(), 0), Vec::new(), veil);
        let (short, long) = (Duration::from_millis(10), Duration::from_secs(600));
        let (release, hung) = std::sync::mpsc::channel::<()>();
        let hung = std::sync::Mutex::new(hung);
        let hangs = Veil::new(move |_| hung.lock().unwrap().recv().map_err(|_| Unknown));
        assert_eq!(told(short, hangs).await, WITHHELD);
        assert_eq!(told(short, secrets(&["hunter2"])).await, WITHHELD, "the turn is not given away yet");
        drop(release);
        assert_eq!(told(long, secrets(&["hunter2"])).await, "it says [secret]");
    }
}
