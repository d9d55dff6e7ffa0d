//! What becomes of roll-outs, over generated observations.

use std::time::Duration;

use primitives::Timestamp;
use proptest::prelude::*;
use remuda_scheduling::rollout::{
    Fault, FirstTokens, Hold, Moment, Next, Observed, Rule, Verdict, decide,
};

const HOLD: Duration = Duration::from_mins(10);

fn now() -> Timestamp {
    Timestamp::from_micros(1_800_000_000_000_000)
}

fn rule() -> Rule {
    Rule {
        hold: HOLD,
        min_requests: 50,
        max_error_rate: 0.05,
        max_slower: None,
    }
}

fn seen(ok: u64, failed: u64) -> Observed {
    Observed {
        ok,
        failed,
        ..Observed::default()
    }
}

fn timed(requests: u64, took_ms: u64) -> Observed {
    let mut first_tokens = FirstTokens::default();
    let bin = FirstTokens::bin_of(Duration::from_millis(took_ms));
    first_tokens.count(bin, requests);
    Observed {
        first_tokens,
        ..seen(requests, 0)
    }
}

const ROOM: Next = Next::Stage {
    needed: 2,
    present: 2,
};

fn moment<'a>(new: &'a Observed, old: &'a Observed) -> Moment<'a> {
    Moment {
        entered_at: Some(now().before(HOLD)),
        is_paused: false,
        next: ROOM,
        new,
        old,
        old_ever: old,
    }
}

#[test]
fn a_healthy_version_goes_on_when_time_requests_and_nodes_are_enough() {
    let (new, old) = (seen(60, 1), seen(500, 5));
    let healthy = moment(&new, &old);
    assert_eq!(decide(&healthy, &rule(), now()), Verdict::Advance);
    let last = Moment {
        next: Next::Nothing,
        ..healthy
    };
    assert_eq!(decide(&last, &rule(), now()), Verdict::Done);
    let early = decide(&healthy, &rule(), now().before(Duration::from_secs(30)));
    let left = Duration::from_secs(30);
    assert_eq!(early, Verdict::Hold(Hold::Time { left }));
    let lacking = Moment {
        next: Next::Stage {
            needed: 3,
            present: 2,
        },
        ..healthy
    };
    let nodes = Hold::Nodes {
        needed: 3,
        present: 2,
    };
    assert_eq!(decide(&lacking, &rule(), now()), Verdict::Hold(nodes));
    let paused = Moment {
        is_paused: true,
        ..healthy
    };
    assert_eq!(decide(&paused, &rule(), now()), Verdict::Hold(Hold::Paused));
    let few = seen(49, 0);
    let few = decide(&moment(&few, &old), &rule(), now());
    assert_eq!(
        few,
        Verdict::Hold(Hold::Requests {
            seen: 49,
            wanted: 50
        })
    );
}

#[test]
fn a_failing_version_is_taken_back_at_once_even_while_it_is_paused() {
    let (new, old) = (seen(0, 5), seen(20, 0));
    let failing = Moment {
        entered_at: Some(now()),
        is_paused: true,
        ..moment(&new, &old)
    };
    let Verdict::RollBack(fault) = decide(&failing, &rule(), now()) else {
        panic!("it stays");
    };
    assert_eq!(
        fault.to_string(),
        "5 of 5 requests of the new version failed, surely more than 5 %; of the old one 0 of 20"
    );
    let fewer = seen(0, 4);
    let verdict = decide(&moment(&fewer, &old), &rule(), now());
    assert!(matches!(verdict, Verdict::Hold(_)), "{verdict:?}");
}

#[test]
fn what_may_be_chance_or_somebody_elses_fault_holds() {
    let old = seen(500, 5);
    let unsure = seen(56, 4);
    let verdict = decide(&moment(&unsure, &old), &rule(), now());
    assert!(
        matches!(verdict, Verdict::Hold(Hold::MaybeErrors { .. })),
        "{verdict:?}"
    );
    let (new, old) = (seen(30, 30), seen(250, 250));
    let verdict = decide(&moment(&new, &old), &rule(), now());
    let both = Hold::BothFail { new: 0.5, old: 0.5 };
    assert_eq!(verdict, Verdict::Hold(both));
}

#[test]
fn where_nobody_gets_the_old_version_any_more_its_past_is_compared() {
    let (new, nothing, ever) = (seen(40, 20), seen(0, 0), seen(900, 9));
    let last = Moment {
        next: Next::Nothing,
        old_ever: &ever,
        ..moment(&new, &nothing)
    };
    let verdict = decide(&last, &rule(), now());
    let Verdict::RollBack(Fault::Errors { old, .. }) = verdict else {
        panic!("{verdict:?}");
    };
    assert_eq!(old, (9, 909));
    let failing_too = seen(500, 409);
    let as_bad = Moment {
        old_ever: &failing_too,
        ..last
    };
    let verdict = decide(&as_bad, &rule(), now());
    assert!(matches!(verdict, Verdict::Hold(_)), "{verdict:?}");
}

