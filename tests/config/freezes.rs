//! Freezes, and windows that open often enough.
#![allow(clippy::unwrap_used)] // A helper of a test may fail it.
use super::*;
use rekeyd::core::freeze::{Day, Span, When};
use rekeyd::core::time::Timestamp;

/// What is warned of in a config without faults, line by line as in a case.
pub(super) fn warnings(around: &[&str], case: &str) -> String {
    let before = format!("{BASE}{}\n", around.concat());
    let lines = before.matches('\n').count();
    let loaded = parse(&format!("{before}{case}")).unwrap_or_else(|it| panic!("{it}"));
    let unseen = |it: &Fault| it.message.contains("can't be seen from here") || it.message.contains("goes nowhere");
    render(loaded.warnings.into_iter().filter(|it| !unseen(it)).collect(), lines)
}

fn freezes_of(text: &str) -> Vec<(String, When)> {
    let loaded = parse(&format!("{BASE}{SMS}{text}")).unwrap_or_else(|it| panic!("{it}"));
    let key = loaded.settings.keys.values().next().unwrap();
    key.policy.freezes.iter().map(|it| (it.name.clone(), it.when.clone())).collect()
}

fn at(text: &str) -> Timestamp {
    chrono::DateTime::parse_from_rfc3339(text).unwrap().to_utc().into()
}

#[test]
fn a_freeze_is_written_by_days_moments_or_days_of_every_year() {
    let freezes = freezes_of(&format!(
        "[freezes.days]\nfrom = 2026-12-18\nto = 2027-01-04\ntimezone = 'Europe/Berlin'\n\
         [freezes.moments]\nfrom = 2026-12-18T18:00:00+01:00\nto = 2027-01-04 06:00:00Z\n\
         [freezes.yearly]\nfrom = '12-18'\nto = '01-04'\nkeys = 'all'\n{}",
        key("")
    ));
    let days = Span { from: at("2026-12-17T23:00:00Z"), to: at("2027-01-03T23:00:00Z") };
    let moments = Span { from: at("2026-12-18T17:00:00Z"), to: at("2027-01-04T06:00:00Z") };
    let yearly =
        When::Yearly { from: Day { month: 12, day: 18 }, to: Day { month: 1, day: 4 }, timezone: chrono_tz::UTC };
    assert_eq!(
        freezes,
        [("days".into(), When::Once(days)), ("moments".into(), When::Once(moments)), ("yearly".into(), yearly)]
    );
}

#[test]
fn days_begin_in_the_zone_of_the_freeze_or_of_the_daemon() {
    let daemon = BASE.replace("owners = [\"team\"]", "owners = [\"team\"], timezone = 'Asia/Tokyo'");
    let freeze = "[freezes.a]\nfrom = 2026-12-18\nto = 2026-12-19\n";
    let loaded = parse(&format!("{daemon}{SMS}{freeze}{}", key(""))).unwrap();
    let span = Span { from: at("2026-12-17T15:00:00Z"), to: at("2026-12-18T15:00:00Z") };
    assert_eq!(loaded.settings.keys.values().next().unwrap().policy.freezes[0].when, When::Once(span));
}

#[test]
fn a_freeze_concerns_all_keys_or_those_that_name_it() {
    let freezes = "[freezes.all]\nfrom = '12-18'\nto = '01-04'\n\
                   [freezes.some]\nfrom = '06-01'\nto = '06-04'\nkeys = 'named'\n";
    let names =
        |lines: &str| freezes_of(&format!("{freezes}{}", key(lines))).into_iter().map(|it| it.0).collect::<Vec<_>>();
    assert_eq!(names(""), ["all"]);
    assert_eq!(names("freezes = ['some']"), ["all", "some"]);
    assert_eq!(names("freezes = ['all', 'some']"), ["all", "some"]);
    assert_eq!(
        warnings(&[SMS], &format!("{freezes}{}", key(""))),
        "4:1: no key names freeze `some`\n  \
         hint: write freezes = [\"some\"] at the keys that it is for, or keys = \"all\" here"
    );
}

