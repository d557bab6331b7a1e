//! `{{key}}` and `{{provider}}` in the texts of a key: they let one profile name a place for each key.
use super::fault::{At, Findings};
use toml::Spanned;
use toml::de::{DeString, DeValue};

/// What the words stand for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Words<'w> {
    /// `{{key}}`: the name of the key.
    pub(super) key: &'w str,
    /// `{{provider}}`: the name of its provider's section.
    pub(super) provider: &'w str,
}

impl Words<'_> {
    /// Replaces the words in every text of a value, however deep.
    pub(super) fn fill(&self, value: &mut Spanned<DeValue<'_>>, findings: &mut Findings) {
        let at = At(value.span().start);
        match value.get_mut() {
            DeValue::String(text) if text.contains("{{") => {
                let filled = self.filled(text, |what, hint| findings.fault(at, what, hint));
                *text = DeString::Owned(filled);
            }
            DeValue::Table(table) => table.iter_mut().for_each(|(_, it)| self.fill(it, findings)),
            DeValue::Array(array) => array.iter_mut().for_each(|it| self.fill(it, findings)),
            _ => {}
        }
    }

    /// What is no such word is a fault, and left out, so that nobody stumbles over its braces once more.
    fn filled(&self, text: &str, mut fault: impl FnMut(String, &'static str)) -> String {
        let mut filled = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            filled.push_str(before);
            let Some((word, behind)) = after.split_once("}}") else {
                fault("`{{` is never closed".to_owned(), "write {{key}} or {{provider}}");
                return filled + "x";
            };
            match word {
                "key" => filled.push_str(self.key),
                "provider" => filled.push_str(self.provider),
                _ => {
                    fault(
                        format!("`{{{{{word}}}}}` stands for nothing"),
                        "write {{key}} or {{provider}}, without blanks",
                    );
                    filled.push('x');
                }
            }
            rest = behind;
        }
        filled + rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_words_are_replaced_and_all_others_are_told() {
        for (text, want, faults) in [
            ("/srv/{{key}}/{{provider}}.key", "/srv/k/p.key", 0),
            ("{{key}}{{key}}", "kk", 0),
            ("{key}", "{key}", 0),
            ("{{ key }}/{{Key}}", "x/x", 2),
            ("a{{{{key}}}}", "ax}}", 1),
            ("a{{key", "ax", 1),
        ] {
            let mut found = 0;
            let filled = Words { key: "k", provider: "p" }.filled(text, |_, _| found += 1);
            assert_eq!((filled.as_str(), found), (want, faults), "{text}");
        }
    }
}
