//! What plans do, and what no plan does.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use primitives::{NodeId, Timestamp};
use proptest::prelude::*;
use remuda_scheduling::placement::{
    ActionKind, Copy, Desired, FleetView, Forbidden, InMemory, Mode, ModelFacts, Node, Plan,
    Removal, Standing, plan,
};
use uuid::Uuid;

const GIB: u64 = 1 << 30;
const DAY: Duration = Duration::from_hours(24);

fn now() -> Timestamp {
    Timestamp::from_micros(1_800_000_000_000_000)
}

fn id(number: u128) -> NodeId {
    NodeId::from_uuid(Uuid::from_u128(number))
}

fn node(number: u128) -> Node {
    Node {
        id: id(number),
        name: format!("n{number}").into(),
        tags: Vec::new(),
        region: None,
        standing: Standing::Usable,
        seen_at: Some(now()),
        gpu_bytes: Some(24 * GIB),
        memory_bytes: Some(24 * GIB),
        memory_free_bytes: None,
        disk_free_bytes: Some(100 * GIB),
        shares_files: false,
        copies: Vec::new(),
        failing: BTreeMap::new(),
    }
}

fn copy(key: &str) -> Copy {
    Copy {
        key: key.to_owned(),
        name: key.into(),
        digest: Some("aaaaaaaaaaaaaaaa".into()),
        size_bytes: Some(5 * GIB),
        modified_at: Some(now().before(100 * DAY)),
        in_memory: None,
        in_use: false,
        last_used: None,
        arriving: false,
    }
}

fn loaded(key: &str) -> Copy {
    Copy {
        in_memory: Some(InMemory {
            bytes: Some(6 * GIB),
            context: Some(4_096),
            stays: true,
        }),
        ..copy(key)
    }
}

fn with(mut node: Node, copies: impl IntoIterator<Item = Copy>) -> Node {
    node.copies.extend(copies);
    node
}

fn wanted(key: &str, min_on_disk: u32, min_loaded: u32) -> Desired {
    Desired {
        key: key.to_owned(),
        name: key.to_owned(),
        mode: Mode::Auto,
        min_on_disk,
        min_loaded,
        ..Desired::default()
    }
}

fn fleet(
    nodes: impl IntoIterator<Item = Node>,
    desired: impl IntoIterator<Item = Desired>,
) -> FleetView {
    FleetView {
        now: now(),
        fresh_for: Duration::from_secs(30),
        absent_for: Duration::from_mins(15),
        quiet_for: Duration::from_mins(5),
        nodes: nodes.into_iter().collect(),
        desired: desired.into_iter().collect(),
        facts: BTreeMap::new(),
        extra: BTreeMap::new(),
    }
}

/// Shows a plan as `kind model@node`, in order.
fn steps(plan: &Plan) -> Vec<String> {
    plan.actions
        .iter()
        .map(|action| {
            format!(
                "{} {}@{}",
                action.kind.as_str(),
                action.model,
                action.node_name
            )
        })
        .collect()
}

fn after(view: &FleetView, plan: &Plan) -> FleetView {
    let mut view = view.clone();
    for action in &plan.actions {
        view.apply(action, false);
    }
    view
}

#[test]
fn copies_are_fetched_where_there_is_room_and_then_loaded() {
    let mut small = node(3);
    small.memory_bytes = Some(4 * GIB);
    let view = fleet(
        [with(node(1), [copy("m")]), node(2), small],
        [wanted("m", 2, 2)],
    );
    let made = plan(&view);
    assert_eq!(steps(&made), ["pull m@n2", "load m@n1", "load m@n2"]);
    assert_eq!(made.actions[0].bytes, Some(5 * GIB));
    assert_eq!(
        made.actions[0].why,
        "1 of 2 wanted copies are there, and n2 has memory free for it"
    );
    assert_eq!(made.actions[0].effect, "2 of 2 copies on disk");
}