#[test]
fn a_freeze_that_can_not_be_is_a_fault_where_it_stands() {
    let hint = "\n  hint: write a day without quotes (2026-12-18), a moment with its offset (2026-12-18T18:00:00Z), \
                or a day of every year in quotes (\"12-18\")";
    let empty = "\n  hint: `to` is the first day, or moment, without it";
    let alike = "\n  hint: write two days, two moments with their offset, or two days of every year";
    for (from, to, want) in [
        ("2027-01-04", "2026-12-18", format!("3:6: a freeze from 2027-01-04 to 2026-12-18 is empty{empty}")),
        ("2027-01-04", "2027-01-04", format!("3:6: a freeze from 2027-01-04 to 2027-01-04 is empty{empty}")),
        ("'12-18'", "'12-18'", format!("3:6: a freeze from 12-18 to 12-18 is empty{empty}")),
        (
            "2027-01-04T06:00:00Z",
            "2027-01-04T06:00:00+01:00",
            format!("3:6: a freeze from 2027-01-04T06:00:00Z to 2027-01-04T05:00:00Z is empty{empty}"),
        ),
        ("2026-12-18", "'01-04'", format!("3:6: `from` and `to` are written in two different ways{alike}")),
        (
            "2026-12-18",
            "2027-01-04T00:00:00Z",
            format!("3:6: `from` and `to` are written in two different ways{alike}"),
        ),
        ("'12-32'", "'01-04'", format!("2:8: \"12-32\" is no day of every year{hint}")),
        ("'2026-12-18'", "'01-04'", format!("2:8: \"2026-12-18\" is no day of every year{hint}")),
        ("'12-1'", "'01-04'", format!("2:8: \"12-1\" is no day of every year{hint}")),
        (
            "2026-12-18T18:00:00",
            "2027-01-04",
            "2:8: 2026-12-18T18:00:00 has no offset from UTC\n  hint: write it, such as 2026-12-18T18:00:00Z".into(),
        ),
        ("18:00:00", "2027-01-04", format!("2:8: 18:00:00 has no date{hint}")),
        ("5", "2027-01-04", format!("2:8: expected a date, found an integer{hint}")),
    ] {
        check(&[], &format!("[freezes.f]\nfrom = {from}\nto = {to}"), &want);
    }
    check(
        &[],
        "[freezes.f]\nkeys = 'some'\nform = 2026-12-18",
        "1:1: `from` is missing\n  hint: write from = …\n\
         1:1: `to` is missing\n  hint: write to = …\n\
         2:8: unknown value `some`\n  hint: known here: all, named\n\
         3:1: unknown field `form`\n  hint: did you mean `from`?",
    );
    check(
        &[SMS, "[freezes.year-end]\nfrom = '12-18'\nto = '01-04'\n"],
        &key("freezes = ['yearend']"),
        "6:12: there is no freeze `yearend`\n  hint: did you mean `year-end`?",
    );
}

/// A window with this cron expression, and a key in it.
fn windowed(open: &str, lines: &str) -> String {
    format!("[windows.w]\nopen = '{open}'\nduration = '4h'\n{}", key(&format!("valid_for = '90d'\n{lines}")))
}

#[test]
fn windows_that_open_too_seldom_are_a_fault() {
    // One attempt is the least: where no window opens, to ask for fewer is no remedy.
    let none = "\n  hint: raise rotate_before, or let its windows open more often; `w` opens ";
    let few = "\n  hint: raise rotate_before, let its windows open more often, or lower attempts_in_window; `w` opens ";
    let monthly = |lines: &str| windowed("0 22 1 * *", &format!("windows = ['w']\nrotate_before = '14d'\n{lines}"));
    check(
        &[SMS],
        &monthly(""),
        &format!(
            "10:11: when key `k` is due at its worst moment, none of its windows opens before it expires, 14d later; \
             attempts_in_window is 2{none}on day 1 of the month at 22:00 UTC for 4h"
        ),
    );
    check(
        &[SMS],
        &windowed("0 22 * * Mon", "windows = ['w']\nrotate_before = '10d'\nattempts_in_window = 3"),
        &format!(
            "12:22: when key `k` is due at its worst moment, its windows open only once before it expires, 10d later; \
             attempts_in_window is 3{few}Monday at 22:00 UTC for 4h"
        ),
    );
    // The next one lies beyond a whole year.
    check(
        &[SMS],
        &windowed("0 22 29 2 *", "windows = ['w']\nrotate_before = '30d'\nattempts_in_window = 1"),
        &format!(
            "12:22: when key `k` is due at its worst moment, none of its windows opens before it expires, 30d later; \
             attempts_in_window is 1{none}on day 29 of the month in February at 22:00 UTC for 4h"
        ),
    );
    for enough in [
        windowed("0 22 * * Mon", "windows = ['w']\nrotate_before = '14d'\noverlap = '1d'"),
        windowed("0 22 * * *", "windows = ['w']\nrotate_before = '2d'\noverlap = '1d'"),
        windowed("0 22 1 * *", "windows = ['w']\nrotate_before = '31d'\nattempts_in_window = 1"),
        // Five fields, and six with seconds first.
        windowed("*/10 * * * *", "windows = ['w']\nrotate_before = '12h'\noverlap = '1h'\nattempts_in_window = 20"),
        windowed("30 */10 * * * *", "windows = ['w']\nrotate_before = '12h'\noverlap = '1h'"),
        // Nobody says how long this one lives.
        monthly("").replace("valid_for = '90d'\n", ""),
    ] {
        check(&[SMS], &enough, "");
    }
}

