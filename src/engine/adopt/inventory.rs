//! Finding a key that is in use among those that the provider shows: by the key itself where keys are shown, by its id where
//! they are hidden.
use crate::core::names::{Fingerprint, KeyName};
use crate::providers::{Issued, Listing, token_in};

/// How many keys are named to choose from.
const NAMED: usize = 10;

/// What a provider tells of a key.
#[derive(Debug)]
pub(super) enum Told {
    /// It shows it.
    Found(Box<Issued>),
    /// It shows all keys of the account, and this is none of them.
    Absent,
    /// Nothing, and why.
    Unsaid(String),
}

impl Told {
    /// The provider's handle for the key.
    pub(super) fn id(&self) -> Option<String> {
        match self {
            Self::Found(key) => key.id.clone().filter(|it| !it.is_empty()),
            Self::Absent | Self::Unsaid(_) => None,
        }
    }
}

/// Looks for the key called `name` by its fingerprint, or by the id that the operator gives.
///
/// # Errors
/// Where the id is another key's, or one is needed.
pub(super) fn look_up(
    listing: &Listing,
    wanted: &Fingerprint,
    id: Option<&str>,
    name: &KeyName,
) -> Result<Told, String> {
    if let Some(key) = listing.keys.iter().find(|it| fingerprint(it).as_ref() == Some(wanted)) {
        return match id.filter(|id| !has_id(key, id)) {
            Some(id) => Err(format!("{id} is another key's id; this one has {}", key.id.as_deref().unwrap_or("none"))),
            None => Ok(Told::Found(Box::new(key.clone()))),
        };
    }
    let hidden: Vec<&Issued> = listing.keys.iter().filter(|it| it.secret.is_none()).collect();
    if let Some(id) = id {
        return match listing.keys.iter().find(|it| has_id(it, id)) {
            Some(key) if key.secret.is_none() => Ok(Told::Found(Box::new(key.clone()))),
            Some(_) => Err(format!("{id} is another key's id")),
            None if listing.truncated => Ok(Told::Unsaid("its list is cut short".to_owned())),
            None => Err(format!("the provider has no enabled key with the id {id}")),
        };
    }
    let choose = || format!("it does not show its keys; name this one with --id: {}", named(&hidden));
    // A key with a token of ours is revoked where nobody knows that it is in use.
    let ours = |it: &&Issued| it.name.as_deref().and_then(token_in).is_some_and(|it| it.name == *name);
    match &hidden[..] {
        _ if hidden.iter().any(ours) => Err(choose()),
        [] if listing.truncated => Ok(Told::Unsaid("its list is cut short".to_owned())),
        [] => Ok(Told::Absent),
        _ => Ok(Told::Unsaid(choose())),
    }
}

fn fingerprint(key: &Issued) -> Option<Fingerprint> {
    key.secret.as_ref().map(crate::secret::Secret::fingerprint)
}

fn has_id(key: &Issued, id: &str) -> bool {
    key.id.as_deref().is_some_and(|it| it.eq_ignore_ascii_case(id))
}

fn named(keys: &[&Issued]) -> String {
    let known = keys.iter().filter_map(|it| it.id.as_deref().zip(it.name.as_deref()));
    let mut list: Vec<String> = known.map(|(id, name)| format!("{id} ({name})")).take(NAMED).collect();
    if keys.len() > list.len() {
        list.push("…".to_owned());
    }
    list.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    fn key(id: &str, name: &str, secret: Option<&str>) -> Issued {
        let secret = secret.map(|it| Secret::from(it.to_owned()));
        Issued { secret, id: Some(id.to_owned()), name: Some(name.to_owned()), enabled: true, ..Issued::default() }
    }

    fn check(keys: &[Issued], truncated: bool, id: Option<&str>) -> Result<Option<String>, String> {
        let listing = Listing { keys: keys.to_vec(), truncated };
        let wanted = Fingerprint::of(b"in-use");
        look_up(&listing, &wanted, id, &"billing-sms".parse().unwrap()).map(|it| match it {
            Told::Found(key) => key.id,
            Told::Absent => Some("absent".to_owned()),
            Told::Unsaid(why) => Some(why),
        })
    }

    #[test]
    fn a_key_that_is_shown_is_found_by_itself() {
        let keys = [key("A1", "old", Some("other")), key("B2", "billing", Some("in-use"))];
        assert_eq!(check(&keys, true, None), Ok(Some("B2".to_owned())));
        assert_eq!(check(&keys, false, Some("b2")), Ok(Some("B2".to_owned())));
        assert_eq!(check(&keys[..1], false, None), Ok(Some("absent".to_owned())));
        assert_eq!(check(&keys[..1], true, None), Ok(Some("its list is cut short".to_owned())));
    }

    #[test]
    fn an_id_that_is_not_this_keys_is_refused() {
        let keys = [key("A1", "old", Some("other")), key("B2", "billing", Some("in-use"))];
        assert!(check(&keys, false, Some("A1")).unwrap_err().contains("this one has B2"));
        assert!(check(&keys[..1], false, Some("A1")).unwrap_err().contains("another key's"));
        assert!(check(&keys[..1], false, Some("C3")).unwrap_err().contains("no enabled key"));
    }

    #[test]
    fn a_hidden_key_is_found_by_its_id_and_else_the_operator_is_told_which_there_are() {
        let keys = [key("A1", "old", None), key("B2", "billing", None)];
        assert_eq!(check(&keys, false, Some("B2")), Ok(Some("B2".to_owned())));
        assert!(check(&keys, false, None).unwrap().unwrap().ends_with("--id: A1 (old), B2 (billing)"));
    }

    #[test]
    fn a_hidden_key_that_a_create_of_this_key_made_needs_its_id() {
        let keys = [key("A1", "billing~0a1b2c3d-4e5f60-billing-sms-3", None)];
        assert!(check(&keys, false, None).unwrap_err().contains("--id: A1"));
        assert_eq!(check(&keys, false, Some("A1")), Ok(Some("A1".to_owned())));
    }
}