#[test]
fn what_cannot_be_had_says_why() {
    let mut full = node(2);
    full.disk_free_bytes = Some(GIB);
    let mut away = node(3);
    away.standing = Standing::Unreachable;
    let mut elsewhere = node(4);
    elsewhere.tags = vec!["cpu".to_owned()];
    let mut desired = wanted("m", 3, 0);
    desired.tags = vec!["gpu".to_owned()];
    let mut nodes = vec![with(node(1), [copy("m")]), full, away, elsewhere];
    for node in nodes.iter_mut().take(3) {
        node.tags = vec!["gpu".to_owned()];
    }
    let made = plan(&fleet(nodes, [desired]));
    assert!(made.is_empty());
    assert_eq!(
        made.unmet[0].reason,
        "1 of 3 copies on disk: one node has no room on the disk, one node is not answering, \
         one node is not of the wanted tags, region or GPU memory"
    );
}

#[test]
fn a_model_goes_where_tags_region_and_gpu_memory_are_as_wanted() {
    let mut nodes = [node(1), node(2), node(3), node(4)];
    for node in &mut nodes {
        node.tags = vec!["gpu".to_owned()];
        node.region = Some("west".to_owned());
    }
    nodes[0].tags.clear();
    nodes[1].region = Some("east".to_owned());
    nodes[2].gpu_bytes = Some(8 * GIB);
    let mut desired = wanted("m", 4, 0);
    desired.tags = vec!["gpu".to_owned()];
    desired.region = Some("west".to_owned());
    desired.min_gpu_bytes = Some(16 * GIB);
    let made = plan(&fleet(nodes, [desired]));
    assert_eq!(steps(&made), ["pull m@n4"]);
    assert_eq!(
        made.unmet[0].reason,
        "1 of 4 copies on disk: 3 nodes are not of the wanted tags, region or GPU memory"
    );
}

#[test]
fn a_pinned_node_gets_its_copy_whatever_its_tags_and_keeps_it() {
    let mut desired = wanted("m", 0, 0);
    desired.pinned = vec![id(2)];
    desired.keep_warm = true;
    desired.tags = vec!["none has it".to_owned()];
    desired.retention = Some(DAY);
    desired.max_loaded = Some(0);
    let view = fleet([node(1), node(2)], [desired]);
    let made = plan(&view);
    assert_eq!(steps(&made), ["pull m@n2", "load m@n2"]);
    let mut old = after(&view, &made);
    old.now = old.now.after(90 * DAY);
    for node in &mut old.nodes {
        node.seen_at = Some(old.now);
    }
    assert!(plan(&old).is_empty());
    let forbidden = old.forbids(Removal::Files, id(2), "m");
    assert_eq!(forbidden, Some(Forbidden::Pinned));
    let forbidden = old.forbids(Removal::Memory, id(2), "m");
    assert_eq!(forbidden, Some(Forbidden::KeptWarm));
}

#[test]
fn an_idle_model_makes_room_and_a_busy_one_does_not() {
    let mut desired = wanted("m", 1, 1);
    desired.pinned = vec![id(1)];
    let mut small = node(1);
    small.memory_bytes = Some(8 * GIB);
    let idle = with(small.clone(), [copy("m"), loaded("old")]);
    assert_eq!(
        steps(&plan(&fleet([idle], [desired.clone()]))),
        ["unload old@n1", "load m@n1"]
    );
    let mut generating = loaded("old");
    generating.in_use = true;
    let made = plan(&fleet([with(small, [copy("m"), generating])], [desired]));
    assert!(made.is_empty());
    assert!(
        made.unmet[0]
            .reason
            .starts_with("0 of 1 nodes have it in memory")
    );
}

#[test]
fn a_larger_context_needs_more_room() {
    let mut desired = wanted("m", 1, 1);
    let mut small = node(1);
    small.memory_bytes = Some(8 * GIB);
    let view = |desired: &Desired| fleet([with(small.clone(), [copy("m")])], [desired.clone()]);
    assert_eq!(steps(&plan(&view(&desired))), ["load m@n1"]);
    desired.context = Some(65_536);
    assert!(
        plan(&view(&desired)).is_empty(),
        "8 % of 5 GiB for each 4,096"
    );
    let mut told = view(&desired);
    let facts = ModelFacts {
        max_context: Some(4_096),
        ..ModelFacts::default()
    };
    told.facts.insert("m".to_owned(), facts);
    assert_eq!(steps(&plan(&told)), ["load m@n1"], "it can have no more");
}

