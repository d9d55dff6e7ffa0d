//! What the fair queue promises to those who wait in it.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use primitives::MonotonicTime;
use proptest::prelude::*;
use remuda_scheduling::queue::{
    Class, FairQueue, Lane, QueueLimits, RefusalReason, Tenant, Ticket, Waiting,
};

const SEAT: Lane = Lane(99);

fn at(millis: u64) -> MonotonicTime {
    MonotonicTime::from_micros(millis * 1_000)
}

fn queue() -> FairQueue<u64> {
    FairQueue::new(QueueLimits {
        organisation_percent: 100,
        ..QueueLimits::default()
    })
}

fn call(organisation: u128, user: u128, cost: u64) -> Waiting {
    Waiting {
        lane: Lane(0),
        class: Class::Default,
        tenant: Tenant { organisation, user },
        cost,
    }
}

fn push(queue: &mut FairQueue<u64>, call: Waiting, payload: u64) -> Ticket {
    queue.push(call, payload, at(0)).unwrap()
}

/// Starts and ends the next call of lane 0 as estimated; returns what was kept with it.
fn serve(queue: &mut FairQueue<u64>, cost: u64) -> Option<u64> {
    let ticket = queue.next([Lane(0)])?;
    let payload = queue.start(ticket, SEAT, at(0));
    queue.end(ticket, cost);
    payload
}

#[test]
fn one_users_calls_keep_their_order() {
    let mut queue = queue();
    for n in 0..5 {
        push(&mut queue, call(1, 1, 100), n);
    }
    let order: Vec<u64> = std::iter::from_fn(|| serve(&mut queue, 100)).collect();
    assert_eq!(order, [0, 1, 2, 3, 4]);
}

#[test]
fn organisations_share_by_tokens_whatever_their_number_of_users_and_calls() {
    let mut queue = queue();
    // Organisation 1 floods with ten users; organisation 2 has one user with calls four times as large.
    for n in 0..1_000 {
        push(&mut queue, call(1, n % 10, 100), 1);
    }
    for _ in 0..100 {
        push(&mut queue, call(2, 0, 400), 2);
    }
    let mut tokens = [0_u64; 3];
    for _ in 0..250 {
        let ticket = queue.next([Lane(0)]).unwrap();
        let organisation = queue.start(ticket, SEAT, at(0)).unwrap();
        let cost = if organisation == 1 { 100 } else { 400 };
        tokens[organisation as usize] += cost;
        queue.end(ticket, cost);
    }
    let ratio = tokens[1] as f64 / tokens[2] as f64;
    assert!((0.95..=1.05).contains(&ratio), "{tokens:?}");
}

#[test]
fn users_of_one_organisation_share_also_when_they_wait_for_different_things() {
    let mut queue = queue();
    let in_lane = |lane, user, cost| Waiting {
        lane: Lane(lane),
        ..call(1, user, cost)
    };
    for n in 0..40 {
        push(&mut queue, in_lane(0, 1, 1_000), n);
        push(&mut queue, in_lane(1, 2, 100), 100 + n);
    }
    let mut served = [0_u64; 2];
    for _ in 0..44 {
        let ticket = queue.next([Lane(0), Lane(1)]).unwrap();
        let payload = queue.start(ticket, SEAT, at(0)).unwrap();
        let user = usize::from(payload >= 100);
        queue.end(ticket, [1_000, 100][user]);
        served[user] += 1;
    }
    assert_eq!(served, [4, 40]);
}

#[test]
fn one_users_calls_for_different_things_go_in_their_order() {
    let mut queue = queue();
    for n in 0..10 {
        let lane = Lane(n % 2);
        push(
            &mut queue,
            Waiting {
                lane,
                ..call(1, 1, 100)
            },
            n,
        );
    }
    let order: Vec<u64> = std::iter::from_fn(|| {
        let ticket = queue.next([Lane(1), Lane(0)])?;
        let payload = queue.start(ticket, SEAT, at(0));
        queue.end(ticket, 100);
        payload
    })
    .collect();
    assert_eq!(order, (0..10).collect::<Vec<_>>());
}

#[test]
fn who_comes_to_a_flooded_queue_is_next_and_saves_nothing_up_while_away() {
    let mut queue = queue();
    for _ in 0..500 {
        push(&mut queue, call(1, 1, 100), 1);
    }
    for _ in 0..100 {
        assert_eq!(serve(&mut queue, 100), Some(1));
    }
    for _ in 0..10 {
        push(&mut queue, call(2, 1, 100), 2);
    }
    let served: Vec<u64> = (0..20).filter_map(|_| serve(&mut queue, 100)).collect();
    assert_eq!(served[0], 2);
    let second = served.iter().filter(|o| **o == 2).count();
    assert!((9..=10).contains(&second), "in turns: {served:?}");
}