#[test]
fn a_freeze_that_leaves_too_few_openings_is_a_fault() {
    let freeze = "[freezes.year-end]\nfrom = 2096-12-18\nto = 2097-01-04\n";
    let nightly = |lines: &str| windowed("0 22 * * *", &format!("windows = ['w']\nrotate_before = '14d'\n{lines}"));
    let said = "when key `k` is due as freeze `year-end` begins, none of its windows opens before it expires, 14d later; \
                attempts_in_window is 2\n  hint: raise rotate_before, or leave the key out of the freeze (keys = \"named\"), or \
                the key may ";
    let leaves = format!("{said}have to leave the freeze in its last safe moment; the freeze holds ");
    let once = "once, from 2096-12-18T00:00:00Z until 2097-01-04T00:00:00Z";
    check(&[SMS, freeze], &nightly(""), &format!("4:1: {leaves}{once}"));
    check(&[SMS, freeze], &nightly("attempts_in_window = 2"), &format!("12:22: {leaves}{once}"));
    let never = nightly("outside_window = 'never'\nattempts_in_window = 2");
    check(&[SMS, freeze], &never, &format!("13:22: {said}expire; the freeze holds {once}"));
    for enough in [nightly("").replace("14d", "20d"), nightly("attempts_in_window = 1").replace("14d", "18d")] {
        check(&[SMS, freeze], &enough, "");
    }
    let yearly = "[freezes.year-end]\nfrom = '12-18'\nto = '01-04'\n";
    let every = "every year from 18 December until 4 January, the first day without it (UTC)";
    check(&[SMS, yearly], &nightly("freezes = ['year-end']"), &format!("12:11: {leaves}{every}"));
    let unwindowed = key("valid_for = '90d'\nrotate_before = '14d'");
    // Without windows it is a fault only where attempts are asked for.
    assert_eq!(
        warnings(&[SMS, yearly], &unwindowed),
        format!(
            "1:1: when key `k` is due as freeze `year-end` begins, it lasts until the key has expired, 14d later\n  \
             hint: raise rotate_before, or leave the key out of the freeze (keys = \"named\"), or the key may have to leave \
             the freeze in its last safe moment; the freeze holds {every}"
        )
    );
    let asked = parse(&format!(
        "{BASE}{SMS}{yearly}{}",
        key("valid_for = '90d'\nrotate_before = '14d'\nattempts_in_window = 2")
    ));
    assert_eq!(asked.unwrap_err().faults.len(), 1);
    assert_eq!(warnings(&[SMS, yearly], &unwindowed.replace("14d", "18d")), "");
}

#[test]
fn a_freeze_that_is_over_holds_nobody() {
    let over = "[freezes.year-end]\nfrom = 2019-12-18\nto = 2020-01-04\n";
    check(&[SMS, over], &windowed("0 22 * * *", "windows = ['w']\nrotate_before = '14d'"), "");
}

/// In 2027 such a freeze leaves two openings to a key that is due as it begins; in 2029, from Monday to Friday, none.
#[test]
fn the_days_of_the_week_of_a_yearly_freeze_are_looked_at_in_each_kind_of_year() {
    let freeze = "[freezes.year-end]\nfrom = '12-10'\nto = '12-28'\n";
    let faults = |before: &str| {
        let lines = format!("windows = ['w']\nrotate_before = '{before}'\nattempts_in_window = 2");
        parse(&format!("{BASE}{SMS}{freeze}{}", windowed("0 22 * * Mon-Thu", &lines)))
            .err()
            .map_or(0, |it| it.faults.len())
    };
    assert_eq!((faults("20d"), faults("30d")), (1, 0));
}