#[test]
fn a_slow_version_is_taken_back_where_that_is_asked_for() {
    let (new, old) = (timed(60, 400), timed(200, 200));
    assert_eq!(
        decide(&moment(&new, &old), &rule(), now()),
        Verdict::Advance
    );
    let strict = Rule {
        max_slower: Some(1.5),
        ..rule()
    };
    let verdict = decide(&moment(&new, &old), &strict, now());
    assert!(
        matches!(verdict, Verdict::RollBack(Fault::Slow { .. })),
        "{verdict:?}"
    );
    let bearable = timed(60, 280);
    let verdict = decide(&moment(&bearable, &old), &strict, now());
    assert_eq!(verdict, Verdict::Advance);
    let mut mixed = timed(35, 400);
    mixed.add(&timed(30, 200));
    let verdict = decide(&moment(&mixed, &old), &strict, now());
    assert!(
        matches!(verdict, Verdict::Hold(Hold::MaybeSlow { .. })),
        "{verdict:?}"
    );
    let unknown = seen(200, 0);
    let verdict = decide(&moment(&new, &unknown), &strict, now());
    assert!(
        matches!(verdict, Verdict::Hold(Hold::Uncompared { seen: 0, .. })),
        "{verdict:?}"
    );
}

/// Steps a generator of random numbers (Marsaglia's xorshift, 2003) to a number from 0 to 1.
fn draw(state: &mut u64) -> f64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    (*state >> 11) as f64 / (1_u64 << 53) as f64
}

/// Counts the roll-outs of 1,000 that are taken back within 1,000 requests, looked at after every one.
fn taken_back(new_rate: f64, old_rate: f64) -> usize {
    let runs = (1..=1_000_u64).filter(|run| {
        let mut state = run.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let (mut new, mut old) = (Observed::default(), Observed::default());
        (0..1_000).any(|_| {
            for _ in 0..9 {
                let failed = draw(&mut state) < old_rate;
                old.add(&seen(u64::from(!failed), u64::from(failed)));
            }
            let failed = draw(&mut state) < new_rate;
            new.add(&seen(u64::from(!failed), u64::from(failed)));
            let verdict = decide(&moment(&new, &old), &rule(), now());
            matches!(verdict, Verdict::RollBack(_))
        })
    });
    runs.count()
}

#[test]
fn looking_after_every_request_takes_few_good_versions_back_and_nearly_all_bad_ones() {
    let good = taken_back(0.01, 0.01);
    assert!(good <= 2, "{good} of 1000 good versions");
    let at_the_limit = taken_back(0.05, 0.01);
    assert!(at_the_limit <= 70, "{at_the_limit} of 1000 at the limit");
    let bad = taken_back(0.2, 0.01);
    assert!(bad >= 990, "{bad} of 1000 bad versions");
    let all_bad = taken_back(0.2, 0.2);
    assert!(
        all_bad <= 120,
        "{all_bad} of 1000 no worse than the old one"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn nothing_goes_on_too_early_and_nothing_within_its_limits_is_taken_back(
        new_ok in 0_u64..3_000, new_failed in 0_u64..300, old_ok in 0_u64..30_000, old_failed in 0_u64..3_000,
        elapsed in 0_u64..1_200, min_requests in 1_u64..500, percent in 0_u8..100, present in 0_u32..5, paused: bool,
    ) {
        let (new, old) = (seen(new_ok, new_failed), seen(old_ok, old_failed));
        let rule = Rule { min_requests, max_error_rate: f64::from(percent) / 100.0, ..rule() };
        let moment = Moment {
            entered_at: Some(now().before(Duration::from_secs(elapsed))),
            is_paused: paused,
            next: Next::Stage { needed: 2, present },
            ..moment(&new, &old)
        };
        let rate = new.error_rate().unwrap_or(0.0);
        match decide(&moment, &rule, now()) {
            Verdict::Advance => {
                prop_assert!(!paused && elapsed >= HOLD.as_secs() && present >= 2);
                prop_assert!(new.counted() >= min_requests && rate <= rule.max_error_rate);
            }
            Verdict::RollBack(_) => {
                prop_assert!(rate > rule.max_error_rate);
                prop_assert!(rate > old.error_rate().unwrap_or(0.0));
                prop_assert!(new_failed >= min_requests.min(5));
            }
            Verdict::Done => prop_assert!(false, "there is a stage left"),
            Verdict::Hold(_) => {}
        }
    }
}
