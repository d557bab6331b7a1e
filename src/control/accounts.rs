//! The users and groups of this machine, as `/etc/passwd` and `/etc/group` have them.
use crate::config::settings::Operator;
use std::fs;

/// Both files, read anew for each question: whoever left a group has no right from then on.
#[derive(Clone, Debug, Default)]
pub(super) struct Accounts {
    passwd: String,
    group: String,
}

impl Accounts {
    /// A file that can't be read names nobody.
    pub(super) fn read() -> Self {
        let read = |path| fs::read(path).map(|it| String::from_utf8_lossy(&it).into_owned()).unwrap_or_default();
        Self { passwd: read("/etc/passwd"), group: read("/etc/group") }
    }

    /// The name of a user: the first, where one has several.
    pub(super) fn user(&self, uid: u32) -> Option<&str> {
        self.users(uid).next()
    }

    /// Whether a process of this user and group is what the config calls by this name: the user, or of the group, by its
    /// own group or as one of its members.
    pub(super) fn is_meant(&self, operator: &Operator, uid: u32, gid: Option<u32>) -> bool {
        match operator {
            Operator::User(name) => self.users(uid).any(|it| it == name),
            Operator::Group(name) => self.groups(name).any(|(id, members)| {
                gid == Some(id) || members.split(',').any(|member| self.users(uid).any(|it| it == member.trim()))
            }),
        }
    }

    /// Whether there is such a user or group at all.
    pub(super) fn knows(&self, operator: &Operator) -> bool {
        match operator {
            Operator::User(name) => rows(&self.passwd).any(|it| it.first() == Some(&name.as_str())),
            Operator::Group(name) => self.groups(name).next().is_some(),
        }
    }

    fn users(&self, uid: u32) -> impl Iterator<Item = &str> {
        let own = rows(&self.passwd).filter(move |it| it.get(2).and_then(|it| it.parse().ok()) == Some(uid));
        own.filter_map(|it| it.first().copied()).filter(|it| !it.is_empty())
    }

    /// The id and the members of each group of this name.
    fn groups(&self, name: &str) -> impl Iterator<Item = (u32, &str)> {
        let named = rows(&self.group).filter(move |it| it.first() == Some(&name));
        named.filter_map(|it| Some((it.get(2)?.parse().ok()?, it.get(3).copied().unwrap_or_default())))
    }
}

fn rows(text: &str) -> impl Iterator<Item = Vec<&str>> {
    text.lines().map(|it| it.split(':').collect())
}

#[cfg(test)]
pub(super) fn sample() -> Accounts {
    let passwd = "root:x:0:0:root:/root:/bin/sh\nbroken\nanna:x:1000:1000::/home/anna:/bin/sh\n\
                  bert:x:1001:1001::/home/bert:/bin/sh\nrekeyd:x:900:900::/:/usr/sbin/nologin\n";
    let group = "root:x:0:\nbroken\noncall:x:500:anna, carla\nempty:x:501:\n";
    Accounts { passwd: passwd.to_owned(), group: group.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_named_as_the_passwd_file_does() {
        assert_eq!(sample().user(1000), Some("anna"));
        assert_eq!(sample().user(1002), None);
    }

    #[test]
    fn who_is_of_a_group_by_its_own_group_or_as_a_member_is_meant_and_nobody_else() {
        let (accounts, oncall) = (sample(), Operator::Group("oncall".to_owned()));
        for (uid, gid, meant) in [
            (1000, Some(1000), true),
            (1000, None, true),
            (1001, Some(500), true),
            (1001, Some(1001), false),
            (4242, Some(4242), false),
        ] {
            assert_eq!(accounts.is_meant(&oncall, uid, gid), meant, "{uid} {gid:?}");
        }
        for nobody in [Operator::Group("empty".to_owned()), Operator::Group("anna".to_owned())] {
            assert!(!accounts.is_meant(&nobody, 1000, Some(1000)), "{nobody}");
        }
    }

    #[test]
    fn a_user_is_meant_by_name_and_a_group_of_that_name_is_another() {
        let accounts = sample();
        assert!(accounts.is_meant(&Operator::User("anna".to_owned()), 1000, None));
        assert!(!accounts.is_meant(&Operator::User("oncall".to_owned()), 1000, Some(500)));
        assert!(accounts.knows(&Operator::Group("oncall".to_owned())));
        assert!(!accounts.knows(&Operator::User("oncall".to_owned())));
    }
}
