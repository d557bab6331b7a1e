//! What systemd calls its end of the connection: `\0HEX/unit/UNIT/NAME` in the abstract namespace.

/// The most hex digits of the number that makes the address unique.
const HEX_DIGITS: usize = 16;

/// Which unit wants which credential.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Asked {
    pub(super) unit: String,
    pub(super) credential: String,
}

/// Reads an address, without the NUL that it begins with.
pub(super) fn parse(address: &[u8]) -> Option<Asked> {
    let text = std::str::from_utf8(address).ok().filter(|it| !it.chars().any(char::is_control))?;
    let mut parts = text.split('/');
    let (random, kind, unit, credential) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let random = (1..=HEX_DIGITS).contains(&random.len()) && random.chars().all(|it| it.is_ascii_hexdigit());
    let whole = random && kind == "unit" && !unit.is_empty() && !credential.is_empty() && parts.next().is_none();
    whole.then(|| Asked { unit: unit.to_owned(), credential: credential.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_names_a_unit_and_a_credential() {
        let asked = parse(b"9f3ac0de12345678/unit/billing@eu.service/billing-sms").unwrap();
        assert_eq!((asked.unit.as_str(), asked.credential.as_str()), ("billing@eu.service", "billing-sms"));
    }

    #[test]
    fn what_is_no_such_address_names_nothing() {
        for address in [
            "",
            "/unit/a.service/b",
            "9f/unit/a.service",
            "9f/unit/a.service/",
            "9f/unit//b",
            "9f/unit/a.service/b/c",
            "9f/user/a.service/b",
            "xyz/unit/a.service/b",
            "00000000000000000/unit/a.service/b",
            "9f/unit/a.service/b\n",
            "9f/unit/a.ser\0vice/b",
        ] {
            assert_eq!(parse(address.as_bytes()), None, "{address:?}");
        }
        assert_eq!(parse(b"9f/unit/a.service/\xff"), None);
    }
}