#[test]
fn what_was_really_used_counts() {
    let mut queue = queue();
    for _ in 0..400 {
        push(&mut queue, call(1, 1, 100), 1);
        push(&mut queue, call(2, 1, 100), 2);
    }
    // Both estimate 100, but organisation 2 really uses 300.
    let mut starts = [0_u32; 3];
    for _ in 0..200 {
        let ticket = queue.next([Lane(0)]).unwrap();
        let organisation = queue.start(ticket, SEAT, at(0)).unwrap();
        starts[organisation as usize] += 1;
        queue.end(ticket, if organisation == 1 { 100 } else { 300 });
    }
    assert!((145..=155).contains(&starts[1]), "{starts:?}");
}

#[test]
fn classes_go_by_importance_and_batch_work_does_not_starve() {
    let mut queue = queue();
    for n in 0..2_000 {
        for class in Class::ALL {
            if class != Class::System {
                let call = Waiting {
                    class,
                    ..call(n % 3, 1, 100)
                };
                push(&mut queue, call, class as u64);
            }
        }
    }
    let mut served = [0_u32; 4];
    for _ in 0..1_050 {
        served[serve(&mut queue, 100).unwrap() as usize] += 1;
    }
    assert!(served[1] > 3 * served[2] && served[2] > 3 * served[3]);
    assert!(served[3] >= 45, "{served:?}");
    let system = Waiting {
        class: Class::System,
        ..call(9, 9, 1_000_000)
    };
    push(&mut queue, system, 77);
    assert_eq!(serve(&mut queue, 1), Some(77), "at once");
}

#[test]
fn a_call_that_nothing_can_serve_stands_in_nobodys_way() {
    let mut queue = queue();
    let stuck = Waiting {
        lane: Lane(1),
        ..call(1, 1, 1)
    };
    push(&mut queue, stuck, 1);
    push(&mut queue, call(1, 1, 100), 2);
    assert_eq!(serve(&mut queue, 100), Some(2));
    assert_eq!(queue.next([Lane(0)]), None);
    assert_eq!(queue.waiting_in(Lane(1)), 1);
    assert!(queue.next([Lane(0), Lane(1)]).is_some());
}

#[test]
fn at_the_bound_the_flooder_is_refused_before_others() {
    let mut queue = FairQueue::new(QueueLimits {
        default: 10,
        organisation_percent: 50,
        ..QueueLimits::default()
    });
    for _ in 0..5 {
        queue.push(call(1, 1, 1), 0, at(0)).unwrap();
    }
    let refusal = queue.push(call(1, 2, 1), 0, at(0)).unwrap_err();
    assert_eq!(refusal.reason, RefusalReason::OrganisationFull);
    assert_eq!(
        refusal.to_string(),
        "too many requests of your organisation are waiting (5 of 5): try again in 5 s"
    );
    for organisation in 2..7 {
        queue.push(call(organisation, 1, 1), 0, at(0)).unwrap();
    }
    let refusal = queue.push(call(8, 1, 1), 0, at(0)).unwrap_err();
    assert_eq!(refusal.reason, RefusalReason::ClassFull);
    let interactive = Waiting {
        class: Class::Interactive,
        ..call(8, 1, 1)
    };
    assert!(queue.push(interactive, 0, at(0)).is_ok());
}

#[test]
fn places_and_waits_are_told() {
    let mut queue = queue();
    for n in 0..100 {
        push(&mut queue, call(1, 1, 100), n);
    }
    let late = push(&mut queue, call(1, 1, 100), 100);
    let other = push(&mut queue, call(2, 1, 100), 200);
    assert_eq!(queue.place(late, at(0)).unwrap().expected_wait, None);
    for second in 0..10 {
        let ticket = queue.next([Lane(0)]).unwrap();
        queue.start(ticket, SEAT, at(second * 1_000));
        queue.end(ticket, 100);
    }
    let place = queue.place(late, at(10_000)).unwrap();
    assert!((85..=101).contains(&place.position), "{place:?}");
    // Ten were started in the last 30 s.
    let wait = place.expected_wait.unwrap();
    assert!((200..=310).contains(&wait.as_secs()), "{wait:?}");
    assert!(
        queue
            .place(other, at(10_000))
            .is_none_or(|p| p.position <= 2)
    );
    assert_eq!(queue.age(late, at(10_000)), Some(Duration::from_secs(10)));
}

