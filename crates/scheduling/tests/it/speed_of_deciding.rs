//! A decision over a large fleet explains a bounded number of candidates, the chosen one among them.

use primitives::{MonotonicTime, NodeId, Timestamp};
use remuda_scheduling::{Call, Candidate, EXPLAINED, PolicyName, Residency, policy};

#[test]
fn of_two_hundred_candidates_the_best_are_explained() {
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
    assert_eq!(decision.scored.len(), EXPLAINED);
    let chosen = decision.chosen.unwrap();
    assert!(decision.scored.iter().any(|s| s.index == chosen));
    assert!(
        decision
            .scored
            .iter()
            .all(|s| fleet[s.index].in_flight <= 1)
    );
    assert!(fleet[chosen].in_flight == 0, "an idle one of them");
}