#[test]
fn what_a_model_was_seen_to_take_counts_more_than_the_estimate() {
    let mut seen = loaded("m");
    seen.in_memory = Some(InMemory {
        bytes: Some(12 * GIB),
        context: Some(4_096),
        stays: true,
    });
    let mut small = node(2);
    small.memory_bytes = Some(10 * GIB);
    let made = plan(&fleet(
        [with(node(1), [seen]), with(small, [copy("m")])],
        [wanted("m", 1, 2)],
    ));
    assert!(made.is_empty());
    assert_eq!(made.unmet.len(), 1);
}

#[test]
fn demand_brings_more_nodes_and_quiet_takes_them_away() {
    let mut desired = wanted("m", 1, 1);
    desired.max_loaded = Some(2);
    let mut used = loaded("m");
    used.last_used = Some(now());
    let mut view = fleet([with(node(1), [used]), node(2)], [desired]);
    assert!(plan(&view).is_empty());
    view.extra.insert("m".to_owned(), 1);
    let made = plan(&view);
    assert_eq!(steps(&made), ["pull m@n2", "load m@n2"]);
    let mut grown = after(&view, &made);
    grown.extra.clear();
    assert!(plan(&grown).is_empty(), "it was just used");
    grown.now = grown.now.after(Duration::from_mins(6));
    for node in &mut grown.nodes {
        node.seen_at = Some(grown.now);
    }
    assert_eq!(steps(&plan(&grown)).len(), 1);
    assert!(steps(&plan(&grown))[0].starts_with("unload m@"));
}

#[test]
fn unused_copies_beyond_those_wanted_go_the_longest_unused_first() {
    let mut desired = wanted("m", 1, 0);
    desired.retention = Some(30 * DAY);
    let mut lately = copy("m");
    lately.last_used = Some(now().before(2 * DAY));
    let mut longer = loaded("m");
    longer.last_used = Some(now().before(40 * DAY));
    longer.modified_at = None;
    let view = fleet(
        [
            with(node(1), [lately]),
            with(node(2), [longer]),
            with(node(3), [copy("m")]),
        ],
        [desired],
    );
    let made = plan(&view);
    assert_eq!(steps(&made), ["delete m@n3", "unload m@n2", "delete m@n2"]);
    assert_eq!(
        made.actions[0].why,
        "more copies than wanted, and this one is unused for 100 days"
    );
}

#[test]
fn files_that_differ_are_flagged_and_fetched_anew_where_they_are_older() {
    let mut newer = copy("m");
    newer.digest = Some("bbbbbbbbbbbbbbbb".into());
    newer.modified_at = Some(now().before(DAY));
    let nodes = [
        with(node(1), [copy("m")]),
        with(node(2), [newer]),
        with(node(3), [copy("m")]),
    ];
    let view = fleet(nodes.clone(), [wanted("m", 1, 0)]);
    let made = plan(&view);
    assert_eq!(steps(&made), ["pull m@n1", "pull m@n3"]);
    assert_eq!(&*made.drift[0].sides[0].digest, "bbbbbbbbbbbbbbbb");
    assert!(plan(&after(&view, &made)).drift.is_empty());
    let unmanaged = plan(&fleet(nodes, []));
    assert!(unmanaged.is_empty());
    assert_eq!(unmanaged.drift.len(), 1, "flagged whatever is wanted");
}

#[test]
fn files_come_from_another_node_where_both_can() {
    let mut nodes = [with(node(1), [copy("m")]), node(2)];
    for node in &mut nodes {
        node.shares_files = true;
    }
    let made = plan(&fleet(nodes, [wanted("m", 2, 0)]));
    assert_eq!(steps(&made), ["copy m@n2"]);
    assert_eq!(made.actions[0].from, Some(id(1)));
}

