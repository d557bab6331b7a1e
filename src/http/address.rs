//! Where requests may go: over TLS, or nowhere but this machine.
use reqwest::Url;
use serde::Deserialize;
use std::fmt;
use std::net::IpAddr;

/// The address that a service's calls start with, such as `https://api.example.com/v2`. Never ends in a slash.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize)]
#[serde(try_from = "String")]
pub struct BaseUrl(String);

/// Why an address can't be used.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum AddressFault {
    /// It is none.
    #[error("not a URL; write it whole, as in \"https://api.example.com\"")]
    NotUrl,
    /// It is neither https nor this machine.
    #[error(
        "http:// can be read on the way; use https://, or http:// to this machine alone (127.0.0.1, [::1], localhost)"
    )]
    Plain,
    /// It carries a login.
    #[error("must not carry a login (the part before '@'); name it in its own settings")]
    Login,
    /// It has a query or a fragment.
    #[error("has a '?' or a '#'; write what stands before it")]
    Query,
    /// A path added to it does not survive as it is written.
    #[error("the path does not stay as it is written; write it percent-encoded, without '.' or '..' as a part")]
    Path,
}

/// Checks an address that a service's paths are added to.
///
/// # Errors
/// See [`AddressFault`]; the message never shows the address.
pub fn check_base_url(text: &str) -> Result<BaseUrl, AddressFault> {
    let url = Url::parse(text).map_err(|_| AddressFault::NotUrl)?;
    let host = url.host_str().filter(|it| !it.is_empty()).ok_or(AddressFault::NotUrl)?;
    match url.scheme() {
        "https" => {}
        "http" if is_this_machine(host) => {}
        _ => return Err(AddressFault::Plain),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(AddressFault::Login);
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(AddressFault::Query);
    }
    Ok(BaseUrl(url.as_str().trim_end_matches('/').to_owned()))
}

/// Whether a host is this machine, so that nobody else can read what goes there.
pub fn is_this_machine(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse().is_ok_and(|it: IpAddr| it.is_loopback())
}

impl BaseUrl {
    /// An address from the source code, which a test has checked.
    pub(crate) fn known(text: &'static str) -> Self {
        Self(text.to_owned())
    }

    /// The address of one call. `path` begins with '/' and is already encoded; it may carry a query.
    ///
    /// # Errors
    /// Where the whole would not be what is written: a part "..", say, would make the call reach something else.
    pub fn join(&self, path: &str) -> Result<Url, AddressFault> {
        let text = format!("{}{path}", self.0);
        let url = Url::parse(&text).map_err(|_| AddressFault::Path)?;
        if path.starts_with('/') && url.as_str() == text { Ok(url) } else { Err(AddressFault::Path) }
    }
}

impl TryFrom<String> for BaseUrl {
    type Error = AddressFault;
    fn try_from(text: String) -> Result<Self, AddressFault> {
        check_base_url(&text)
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tls_or_this_machine_will_do() {
        for good in [
            "https://api.example.com",
            "https://api.example.com:8443/v2.0/",
            "http://127.0.0.1:80",
            "http://127.8.9.1",
            "http://[::1]:8080",
            "http://localhost:9/v2",
        ] {
            assert!(check_base_url(good).is_ok(), "{good}");
        }
        for (bad, why) in [
            ("", AddressFault::NotUrl),
            ("api.example.com", AddressFault::NotUrl),
            ("http://api.example.com", AddressFault::Plain),
            ("http://127.0.0.1.example.com", AddressFault::Plain),
            ("http://localhost.example.com", AddressFault::Plain),
            ("http://[2001:db8::1]", AddressFault::Plain),
            ("ftp://127.0.0.1", AddressFault::Plain),
            ("https://me:hunter2@api.example.com", AddressFault::Login),
            ("https://me@api.example.com", AddressFault::Login),
            ("https://api.example.com/?key=hunter2", AddressFault::Query),
            ("https://api.example.com/#x", AddressFault::Query),
        ] {
            assert_eq!(check_base_url(bad), Err(why), "{bad}");
        }
    }

    #[test]
    fn a_path_is_added_as_it_is_written_or_not_at_all() {
        let base = check_base_url("https://API.example.com/v2/").unwrap();
        assert_eq!(base.to_string(), "https://api.example.com/v2");
        assert_eq!(base.join("/account/key?a=b").unwrap().as_str(), "https://api.example.com/v2/account/key?a=b");
        for bad in ["", "account", "/a/../b", "/a/%2e%2E", "/a/.", "/a b", "@evil.example", "/ä"] {
            assert_eq!(base.join(bad), Err(AddressFault::Path), "{bad}");
        }
    }
}
