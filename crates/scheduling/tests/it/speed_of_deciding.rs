//! A decision is cheap enough to be made for every request: no allocation per candidate.

use primitives::{MonotonicTime, NodeId, Timestamp};
use remuda_scheduling::{Call, Candidate, PolicyName, Reasons, Residency, policy};

#[test]
fn two_hundred_candidates_are_decided_in_bounded_memory() {
    let fleet: Vec<Candidate<'_>> = (0..200)
        .map(|n| Candidate {
            residency: Residency::Loaded {
                context: Some(8_192),
            },
            in_flight: n % 7,
            ..Candidate::new(NodeId::generate(Timestamp::from_micros(i64::from(n))), "n")
        })
        .collect();
    let call = Call {
        model: "m",
        prompt_tokens: 800,
        max_tokens: None,
        num_ctx: None,
        prefix: &[],
        tags: &[],
        now: MonotonicTime::from_micros(0),
        random: 1 << 32,
    };
    let decision = policy(PolicyName::Remuda).choose(&call, &fleet);
    assert_eq!(decision.scored.len(), 200);
    assert!(
        fleet[decision.chosen.unwrap()].in_flight == 0,
        "an idle one of them"
    );
    assert!(size_of::<Reasons>() <= 256, "reasons are held in place");
}
