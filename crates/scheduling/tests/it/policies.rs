//! What every policy promises, and what the default one prefers.

use std::collections::HashMap;
use std::time::Duration;

use primitives::{MonotonicTime, NodeId, Timestamp};
use proptest::prelude::*;
use remuda_scheduling::{
    BreakerVerdict, Call, Candidate, Decision, Exclusion, Health, PolicyName, Portion, Residency,
    RoutingPolicy, Row, Rows, exclusion, policy,
};

fn node(n: usize) -> NodeId {
    NodeId::generate(Timestamp::from_micros(i64::try_from(n).unwrap()))
}

fn call(random: u64) -> Call<'static> {
    Call {
        model: "m",
        prompt_tokens: 800,
        max_tokens: None,
        num_ctx: None,
        prefix: &[],
        tags: &[],
        now: MonotonicTime::from_micros(0),
        random,
    }
}

/// Random bits that do not make the default policy explore.
fn settled(n: u64) -> u64 {
    n.wrapping_mul(0x9E37_79B9_7F4A_7C15) & 0xFFFF_FFFF | (1 << 32)
}

fn candidate() -> impl Strategy<Value = Candidate<'static>> {
    let residency = prop_oneof![
        Just(Residency::Unknown),
        Just(Residency::OnDisk),
        prop::option::of(512_u32..100_000).prop_map(|context| Residency::Loaded { context }),
    ];
    let health = prop_oneof![
        Just(Health::Alive),
        Just(Health::Busy),
        Just(Health::Suspect),
        Just(Health::Dead)
    ];
    let breaker = prop_oneof![
        4 => Just(BreakerVerdict::Allow),
        1 => Just(BreakerVerdict::Probe),
        1 => Just(BreakerVerdict::Refuse { retry_in: Duration::from_secs(9), failed: 5, calls: 6 }),
    ];
    let speeds = (
        prop::option::of(any::<f32>()),
        prop::option::of(any::<f32>()),
        prop::option::of(any::<f32>()),
        any::<f32>(),
    );
    let limits = (
        prop::option::of(0_u32..300),
        prop::option::of(1_u32..300),
        prop::option::of(1_u32..200_000),
        prop::option::of(any::<u64>()),
    );
    let excluded = prop::option::weighted(0.1, Just(Exclusion::AlreadyTried));
    (
        residency,
        health,
        breaker,
        speeds,
        limits,
        (any::<u32>(), any::<u64>(), any::<u32>()),
        any::<bool>(),
        excluded,
        any::<f32>(),
    )
        .prop_map(
            |(
                residency,
                health,
                breaker,
                speeds,
                limits,
                (in_flight, queued_tokens, prefix),
                draining,
                excluded,
                late_ms,
            )| {
                Candidate {
                    residency,
                    health,
                    breaker,
                    decode_tokens_per_s: speeds.0,
                    prefill_tokens_per_s: speeds.1,
                    ttft_ewma_ms: speeds.2,
                    weight: speeds.3,
                    slots: limits.0,
                    max_in_flight: limits.1,
                    context_max: limits.2,
                    model_bytes: limits.3,
                    in_flight: in_flight % 400,
                    queued_tokens: queued_tokens % 10_000_000,
                    prefix_blocks: prefix % 300,
                    late_ms,
                    draining,
                    excluded,
                    ..Candidate::new(node(1), "n")
                }
            },
        )
}