#[test]
fn a_node_that_is_away_for_a_moment_is_not_replaced() {
    let mut away = with(node(1), [copy("m")]);
    away.standing = Standing::Unreachable;
    away.seen_at = Some(now().before(Duration::from_mins(5)));
    let mut view = fleet(
        [away, with(node(2), [copy("m")]), node(3)],
        [wanted("m", 2, 0)],
    );
    assert!(plan(&view).is_empty());
    view.nodes[0].seen_at = Some(now().before(Duration::from_mins(20)));
    assert_eq!(steps(&plan(&view)), ["pull m@n3"]);
}

#[test]
fn a_node_that_failed_is_left_alone_for_a_while() {
    let mut failing = node(1);
    failing.failing = BTreeMap::from([("m".to_owned(), now().after(DAY))]);
    let mut view = fleet([failing, node(2)], [wanted("m", 2, 0)]);
    let made = plan(&view);
    assert_eq!(steps(&made), ["pull m@n2"]);
    assert!(made.unmet[0].reason.contains("waiting after a failure"));
    view.nodes[0].failing.clear();
    assert_eq!(steps(&plan(&view)).len(), 2);
}

#[test]
fn nothing_is_planned_for_a_model_that_is_off() {
    let mut desired = wanted("m", 2, 2);
    desired.mode = Mode::Off;
    assert_eq!(plan(&fleet([node(1)], [desired])), Plan::default());
}

fn some_copy(key: &'static str) -> impl Strategy<Value = Option<Copy>> {
    let parts = (
        any::<bool>(),
        0..3_u8,
        proptest::option::of(0..60_u32),
        prop::bool::weighted(0.2),
        0..3_u8,
        0..100_u32,
        prop::bool::weighted(0.1),
    );
    parts.prop_map(
        move |(there, memory, used, in_use, digest, age, arriving)| {
            there.then(|| Copy {
                digest: Some(Arc::from(["a", "b", "c"][usize::from(digest)])),
                modified_at: Some(now().before(age * DAY)),
                in_memory: (memory > 0 && !arriving).then_some(InMemory {
                    bytes: Some(6 * GIB),
                    context: Some(4_096),
                    stays: memory == 2,
                }),
                in_use: in_use && !arriving,
                last_used: used.map(|days| now().before(days * DAY)),
                arriving,
                ..copy(key)
            })
        },
    )
}

fn some_node(number: u128) -> impl Strategy<Value = Node> {
    let parts = (
        (some_copy("a"), some_copy("b"), some_copy("c")),
        0..8_u8,
        prop::sample::select(vec![0_u64, 1, 20, 40, 2_000]),
        proptest::option::of(4..32_u64),
        proptest::option::of(0..30_u64),
        any::<bool>(),
        any::<bool>(),
    );
    parts.prop_map(
        move |((a, b, c), standing, age, memory, disk, gpu, shares)| Node {
            tags: if gpu {
                vec!["gpu".to_owned()]
            } else {
                Vec::new()
            },
            standing: match standing {
                0 => Standing::Draining,
                1 => Standing::Unreachable,
                2 => Standing::Fixed,
                _ => Standing::Usable,
            },
            seen_at: Some(now().before(Duration::from_secs(age))),
            memory_bytes: memory.map(|gib| gib * GIB),
            disk_free_bytes: disk.map(|gib| gib * GIB),
            shares_files: shares,
            copies: [a, b, c].into_iter().flatten().collect(),
            ..node(number)
        },
    )
}