#[test]
fn batch_work_gives_way_only_before_its_first_token() {
    let mut queue = queue();
    let of = |class| Waiting {
        class,
        ..call(1, 1, 100)
    };
    let [begun, first, second] = [0, 1, 2].map(|n| push(&mut queue, of(Class::Batch), n));
    for ticket in [begun, first, second] {
        queue.start(ticket, SEAT, at(0));
    }
    queue.first_token(begun);
    let usual = push(&mut queue, of(Class::Default), 3);
    assert_eq!(queue.preempt(usual, [SEAT]), None, "it is in no hurry");
    let urgent = push(&mut queue, of(Class::Interactive), 4);
    assert_eq!(queue.preempt(urgent, [Lane(7)]), None, "nobody runs there");
    let preemption = queue.preempt(urgent, [Lane(7), SEAT]).unwrap();
    assert_eq!((preemption.victim, preemption.seat), (second, SEAT));
    assert_eq!(queue.preempt(urgent, [SEAT]), None, "one for one");
    assert!(queue.gives_way(second) && !queue.gives_way(first));
    assert!(queue.put_back(second, Lane(0), 2));
    assert_eq!((queue.waiting(), queue.running()), (3, 2));
    assert_eq!(queue.next([SEAT]), Some(urgent), "the place is kept for it");
    assert!(!queue.put_back(second, Lane(0), 2), "it waits already");

    let another = push(&mut queue, of(Class::System), 5);
    assert_eq!(queue.preempt(another, [SEAT]).unwrap().victim, first);
    queue.first_token(first);
    assert!(!queue.gives_way(first), "its first token was faster");
    let third = push(&mut queue, of(Class::Interactive), 6);
    assert_eq!(queue.preempt(third, [SEAT]), None, "all have begun");
}

#[test]
fn nobody_gives_way_for_ever() {
    let mut queue = queue();
    let of = |class| Waiting {
        class,
        ..call(1, 1, 100)
    };
    let batch = push(&mut queue, of(Class::Batch), 0);
    for round in 0..3 {
        queue.start(batch, SEAT, at(round));
        let urgent = push(&mut queue, of(Class::Interactive), 1);
        let preempted = queue.preempt(urgent, [SEAT]);
        assert_eq!(preempted.is_some(), round < 2, "round {round}");
        if preempted.is_some() {
            assert!(queue.put_back(batch, Lane(0), 0));
        }
        queue.end(urgent, 0);
    }
    assert_eq!((queue.waiting(), queue.running()), (0, 1));
}

#[test]
fn a_reserved_turn_is_charged_once_and_given_back_when_it_is_not_used() {
    let mut queue = queue();
    let reserved = push(&mut queue, call(1, 1, 1_000), 1);
    push(&mut queue, call(2, 1, 1_000), 2);
    push(&mut queue, call(1, 1, 1_000), 3);
    queue.reserve(reserved, SEAT);
    assert_eq!(queue.next([SEAT]), Some(reserved));
    assert_eq!(serve(&mut queue, 1_000), Some(2), "1 had its turn");
    assert_eq!(queue.start(reserved, SEAT, at(0)), Some(1));
    queue.end(reserved, 1_000);
    assert_eq!(serve(&mut queue, 1_000), Some(3));
    let unused = push(&mut queue, call(3, 1, 5_000), 4);
    queue.reserve(unused, SEAT);
    assert_eq!(queue.end(unused, 0), Some(4));
    push(&mut queue, call(4, 1, 10), 5);
    push(&mut queue, call(3, 1, 10), 6);
    let order: HashSet<u64> = (0..2).filter_map(|_| serve(&mut queue, 10)).collect();
    assert_eq!(order, HashSet::from([5, 6]));
}

#[test]
fn limits_that_change_under_load_keep_who_waits_and_bind_who_comes() {
    let mut queue = queue();
    let tickets: Vec<Ticket> = (0..1_000)
        .map(|n| push(&mut queue, call(u128::from(n % 10), 1, 100), n))
        .collect();
    let limits = QueueLimits {
        default: 100,
        organisation_percent: 10,
        ..QueueLimits::default()
    };
    queue.set_limits(limits);
    assert_eq!(queue.waiting(), 1_000);
    let refused = queue.push(call(77, 1, 1), 0, at(0)).unwrap_err();
    assert_eq!((refused.waiting, refused.limit), (1_000, 100));
    assert_eq!(refused.reason, RefusalReason::ClassFull);
    for ticket in tickets.iter().skip(50) {
        assert!(queue.end(*ticket, 0).is_some());
    }
    assert!(queue.push(call(77, 1, 1), 0, at(0)).is_ok());
    queue.set_limits(QueueLimits {
        default: 1_000,
        organisation_percent: 100,
        ..limits
    });
    for n in 0..900 {
        push(&mut queue, call(n, 1, 1), 0);
    }
    let left = std::iter::from_fn(|| serve(&mut queue, 1)).count();
    assert_eq!(left, 951, "everybody gets a turn");
}

