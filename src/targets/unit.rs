//! The names of systemd's units.
use serde::Deserialize;

/// The most bytes that systemd takes for a name.
const NAME_BYTES: usize = 255;
/// The units that run something, and so can have a credential.
const RUNNING: [&str; 4] = [".service", ".socket", ".mount", ".swap"];

/// The other kinds of units.
const OTHER: [&str; 7] = [".target", ".timer", ".path", ".slice", ".scope", ".device", ".automount"];

/// The name of a unit. It can't be taken for an option, nor for a pattern of several units.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd)]
#[serde(try_from = "String")]
pub(super) struct Unit(pub(super) String);

impl TryFrom<String> for Unit {
    type Error = String;
    fn try_from(name: String) -> Result<Self, String> {
        let known = |it: char| it.is_ascii_alphanumeric() || ":-_.\\@".contains(it);
        if name.is_empty() || name.len() > NAME_BYTES || name.starts_with('-') || !name.chars().all(known) {
            return Err(format!("{name:?} is not the name of a unit, such as billing.service"));
        }
        Ok(Self(name))
    }
}

impl Unit {
    /// Whether it is a template, which stands for all its instances but is itself no unit that runs.
    pub(super) fn is_template(&self) -> bool {
        self.0.contains("@.")
    }

    /// Whether a unit of its kind runs something, and the name is the whole one.
    pub(super) fn runs(&self) -> bool {
        self.ends_as(&RUNNING)
    }

    /// Whether it says of which kind it is. systemctl takes `shop` for `shop.service`, but polkit is asked about the latter,
    /// and so a rule for the former allows nothing.
    pub(super) fn is_whole(&self) -> bool {
        self.runs() || self.ends_as(&OTHER)
    }

    fn ends_as(&self, kinds: &[&str]) -> bool {
        kinds.iter().any(|it| self.0.len() > it.len() && self.0.ends_with(it))
    }
}
