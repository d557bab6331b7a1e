//! Budgets that are enough on the average, and not on the days on which keys may be rotated.
use super::freezes::warnings;

const PROVIDER: &str = "[providers.sms]\nkind = 'infobip'\nusername = 'acme'\npassword = { credential = 'infobip' }\n";
const NIGHTS: &str = "[windows.nights]\nopen = '0 22 * * Mon-Thu'\nduration = '4h'\n[windows.sunday]\nopen = '0 4 * * Sun'\nduration = '3h'\n";

fn keys(n: usize, lines: &str) -> String {
    let key = |n| {
        format!(
            "[keys.a{n}]\nprovider = 'sms'\nowners = ['team']\ncreate.name = 'k'\n{lines}\n\
             deliver = [{{ kind = 'file', path = '/srv/{{{{key}}}}' }}]\n"
        )
    };
    (0..n).map(key).collect()
}

fn said(creates_per_day: u32, keys: &str, more: &str) -> String {
    warnings(&[NIGHTS, more], &format!("{PROVIDER}creates_per_day = {creates_per_day}\n{keys}"))
}

#[test]
fn a_budget_that_windows_leave_too_few_days_for_is_warned_of_with_one_that_is_enough() {
    // 20 keys every 20 days are one a day, and 7 a week, of which the windows leave four days.
    let of = "valid_for = '30d'\nrotate_before = '10d'\noverlap = '1d'\nwindows = ['nights']";
    assert_eq!(said(2, &keys(20, of), ""), "");
    let tight = said(1, &keys(20, of), "");
    assert_eq!(
        tight,
        "5:19: the 20 keys of account `sms` can't all be replaced in time: their windows leave 209 days of a year, and \
         creates_per_day is 1; 98.6 % of their rotations would come too late\n  \
         hint: creates_per_day = 2 is enough, if the provider allows it; else open their windows on more days, raise \
         rotate_before, or rotate less often"
    );
}

#[test]
fn a_freeze_that_leaves_a_backlog_is_warned_of_and_a_shorter_one_is_not() {
    // One that does not expire may wait for its own age.
    let of = "max_age = '20d'";
    let freeze = |to: &str| format!("[freezes.year-end]\nfrom = '12-01'\nto = '{to}'\n");
    assert_eq!(said(1, &keys(20, of), ""), "");
    assert_eq!(said(1, &keys(20, of), &freeze("12-15")), "");
    let held = said(1, &keys(20, of), &freeze("12-25"));
    assert!(held.contains("their windows and freezes leave 341 days of a year"), "{held}");
    assert!(held.contains("shorten their freezes"), "{held}");
}

#[test]
fn what_never_expires_is_late_when_it_is_twice_as_old_as_it_should_be() {
    let of = "max_age = '14d'\nwindows = ['sunday']";
    assert_eq!(said(14, &keys(28, of), ""), "");
    assert!(said(4, &keys(28, of), "").contains("their windows leave 52 days of a year"));
}

#[test]
fn as_many_keys_as_fit_into_one_day_always_fit() {
    assert_eq!(said(3, &keys(3, "max_age = '7d'\nwindows = ['sunday']"), ""), "");
}
