//! The decisions, case by case.

use super::{HartView, Target, choose_target, choose_victim, should_preempt, time_slice_needed};
use base::task::Priority;

fn priority(number: u8) -> Priority {
    Priority::new(number).unwrap()
}

fn idle() -> HartView {
    HartView { running: None, best_ready: None, ready_count: 0 }
}

fn running(number: u8) -> HartView {
    HartView { running: Some(priority(number)), ..idle() }
}

fn waiting(run: u8, best: u8, ready_count: usize) -> HartView {
    HartView { running: Some(priority(run)), best_ready: Some(priority(best)), ready_count }
}

#[test]
fn only_the_more_important_preempts_and_only_equals_need_a_tick() {
    let normal = Priority::NORMAL;
    assert!(should_preempt(normal, Some(Priority::HIGHEST)));
    assert!(!should_preempt(normal, Some(normal)) && !should_preempt(normal, Some(Priority::LOWEST)));
    assert!(!should_preempt(normal, None));
    assert!(time_slice_needed(normal, Some(normal)));
    assert!(!time_slice_needed(normal, Some(Priority::LOWEST)) && !time_slice_needed(normal, None));
}

#[test]
fn victim_is_where_the_most_important_waits() {
    assert_eq!(choose_victim(0, &[idle(), waiting(1, 20, 9), waiting(1, 5, 1), idle()]), Some(2));
    assert_eq!(choose_victim(0, &[idle(), waiting(1, 5, 1), waiting(1, 5, 3)]), Some(2), "the longest queue");
    assert_eq!(choose_victim(1, &[waiting(1, 5, 1), idle(), waiting(1, 5, 1)]), Some(2), "the next one");
    assert_eq!(choose_victim(0, &[waiting(1, 1, 4), running(3)]), None, "never oneself");
    assert_eq!(choose_victim(0, &[]), None);
}

#[test]
fn target_is_where_it_runs_soonest() {
    let at = |hart, notify| Target { hart, notify };
    let normal = Priority::NORMAL;
    assert_eq!(choose_target(normal, 1, 0, &[idle(), idle()]), at(1, true), "where it ran");
    assert_eq!(choose_target(normal, 1, 0, &[idle(), running(3)]), at(0, true), "an idle one");
    assert_eq!(choose_target(normal, 1, 0, &[running(40), running(3)]), at(0, true), "the waker's");
    assert_eq!(
        choose_target(normal, 1, 0, &[running(2), running(3), running(40), running(50)]),
        at(3, true),
        "the least important"
    );
    assert_eq!(choose_target(normal, 1, 0, &[running(2), running(32)]), at(1, false), "it waits");
    assert_eq!(choose_target(normal, 0, 0, &[waiting(40, 10, 1)]), at(0, false), "behind what preempts");
}