#[test]
fn a_clock_that_jumps_neither_loses_nor_reorders_anybody() {
    let mut queue = queue();
    let jumps = [0, 5_000_000_000, 10, u64::from(u32::MAX) * 1_000, 0];
    for (n, millis) in (0_u64..).zip(jumps) {
        let ticket = queue.push(call(1, 1, 100), n, at(millis)).unwrap();
        assert!(queue.place(ticket, at(0)).is_some());
        assert!(queue.age(ticket, at(0)).is_some());
    }
    let mut order = Vec::new();
    for millis in jumps {
        let ticket = queue.next([Lane(0)]).unwrap();
        order.extend(queue.start(ticket, SEAT, at(millis)));
        queue.end(ticket, 100);
    }
    assert_eq!(order, [0, 1, 2, 3, 4]);
}

#[test]
fn a_million_cancelled_calls_leave_nothing_behind() {
    let mut queue = queue();
    let mut kept: Vec<Ticket> = Vec::new();
    for n in 0..1_000_000_u64 {
        let call = Waiting {
            lane: Lane(n % 7),
            class: Class::ALL[n as usize % 4],
            ..call(u128::from(n % 1_000), u128::from(n), 100)
        };
        let Ok(ticket) = queue.push(call, n, at(n)) else {
            panic!("full with {} waiting", queue.waiting());
        };
        kept.push(ticket);
        if n % 3 == 0 {
            queue.start(ticket, Lane(n % 5), at(n));
        }
        if kept.len() > 200 {
            // Cancelled somewhere in the middle, twice: the second time changes nothing.
            let ticket = kept.swap_remove((n % 200) as usize);
            queue.end(ticket, 0);
            queue.end(ticket, 0);
        }
    }
    assert_eq!(queue.waiting() + queue.running(), 200);
    for ticket in kept {
        queue.end(ticket, 50);
    }
    assert_eq!((queue.waiting(), queue.running()), (0, 0));
    assert_eq!(queue.next((0..7).map(Lane)), None);
    assert_eq!((0..7).map(|n| queue.waiting_in(Lane(n))).sum::<u32>(), 0);
}

#[derive(Clone, Debug)]
enum Action {
    Push {
        lane: u64,
        class: usize,
        organisation: u128,
        user: u128,
        cost: u64,
    },
    Start {
        lane: u64,
    },
    End {
        which: prop::sample::Index,
        used: u64,
    },
    Move {
        which: prop::sample::Index,
        lane: u64,
        reserve: bool,
    },
    PutBack {
        which: prop::sample::Index,
        lane: u64,
    },
    FirstToken {
        which: prop::sample::Index,
    },
    Preempt {
        which: prop::sample::Index,
    },
}

fn action() -> impl Strategy<Value = Action> {
    let which = any::<prop::sample::Index>;
    prop_oneof![
        4 => (0_u64..3, 0_usize..4, 0_u128..4, 0_u128..3, 0_u64..5_000).prop_map(
            |(lane, class, organisation, user, cost)| Action::Push { lane, class, organisation, user, cost }
        ),
        3 => (0_u64..3).prop_map(|lane| Action::Start { lane }),
        2 => (which(), 0_u64..9_000).prop_map(|(which, used)| Action::End { which, used }),
        1 => (which(), 0_u64..3, any::<bool>()).prop_map(|(which, lane, reserve)| Action::Move { which, lane, reserve }),
        1 => (which(), 0_u64..3).prop_map(|(which, lane)| Action::PutBack { which, lane }),
        1 => which().prop_map(|which| Action::FirstToken { which }),
        1 => which().prop_map(|which| Action::Preempt { which }),
    ]
}