fn some_desired(key: &'static str) -> impl Strategy<Value = Option<Desired>> {
    let parts = (
        0..4_u8,
        0..4_u32,
        0..3_u32,
        proptest::option::of(0..4_u32),
        any::<bool>(),
        proptest::collection::btree_set(1..6_u128, 0..2),
        any::<bool>(),
        proptest::option::of(0..50_u32),
        proptest::option::of(prop::sample::select(vec![2_048_u32, 4_096, 16_384])),
    );
    parts.prop_map(
        move |(mode, disk, memory, most, tagged, pinned, warm, retention, context)| {
            let mode = match mode {
                0 => return None,
                1 => Mode::Off,
                2 => Mode::Suggest,
                _ => Mode::Auto,
            };
            Some(Desired {
                mode,
                max_loaded: most,
                tags: if tagged {
                    vec!["gpu".to_owned()]
                } else {
                    Vec::new()
                },
                pinned: pinned.into_iter().map(id).collect(),
                keep_warm: warm,
                retention: retention.map(|days| days * DAY),
                context,
                ..wanted(key, disk, memory)
            })
        },
    )
}

prop_compose! {
    fn some_fleet()(
        one in some_node(1),
        two in some_node(2),
        three in some_node(3),
        four in some_node(4),
        five in some_node(5),
        count in 0..=5_usize,
        desired in (some_desired("a"), some_desired("b"), some_desired("c")),
        extra in 0..3_u32,
    ) -> FleetView {
        let nodes = [one, two, three, four, five].into_iter().take(count);
        let desired = [desired.0, desired.1, desired.2].into_iter().flatten();
        let mut view = fleet(nodes, desired);
        view.extra = BTreeMap::from([("a".to_owned(), extra)]);
        view
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_plan_takes_away_what_must_stay(view in some_fleet()) {
        let made = plan(&view);
        let mut as_planned = view.clone();
        for action in &made.actions {
            let node = view.find_node(action.node).unwrap();
            prop_assert!(view.is_usable(node), "{action:?} at a node that is not usable");
            let before = node.find_copy(&action.key);
            let in_use = before.is_some_and(|copy| copy.in_use);
            match action.kind {
                ActionKind::Delete => {
                    prop_assert!(!in_use, "{action:?} deletes what is in use");
                    let desired = view.find_desired(&action.key);
                    prop_assert!(desired.is_some_and(|desired| {
                        desired.mode != Mode::Off && !desired.pins(action.node)
                    }), "{action:?} deletes what is pinned, or nobody's");
                    let left = as_planned.nodes.iter().filter(|other| {
                        other.id != action.node && view.is_usable(other) && other.has(&action.key)
                    });
                    prop_assert!(left.count() > 0, "{action:?} deletes the last copy");
                    let forbidden = as_planned.forbids(Removal::Files, action.node, &action.key);
                    prop_assert_eq!(forbidden, None);
                }
                ActionKind::Unload => prop_assert!(!in_use, "{action:?} unloads what is in use"),
                // Fetching over present files replaces them.
                ActionKind::Pull | ActionKind::Copy => prop_assert!(!in_use, "{action:?}"),
                ActionKind::Load => prop_assert!(as_planned.find_node(action.node).unwrap().has(&action.key)),
            }
            as_planned.apply(action, false);
        }
    }

    #[test]
    fn a_plan_that_was_carried_out_leaves_nothing_to_plan(view in some_fleet()) {
        let made = plan(&view);
        let done = after(&view, &made);
        prop_assert_eq!(steps(&plan(&done)), Vec::<String>::new(), "after {:?}", steps(&made));
    }

    #[test]
    fn an_old_view_plans_nothing(view in some_fleet()) {
        let mut old = view;
        old.now = old.now.after(Duration::from_mins(5));
        prop_assert_eq!(steps(&plan(&old)), Vec::<String>::new());
    }

    #[test]
    fn what_is_under_way_is_not_planned_again(view in some_fleet()) {
        let made = plan(&view);
        let mut under_way = view.clone();
        for action in &made.actions {
            under_way.apply(action, true);
        }
        let again = plan(&under_way);
        for action in &again.actions {
            let twice = made.actions.iter().any(|other| {
                (other.kind, &other.key, other.node) == (action.kind, &action.key, action.node)
            });
            prop_assert!(!twice, "{} is planned twice", steps(&again).join(", "));
        }
    }
}