/// Shows a candidate as one of which all is known.
fn known(candidate: Candidate<'_>) -> Candidate<'_> {
    Candidate {
        residency: Residency::Loaded { context: None },
        decode_tokens_per_s: candidate.decode_tokens_per_s.or(Some(20.0)),
        prefill_tokens_per_s: candidate.prefill_tokens_per_s.or(Some(900.0)),
        context_max: None,
        ..candidate
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_policy_chooses_an_excluded_candidate_and_none_gives_up_while_one_is_left(
        candidates in prop::collection::vec(candidate(), 0..12),
        random in any::<u64>(),
        prompt_tokens in any::<u32>(),
        num_ctx in prop::option::of(any::<u32>()),
    ) {
        let call = Call { prompt_tokens, num_ctx, ..call(random) };
        for name in PolicyName::ALL {
            let decision = policy(name).choose(&call, &candidates);
            prop_assert_eq!(decision.scored.len(), candidates.len());
            let eligible = candidates.iter().filter(|c| exclusion(&call, c).is_none()).count();
            match decision.chosen {
                None => prop_assert_eq!(eligible, 0, "{} gives up", name),
                Some(index) => prop_assert_eq!(exclusion(&call, &candidates[index]), None, "{}", name),
            }
            for (scored, candidate) in decision.scored.iter().zip(&candidates) {
                prop_assert!(!scored.score.is_nan());
                prop_assert_eq!(scored.is_excluded(), exclusion(&call, candidate).is_some());
                prop_assert!(name == PolicyName::RoundRobin || !scored.reasons.is_empty(), "{} is silent", name);
            }
        }
    }

    #[test]
    fn rows_that_are_kept_decide_as_candidates_do(
        candidates in prop::collection::vec(candidate(), 0..60),
        random in any::<u64>(),
        blocks in 0_usize..40,
        all_known in any::<bool>(),
    ) {
        // Where all speeds are known the rows are scored by columns.
        let candidates: Vec<Candidate<'_>> = candidates
            .into_iter()
            .map(|c| if all_known { known(c) } else { c })
            .collect();
        let prefix = vec![7; blocks];
        let call = Call { prefix: &prefix, ..call(random) };
        for name in PolicyName::ALL {
            // Two policies: one that takes turns gives two turns to who asks twice.
            let described = policy(name).choose(&call, &candidates);
            let mut rows = Rows::default();
            for _ in &candidates {
                rows.push(Row::of(&Candidate::new(node(1), "n"), &[]));
            }
            for (index, candidate) in candidates.iter().enumerate() {
                rows.set(index, Row::of(&Candidate { prefix_blocks: 0, ..*candidate }, &[]));
                if candidate.prefix_blocks > 0 {
                    rows.warm(index, candidate.prefix_blocks);
                }
            }
            let view = rows.view(Portion::Whole);
            let kept = policy(name).decide(&call, &view, &mut |index| candidates.get(index).copied());
            prop_assert_eq!(kept.chosen, described.chosen);
            prop_assert_eq!(policy(name).pick_of(&call, &view), described.chosen);
            prop_assert_eq!(
                serde_json::to_string(&kept).unwrap(),
                serde_json::to_string(&described).unwrap()
            );
            rows.cool_down();
            let cold = |row: &Row, candidate: &Candidate<'_>| {
                *row == Row::of(&Candidate { prefix_blocks: 0, ..*candidate }, &[])
            };
            prop_assert!(rows.as_slice().iter().zip(&candidates).all(|(row, c)| cold(row, c)));
        }
    }

    #[test]
    fn more_load_never_raises_a_score(
        candidates in prop::collection::vec(candidate(), 1..6),
        which in any::<prop::sample::Index>(),
        more_calls in 0_u32..50,
        more_tokens in 0_u64..100_000,
    ) {
        let which = which.index(candidates.len());
        let mut loaded = candidates.clone();
        loaded[which].in_flight += more_calls;
        loaded[which].queued_tokens += more_tokens;
        for name in PolicyName::ALL {
            let score = |candidates: &[Candidate<'_>]| policy(name).choose(&call(1), candidates).scored[which].score;
            let (before, after) = (score(&candidates), score(&loaded));
            // The last bits may differ by rounding; an excluded candidate stays at minus infinity.
            let rounding = if before.is_finite() { before.abs() * 1e-5 } else { 0.0 };
            prop_assert!(after <= before + rounding, "{}: {} -> {}", name, before, after);
        }
    }
}

fn equal_fleet(count: usize) -> Vec<Candidate<'static>> {
    (0..count)
        .map(|n| Candidate {
            residency: Residency::Loaded {
                context: Some(8_192),
            },
            ..Candidate::new(node(n), "n")
        })
        .collect()
}

fn choices(
    policy: &dyn RoutingPolicy,
    candidates: &[Candidate<'_>],
    calls: u64,
) -> HashMap<usize, u64> {
    let mut counts = HashMap::new();
    for n in 0..calls {
        let decision = policy.choose(&call(settled(n)), candidates);
        *counts.entry(decision.chosen.unwrap()).or_default() += 1;
    }
    counts
}

#[test]
fn equal_nodes_share_the_calls() {
    let fleet = equal_fleet(4);
    for name in PolicyName::ALL {
        let counts = choices(&*policy(name), &fleet, 4_000);
        for index in 0..4 {
            let share = counts.get(&index).copied().unwrap_or_default();
            assert!((800..=1_200).contains(&share), "{name}: {counts:?}");
        }
    }
}

#[test]
fn round_robin_is_even_to_one_although_nodes_come_and_go() {
    let round_robin = policy(PolicyName::RoundRobin);
    let fleet = equal_fleet(3);
    let mut counts = [0_u32; 3];
    for n in 0..30 {
        let candidates = if n % 10 == 9 { &fleet[..2] } else { &fleet[..] };
        counts[round_robin.choose(&call(0), candidates).chosen.unwrap()] += 1;
    }
    assert!(
        counts.iter().all(|count| (7..=13).contains(count)),
        "{counts:?}"
    );
    let two_models: Vec<usize> = (0..4)
        .map(|n| {
            let model = if n % 2 == 0 { "a" } else { "b" };
            let call = Call { model, ..call(0) };
            round_robin.choose(&call, &fleet[..2]).chosen.unwrap()
        })
        .collect();
    assert_ne!(
        two_models[0], two_models[2],
        "each model takes its own turns"
    );
    assert_ne!(two_models[1], two_models[3]);
}

fn decide(candidates: &[Candidate<'_>], call: &Call<'_>) -> Decision {
    policy(PolicyName::Remuda).choose(call, candidates)
}

fn chosen(candidates: &[Candidate<'_>], call: &Call<'_>) -> usize {
    decide(candidates, call).chosen.unwrap()
}

#[test]
fn a_loaded_model_beats_a_cold_one_until_the_line_there_is_longer_than_the_load() {
    let mut fleet = equal_fleet(2);
    fleet[1].residency = Residency::OnDisk;
    fleet[1].model_bytes = Some(4_000_000_000);
    assert_eq!(chosen(&fleet, &call(settled(1))), 0);
    fleet[0].in_flight = 3;
    assert_eq!(
        chosen(&fleet, &call(settled(1))),
        0,
        "a free slot is no reason to load"
    );
    fleet[0].in_flight = 40;
    assert_eq!(
        chosen(&fleet, &call(settled(1))),
        1,
        "residency is not occupancy"
    );
}

#[test]
fn a_warm_prefix_attracts_but_does_not_pile_up() {
    let mut fleet = equal_fleet(3);
    fleet[2].prefix_blocks = 18;
    let blocks = [7; 20];
    let long = Call {
        prompt_tokens: 20_000,
        prefix: &blocks,
        ..call(settled(1))
    };
    assert_eq!(chosen(&fleet, &long), 2);
    fleet[2].in_flight = 200;
    fleet[2].queued_tokens = 200 * 400;
    assert_ne!(chosen(&fleet, &long), 2);
}

#[test]
fn the_context_asked_for_decides_between_loaded_copies() {
    let mut fleet = equal_fleet(2);
    fleet[0].residency = Residency::Loaded {
        context: Some(4_096),
    };
    let asking = |num_ctx| Call {
        num_ctx: Some(num_ctx),
        ..call(settled(3))
    };
    assert_eq!(chosen(&fleet, &asking(8_192)), 1);
    assert_eq!(chosen(&fleet, &asking(4_096)), 0);
    let reasons = serde_json::to_string(&decide(&fleet, &asking(8_192))).unwrap();
    assert!(
        reasons
            .contains("loaded with context 4096, the call asks for 8192: it would be loaded again"),
        "{reasons}"
    );
}

#[test]
fn faster_nodes_get_more_and_unknown_ones_get_tried() {
    let mut fleet = equal_fleet(3);
    fleet[0].decode_tokens_per_s = Some(20.0);
    fleet[1].decode_tokens_per_s = Some(120.0);
    let counts = choices(&*policy(PolicyName::Remuda), &fleet, 100);
    assert_eq!(counts.get(&0), None, "{counts:?}");
    assert!(
        counts.contains_key(&2),
        "taken to be as fast as the best: {counts:?}"
    );
    fleet[2].decode_tokens_per_s = Some(30.0);
    let counts = choices(&*policy(PolicyName::Remuda), &fleet, 100);
    assert_eq!(counts.get(&1), Some(&100), "until its speed is known");
}

#[test]
fn a_slow_node_is_tried_again_now_and_then() {
    let mut fleet = equal_fleet(2);
    fleet[0].decode_tokens_per_s = Some(40.0);
    fleet[1].decode_tokens_per_s = Some(120.0);
    let exploring = (0..1_000_u64).map(|n| n.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let tried = exploring
        .filter(|random| chosen(&fleet, &call(*random)) == 0)
        .count();
    assert!((1..=20).contains(&tried), "{tried} of 1000");
}

#[test]
fn a_suspect_node_is_the_last_choice_but_still_one() {
    let mut fleet = equal_fleet(2);
    fleet[0].health = Health::Suspect;
    assert_eq!(chosen(&fleet, &call(settled(1))), 1);
    fleet[1].draining = true;
    let decision = decide(&fleet, &call(settled(1)));
    assert_eq!(decision.chosen, Some(0));
    let told = serde_json::to_value(&decision).unwrap();
    assert_eq!(
        told["scored"][1]["reasons"][0],
        "draining: takes no new requests"
    );
    assert_eq!(told["scored"][1]["score"], serde_json::Value::Null);
}

#[test]
fn whoever_owes_a_first_token_for_long_gets_no_more_calls_while_others_answer() {
    let prefix: Vec<u64> = (0..20).collect();
    for name in PolicyName::ALL {
        if name == PolicyName::RoundRobin {
            continue;
        }
        let mut fleet = equal_fleet(2);
        // Fast, and with all of the prompt in its cache: everything but its silence speaks for it.
        fleet[0].decode_tokens_per_s = Some(400.0);
        fleet[0].ttft_ewma_ms = Some(5.0);
        fleet[1].ttft_ewma_ms = Some(50.0);
        fleet[0].prefix_blocks = 20;
        fleet[1].in_flight = 1;
        let ask = |fleet: &[Candidate<'static>]| {
            let asked = Call {
                prefix: &prefix,
                ..call(settled(1))
            };
            policy(name).choose(&asked, fleet)
        };
        assert_eq!(ask(&fleet).chosen, Some(0), "{name}");
        fleet[0].late_ms = 110_000.0;
        let decision = ask(&fleet);
        assert_eq!(decision.chosen, Some(1), "{name}");
        let told = serde_json::to_string(&decision).unwrap();
        assert!(
            told.contains("gave no sign for 110.0 s while calls waited for one"),
            "{name}: {told}"
        );
        fleet[1].draining = true;
        assert_eq!(
            ask(&fleet).chosen,
            Some(0),
            "{name}: it is the only one left"
        );
    }
}

#[test]
fn the_silence_of_a_node_is_the_least_time_to_a_first_token_there() {
    let mut fleet = equal_fleet(1);
    fleet[0].in_flight = 1;
    fleet[0].late_ms = 110_000.0;
    let told = serde_json::to_string(&decide(&fleet, &call(settled(1)))).unwrap();
    let expected = "expected first token 110.8 s: 110.0 s waiting behind 1 request, ";
    assert!(told.contains(expected), "{told}");
    fleet[0].in_flight = 0;
    let told = serde_json::to_string(&decide(&fleet, &call(settled(1)))).unwrap();
    assert!(told.contains("110.0 s waiting, "), "{told}");
}

#[test]
fn a_busy_node_comes_after_those_that_answer() {
    for name in PolicyName::ALL {
        if name == PolicyName::RoundRobin {
            continue;
        }
        let mut fleet = equal_fleet(2);
        fleet[0].health = Health::Busy;
        fleet[0].decode_tokens_per_s = Some(400.0);
        for n in 0..20 {
            let decision = policy(name).choose(&call(settled(n)), &fleet);
            assert_eq!(decision.chosen, Some(1), "{name}");
        }
    }
}

#[test]
fn weights_divide_the_work() {
    let mut fleet = equal_fleet(2);
    fleet[1].weight = 3.0;
    let mut counts = [0_u32; 2];
    for n in 0..400 {
        let index = chosen(&fleet, &call(settled(n)));
        fleet[index].in_flight += 1;
        fleet[index].queued_tokens += 300;
        counts[index] += 1;
    }
    assert!(counts[1] > counts[0] * 3 / 2, "{counts:?}");
}