proptest! {
    /// Whatever happens in whatever order: the queue agrees with a plain list of who waits where and who runs, and everybody who
    /// waits is found by asking for the next ones.
    #[test]
    fn it_agrees_with_a_plain_list(actions in prop::collection::vec(action(), 1..200)) {
        let mut queue = queue();
        let mut waiting: HashMap<Ticket, u64> = HashMap::new();
        let mut running: HashSet<Ticket> = HashSet::new();
        let mut tickets: Vec<Ticket> = Vec::new();
        for action in actions {
            match action {
                Action::Push { lane, class, organisation, user, cost } => {
                    let call = Waiting { lane: Lane(lane), class: Class::ALL[class], tenant: Tenant { organisation, user }, cost };
                    let ticket = queue.push(call, lane, at(0)).unwrap();
                    prop_assert!(!tickets.contains(&ticket), "tickets are used once");
                    waiting.insert(ticket, lane);
                    tickets.push(ticket);
                }
                Action::Start { lane } => {
                    let next = queue.next([Lane(lane)]);
                    prop_assert_eq!(next.is_some(), waiting.values().any(|l| *l == lane));
                    if let Some(ticket) = next {
                        prop_assert_eq!(waiting.remove(&ticket), Some(lane));
                        prop_assert!(queue.start(ticket, SEAT, at(0)).is_some());
                        prop_assert!(queue.start(ticket, SEAT, at(0)).is_none());
                        running.insert(ticket);
                    }
                }
                Action::End { which, used } if !tickets.is_empty() => {
                    let ticket = *which.get(&tickets);
                    let waited = queue.end(ticket, used).is_some();
                    prop_assert_eq!(waited, waiting.remove(&ticket).is_some());
                    running.remove(&ticket);
                }
                Action::Move { which, lane, reserve } if !tickets.is_empty() => {
                    let ticket = *which.get(&tickets);
                    if reserve {
                        queue.reserve(ticket, Lane(lane));
                    } else {
                        queue.move_to(ticket, Lane(lane));
                    }
                    waiting.entry(ticket).and_modify(|l| *l = lane);
                }
                Action::PutBack { which, lane } if !tickets.is_empty() => {
                    let ticket = *which.get(&tickets);
                    let ran = running.remove(&ticket);
                    prop_assert_eq!(queue.put_back(ticket, Lane(lane), 0), ran);
                    if ran {
                        waiting.insert(ticket, lane);
                    }
                }
                Action::Preempt { which } if !tickets.is_empty() => {
                    let ticket = *which.get(&tickets);
                    if let Some(preemption) = queue.preempt(ticket, [SEAT]) {
                        prop_assert!(running.remove(&preemption.victim));
                        prop_assert!(queue.gives_way(preemption.victim));
                        prop_assert!(queue.put_back(preemption.victim, Lane(0), 0));
                        waiting.insert(preemption.victim, 0);
                        queue.move_to(ticket, Lane(1));
                        prop_assert!(waiting.insert(ticket, 1).is_some());
                    }
                }
                Action::FirstToken { which } if !tickets.is_empty() => queue.first_token(*which.get(&tickets)),
                _ => {}
            }
            prop_assert_eq!(queue.waiting(), waiting.len());
            prop_assert_eq!(queue.running(), running.len());
            for lane in 0..3 {
                let here = waiting.values().filter(|l| **l == lane).count();
                prop_assert_eq!(queue.waiting_in(Lane(lane)) as usize, here);
            }
            for ticket in waiting.keys() {
                let place = queue.place(*ticket, at(0)).unwrap();
                prop_assert!(place.position >= 1 && place.position as usize <= waiting.len());
            }
        }
        let mut found = 0;
        while let Some(ticket) = queue.next((0..3).map(Lane)) {
            prop_assert!(queue.start(ticket, SEAT, at(0)).is_some());
            found += 1;
        }
        prop_assert_eq!(found, waiting.len());
    }

    /// Two organisations that always have calls waiting get the same tokens, to within the largest calls, whatever the sizes.
    #[test]
    fn shares_are_equal_to_within_the_largest_calls(
        costs in prop::collection::vec((1_u64..1_000, 1_u64..1_000), 50..200),
    ) {
        let mut queue = queue();
        for (first, second) in &costs {
            push(&mut queue, call(1, 1, *first), *first);
            push(&mut queue, call(2, 1, *second), 1_000_000 + *second);
        }
        let mut tokens = [0_i64; 2];
        // Until the first of them has nothing left to wait for.
        for _ in 0..costs.len() {
            let ticket = queue.next([Lane(0)]).unwrap();
            let payload = queue.start(ticket, SEAT, at(0)).unwrap();
            let cost = payload % 1_000_000;
            queue.end(ticket, cost);
            tokens[usize::from(payload >= 1_000_000)] += cost as i64;
            prop_assert!((tokens[0] - tokens[1]).abs() <= 2_000, "{:?}", tokens);
        }
    }
}
