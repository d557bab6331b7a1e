//! Each rule of the core is held by a test: with the rule switched off, its scene fails.
use crate::{
    accounts, belief, by_hand, credentials, cutover, drift, freezes, healing, incidents, issuing, retiring, schedule,
    timing, tokens, verbs,
};
use rekeyd_simulation::core::rules::{Rule, switch_off};
use std::panic::catch_unwind;

/// The scene that misses a rule. The match makes sure that a new rule gets one.
fn scene(rule: Rule) -> fn() {
    match rule {
        Rule::Control => belief::a_refusal_without_a_control_proves_nothing_and_the_key_is_delivered_in_the_end,
        Rule::AcceptWithin => belief::a_refusal_of_a_new_key_counts_only_after_accept_within,
        Rule::FreshToken => tokens::each_attempt_has_a_token_of_its_own,
        Rule::Watch => tokens::a_lost_create_that_appears_late_is_found_and_revoked,
        Rule::Epoch => tokens::a_token_of_an_earlier_life_is_reported_and_its_key_not_revoked,
        Rule::Unseen => belief::a_stale_read_of_a_key_that_was_ours_is_never_adopted,
        Rule::AliveBeforeAdopt => belief::a_read_secret_is_adopted_only_if_it_is_accepted,
        Rule::HealKnown => healing::healing_leaves_content_that_is_none_of_ours_and_tells_it_once,
        Rule::HeldIntent => healing::what_a_target_may_hold_is_committed_with_the_intent_to_write_it,
        Rule::HeldNowhere => healing::a_version_that_a_target_may_hold_is_not_revoked,
        Rule::ReadByAll => credentials::a_unit_that_never_read_a_key_is_waited_for_too,
        Rule::CurrentAlive => retiring::no_delivered_key_is_revoked_unless_the_current_one_is_alive_in_that_pass,
        Rule::Overlap => retiring::a_promoted_keys_predecessor_retires_for_its_overlap,
        Rule::DeadOldKey => issuing::a_dead_old_key_turns_the_overlap_order_into_a_cutover,
        Rule::Lock => accounts::creates_at_an_account_that_may_not_keep_old_keys_are_serialised,
        Rule::Budget => accounts::the_budget_of_the_day_is_kept,
        Rule::VerifyEnds => belief::a_wait_for_a_verification_ends_with_an_unverified_delivery_that_is_told,
        Rule::Settle => tokens::an_absence_must_last_only_where_a_create_may_kill,
        Rule::DriftLimit => drift::somebody_elses_change_is_answered_once_and_then_halts,
        Rule::Reobserve => tokens::a_token_that_was_never_issued_means_a_rolled_back_store,
        Rule::AnotherDaemon => tokens::another_installations_token_for_our_key_halts,
        Rule::ReportLost => tokens::a_lost_create_that_is_not_found_is_reported_after_the_watch,
        Rule::Difference => accounts::a_difference_is_ours_only_where_the_numbers_agree,
        Rule::Stray => issuing::a_key_that_nobody_waits_for_any_more_is_kept_and_retired,
        Rule::Clock => timing::a_suspect_clock_holds_the_create_of_a_rotation_under_way_and_a_revoke,
        Rule::Window => timing::a_rotation_begins_in_a_window,
        Rule::Freeze => freezes::nothing_begins_in_a_freeze,
        Rule::Together => schedule::keys_that_go_together_rotate_when_the_first_of_them_is_due,
        Rule::AbandonSafe => verbs::abandon_is_refused_where_the_old_key_does_not_live_on,
        Rule::RetireOld => retiring::a_promoted_keys_predecessor_retires_for_its_overlap,
        Rule::Truncated => tokens::a_truncated_list_proves_no_absence,
        Rule::ByHand => by_hand::nobody_is_asked_for_a_key_who_cannot_be,
        Rule::Pause => incidents::a_paused_key_begins_and_revokes_nothing_until_its_time,
        Rule::RollbackAlive => incidents::only_a_previous_version_that_is_accepted_comes_back,
        Rule::ForgetEnded => incidents::no_record_is_forgotten_while_a_version_may_be_live,
        Rule::Announce => cutover::a_cutover_is_announced_then_promoted_before_it_is_delivered_and_verified_last,
    }
}

/// Whether a rule's scene passes with that rule, or none, switched off.
fn passes(rule: Rule, off: Option<Rule>) -> bool {
    switch_off(off);
    let passed = catch_unwind(scene(rule)).is_ok();
    switch_off(None);
    passed
}

#[test]
fn every_rule_is_missed_by_its_scene() {
    let broken: Vec<Rule> = Rule::ALL.iter().copied().filter(|it| !passes(*it, None)).collect();
    assert_eq!(broken, [], "these scenes fail although every rule holds");
    let unmissed: Vec<Rule> = Rule::ALL.iter().copied().filter(|it| passes(*it, Some(*it))).collect();
    assert_eq!(unmissed, [], "nobody notices that these rules are off");
}
