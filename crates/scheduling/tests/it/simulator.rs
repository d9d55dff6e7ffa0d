//! The simulator: what it reads, what it refuses, and that a simulated fleet behaves like one.

use std::fmt::Write as _;
use std::io::Cursor;

use remuda_scheduling::PolicyName;
use remuda_scheduling::queue::Class;
use remuda_scheduling::simulator::{
    FleetSpec, Options, PlotFormat, Report, Synthetic, Table, TraceReader, TraceRequest, plot,
    simulate,
};

const AZURE: &str = "TIMESTAMP,ContextTokens,GeneratedTokens\n";

fn read(text: &str) -> Result<Vec<TraceRequest>, String> {
    TraceReader::new(Cursor::new(text.as_bytes()))
        .collect::<Result<_, _>>()
        .map_err(|error| error.to_string())
}

fn fleet(extra: &str) -> FleetSpec {
    FleetSpec::parse(&format!(
        "[[models]]\nname = \"m\"\nbytes = 4_000_000_000\n\
         [[nodes]]\nname = \"n\"\ncount = 4\nprefill_tokens_per_s = 4000\ndecode_tokens_per_s = 50\nslots = 8\n{extra}"
    ))
    .unwrap()
}

/// A trace of `count` equal requests, `every_ms` apart.
fn steady(
    count: u64,
    every_ms: u64,
) -> impl Iterator<Item = Result<TraceRequest, remuda_scheduling::simulator::TraceError>> {
    (0..count).map(move |n| {
        Ok(TraceRequest {
            at_us: n * every_ms * 1_000,
            prompt_tokens: 800,
            output_tokens: 100,
            ..TraceRequest::default()
        })
    })
}

fn run(
    trace: impl Iterator<Item = Result<TraceRequest, remuda_scheduling::simulator::TraceError>>,
    fleet: &FleetSpec,
    options: &Options,
) -> Report {
    simulate(trace, fleet, PolicyName::Remuda, options).unwrap()
}

#[test]
fn the_three_formats_are_told_apart() {
    let azure = read(&format!(
        "{AZURE}2023-11-16 18:15:46.6805900,374,44\n2023-11-16 18:15:50.9951690,396,109\n"
    ))
    .unwrap();
    assert_eq!(azure.len(), 2);
    assert_eq!(
        (
            azure[1].at_us,
            azure[1].prompt_tokens,
            azure[1].output_tokens
        ),
        (4_314_579, 396, 109)
    );
    let mooncake = read(
        "{\"timestamp\": 27, \"input_length\": 6758, \"output_length\": 500, \"hash_ids\": [0, 1, 2]}\n\n\
         {\"timestamp\": 1027, \"input_length\": 9, \"output_length\": 1, \"hash_ids\": [0]}\n",
    )
    .unwrap();
    assert_eq!(
        (mooncake[1].at_us, mooncake[0].blocks.as_slice()),
        (1_000_000, &[0, 1, 2][..])
    );
    let export = read(
        "{\"id\":\"x\",\"received_at\":\"2026-01-02T03:04:05.5Z\",\"model\":\"m\",\"caller_id\":\"k1\",\"prompt_tokens\":12,\"completion_tokens\":null}\n\
         {\"received_at\":\"2026-01-02T03:04:05Z\",\"model\":\"m\",\"caller\":\"ann\",\"prompt_tokens\":12,\"completion_tokens\":3,\"class\":\"batch\"}\n",
    )
    .unwrap();
    assert_eq!(export[0].model.as_deref(), Some("m"));
    assert_eq!(
        (export[0].output_tokens, export[1].at_us),
        (1, 0),
        "a little out of order is put right"
    );
    assert_ne!(export[0].tenant, export[1].tenant);
    assert_eq!(read("").unwrap(), []);
}

#[test]
fn malformed_lines_are_named() {
    let long = format!("{AZURE}{}", "1".repeat(2 << 20));
    let cases = [
        ("hello\n", "line 1: not a trace"),
        ("{\"a\":1}\n", "line 1: not a trace"),
        (
            &format!("{AZURE}2023-11-16 18:15:46,1,2\n2023-11-16 18:15:47,1\n"),
            "line 3: expected a time and two numbers",
        ),
        (
            &format!("{AZURE}yesterday,1,2\n"),
            "line 2: the time yesterday",
        ),
        (
            &format!("{AZURE}2023-11-16 18:15:46,-5,2\n"),
            "line 2: expected a time and two numbers",
        ),
        (
            &format!("{AZURE}2023-11-16 18:15:46,5,99999999999\n"),
            "line 2: 99999999999 tokens are more",
        ),
        (
            &format!("{AZURE}2023-11-16 18:15:46,1,2\n2023-11-16 17:15:46,1,2\n"),
            "line 3: the time goes back by 3600 s",
        ),
        (
            &format!("{AZURE}2023-11-16 18:15:46,1,2\n2024-11-16 17:15:46,1,2\n"),
            "line 3: the time goes on by 366 days",
        ),
        (
            "{\"timestamp\":-5,\"input_length\":1,\"output_length\":1}\n",
            "line 1: the time -5 ms",
        ),
        (
            "{\"timestamp\":1e300,\"input_length\":1,\"output_length\":1}\n",
            "line 1: the time 1000",
        ),
        (
            "{\"timestamp\":1,\"input_length\":-1,\"output_length\":1}\n",
            "line 1: invalid value",
        ),
        (
            "{\"timestamp\":1,\"input_length\":1,\"output_length\":1}\n{\"timestamp\":",
            "line 2: EOF while parsing",
        ),
        (&long, "line 2: longer than 1 MiB"),
    ];
    for (text, expected) in cases {
        let error = read(text).unwrap_err();
        assert!(
            error.starts_with(expected),
            "{error:?} instead of {expected:?}"
        );
    }
    let not_text = TraceReader::new(Cursor::new(b"\xff\xfe\n".as_slice())).next();
    assert_eq!(
        not_text.unwrap().unwrap_err().to_string(),
        "line 1: not UTF-8 text"
    );
}

#[test]
fn an_error_in_the_trace_ends_the_simulation_with_its_line() {
    let text = format!("{AZURE}2023-11-16 18:15:46,10,2\n2023-11-16 18:15:47,10,2\noops,1,2\n");
    let trace = TraceReader::new(Cursor::new(text.as_bytes()));
    let error = simulate(trace, &fleet(""), PolicyName::Remuda, &Options::default()).unwrap_err();
    assert!(
        error.to_string().contains("line 4: the time oops"),
        "{error}"
    );
}

#[test]
fn impossible_fleets_say_what_must_be_different() {
    let model = "[[models]]\nname = \"m\"\nbytes = 8_000_000_000\n";
    let node = "[[nodes]]\nname = \"n\"\nprefill_tokens_per_s = 4000\ndecode_tokens_per_s = 50\nslots = 8\n";
    let cases = [
        (format!("nodes = []\n{model}"), "the fleet has no nodes"),
        (format!("models = []\n{node}"), "the fleet has no models"),
        (
            format!("{model}{node}count = 0\n"),
            "the fleet has no nodes",
        ),
        (
            format!("{model}{node}count = 200_000\n"),
            "the fleet has too many nodes: at most 100000",
        ),
        (
            format!("{model}{model}{node}"),
            "the model \"m\" is described twice",
        ),
        (
            format!("{model}{}", node.replace("4000", "0")),
            "n: prefill_tokens_per_s must be",
        ),
        (
            format!("{model}{}", node.replace("50", "-1")),
            "n: decode_tokens_per_s must be",
        ),
        (
            format!("{model}{}", node.replace("50", "nan")),
            "n: decode_tokens_per_s must be",
        ),
        (
            format!("{model}{}", node.replace("slots = 8", "slots = 0")),
            "n: slots must be from 1",
        ),
        (
            format!("{model}{node}memory_bytes = 1_000\n"),
            "no node can run \"m\" (it is larger than their memory)",
        ),
        (
            format!("{model}{node}models = [\"x\"]\n"),
            "n has the model \"x\", which no [[models]] describes",
        ),
        (
            format!("{model}{node}speed = 4\n"),
            "the fleet file cannot be read",
        ),
        (
            format!("{model}{node}[[nodes.failures]]\nat_s = -1\nfor_s = 5\n"),
            "n: failures must be",
        ),
        (
            format!("{}{node}", model.replace("bytes", "cost = 0.0\nbytes")),
            "m: cost must be above 0",
        ),
    ];
    for (text, expected) in cases {
        let error = FleetSpec::parse(&text).unwrap_err().to_string();
        assert!(
            error.starts_with(expected),
            "{error:?} instead of {expected:?}"
        );
    }
    for rate in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let options = Options {
            rate,
            ..Options::default()
        };
        let error = simulate(steady(1, 1), &fleet(""), PolicyName::Remuda, &options).unwrap_err();
        assert!(error.to_string().starts_with("the rate must be"), "{rate}");
    }
}

#[test]
fn an_idle_fleet_answers_in_the_time_the_work_takes() {
    let report = run(steady(100, 5_000), &fleet(""), &Options::default());
    assert_eq!((report.served, report.failed, report.refused), (100, 0, 0));
    // 800 tokens at 4000/s; then 99 more at 50/s.
    assert!(
        (199.0..=202.0).contains(&report.first_token.p50_ms),
        "{report:?}"
    );
    assert!(
        (2_170.0..=2_190.0).contains(&report.end_to_end.p99_ms),
        "{report:?}"
    );
    assert!((report.fairness - 1.0).abs() < 1e-6);
}

#[test]
fn the_same_seed_gives_the_same_report_and_another_rate_another() {
    let fleet = fleet("cache_tokens = 100_000\n");
    let report = |seed, rate| {
        let options = Options {
            seed,
            rate,
            flood: Some(3),
            ..Options::default()
        };
        run(steady(2_000, 100), &fleet, &options)
    };
    assert_eq!(report(7, 1.0), report(7, 1.0));
    assert!(report(7, 0.1).first_token.p99_ms < report(7, 3.0).first_token.p99_ms);
    let reports = [report(7, 1.0), report(8, 1.0)];
    let table = Table(&reports).to_string();
    assert!(
        table.contains("first token of all but the flooding tenant"),
        "{table}"
    );
    assert_eq!(
        table.lines().filter(|l| l.starts_with("remuda ")).count(),
        2
    );
    assert!(serde_json::to_value(&reports).unwrap()[0]["first_token"]["p99_ms"].is_number());
    let picture = String::from_utf8(plot(&reports, PlotFormat::Svg).unwrap()).unwrap();
    assert!(picture.starts_with("<svg") && picture.ends_with("</svg>\n"));
    assert_eq!(picture.matches("stroke-width=\"2\"").count(), 2);
    let pixels = plot(&reports, PlotFormat::Png).unwrap();
    let mut reader = png::Decoder::new(Cursor::new(pixels)).read_info().unwrap();
    let mut image = vec![0; reader.output_buffer_size().unwrap()];
    reader.next_frame(&mut image).unwrap();
    assert_eq!((reader.info().width, reader.info().height), (1_440, 840));
    for line in [[0x0b, 0x6e, 0x4f], [0xc8, 0x55, 0x3d]] {
        assert!(image.chunks(3).any(|pixel| pixel == line), "both are drawn");
    }
}

/// Conversations that grow by two blocks a turn, one turn of each after the other.
fn conversations(count: u64, turns: u64) -> Vec<TraceRequest> {
    let mut requests = Vec::new();
    for turn in 0..turns {
        for conversation in 0..count {
            let blocks: Vec<u64> = (0..=2 * turn + 4)
                .map(|block| conversation << 16 | block)
                .collect();
            requests.push(TraceRequest {
                at_us: requests.len() as u64 * 250_000,
                prompt_tokens: blocks.len() as u32 * 512,
                output_tokens: 60,
                blocks,
                ..TraceRequest::default()
            });
        }
    }
    requests
}

#[test]
fn affinity_finds_what_the_caches_hold_and_least_load_does_not() {
    let fleet = fleet("cache_tokens = 400_000\n");
    let hits = |policy| {
        let trace = conversations(40, 12).into_iter().map(Ok);
        simulate(trace, &fleet, policy, &Options::default())
            .unwrap()
            .prefix
    };
    let [remuda, affinity, least_load] = [
        PolicyName::Remuda,
        PolicyName::PrefixAffinity,
        PolicyName::LeastLoad,
    ]
    .map(hits);
    assert!(remuda.of_bounded_oracle > 0.9, "{remuda:?}");
    assert!(affinity.of_bounded_oracle > 0.7, "{affinity:?}");
    assert!(least_load.of_bounded_oracle < 0.75, "{least_load:?}");
    assert!(remuda.oracle >= remuda.bounded_oracle);
}

#[test]
fn fast_nodes_do_the_work_of_an_unequal_fleet() {
    let mut text = "[[models]]\nname = \"m\"\n".to_owned();
    for speed in [1, 8] {
        write!(
            text,
            "[[nodes]]\nname = \"n{speed}\"\nprefill_tokens_per_s = {}\ndecode_tokens_per_s = {}\nslots = 8\n",
            500 * speed,
            10 * speed
        )
        .unwrap();
    }
    let fleet = FleetSpec::parse(&text).unwrap();
    let p99 = |policy| {
        let report = simulate(steady(2_000, 700), &fleet, policy, &Options::default()).unwrap();
        report.end_to_end.p99_ms
    };
    assert!(p99(PolicyName::Remuda) < 0.6 * p99(PolicyName::RoundRobin));
}

#[test]
fn a_flooding_tenant_harms_itself_more_than_others() {
    let fleet = fleet("");
    let options = Options {
        tenants: 8,
        ..Options::default()
    };
    let calm = run(steady(4_000, 300), &fleet, &options);
    let flooded = run(
        steady(4_000, 300),
        &fleet,
        &Options {
            flood: Some(10),
            ..options
        },
    );
    let others = flooded.first_token_of_others.unwrap().p99_ms;
    assert!(
        others < 2.0 * calm.first_token.p99_ms,
        "{others} after {}",
        calm.first_token.p99_ms
    );
    assert!(flooded.first_token.p99_ms > 2.0 * others);
}

#[test]
fn a_node_that_fails_loses_no_request() {
    let fleet = fleet("[[nodes.failures]]\nat_s = 10\nfor_s = 5\n");
    let report = run(steady(400, 100), &fleet, &Options::default());
    assert_eq!((report.served, report.failed), (400, 0));
    assert!(report.retries > 0);
    assert!(
        report.first_token.max_ms > 5_000.0,
        "all four nodes were down"
    );
}

#[test]
fn a_node_that_flaps_every_second_is_kept_away_by_its_breaker() {
    let text = "[[models]]\nname = \"m\"\n\
        [[nodes]]\nname = \"good\"\nprefill_tokens_per_s = 4000\ndecode_tokens_per_s = 50\nslots = 16\n\
        [[nodes]]\nname = \"flapping\"\nprefill_tokens_per_s = 4000\ndecode_tokens_per_s = 50\nslots = 16\n\
        [[nodes.failures]]\nat_s = 0.5\nfor_s = 0.5\nrepeats = 600\n";
    let report = run(
        steady(2_000, 250),
        &FleetSpec::parse(text).unwrap(),
        &Options::default(),
    );
    assert_eq!((report.served, report.failed), (2_000, 0));
    assert!(
        (1..400).contains(&report.retries),
        "{} of 2000",
        report.retries
    );
}

#[test]
fn ten_thousand_wait_out_an_outage_of_all_nodes() {
    let fleet = fleet("[[nodes.failures]]\nat_s = 1\nfor_s = 120\n");
    let report = run(steady(10_000, 10), &fleet, &Options::default());
    assert_eq!(
        (report.served, report.failed, report.refused),
        (10_000, 0, 0)
    );
    assert!(report.first_token.p50_ms > 60_000.0);
}

#[test]
fn alternating_models_share_the_swaps_of_one_node() {
    let text = "[[models]]\nname = \"a\"\nbytes = 8_000_000_000\n[[models]]\nname = \"b\"\nbytes = 8_000_000_000\n\
        [[nodes]]\nname = \"n\"\nprefill_tokens_per_s = 4000\ndecode_tokens_per_s = 100\nslots = 4\nmemory_bytes = 12_000_000_000\n";
    let trace = steady(400, 500).enumerate().map(|(n, request)| {
        let model = Some(["a", "b"][n % 2].to_owned());
        request.map(|request| TraceRequest { model, ..request })
    });
    let report = run(trace, &FleetSpec::parse(text).unwrap(), &Options::default());
    assert_eq!((report.served, report.failed), (400, 0));
    assert!(
        (2..80).contains(&report.cold_loads),
        "{} loads for 400 calls",
        report.cold_loads
    );
}

#[test]
fn a_model_is_loaded_once_for_many_calls_and_unknown_models_fail() {
    let report = run(
        steady(8, 0),
        &fleet("memory_bytes = 12_000_000_000\n"),
        &Options::default(),
    );
    assert_eq!(report.served, 8);
    assert!(report.cold_loads <= 2, "{} loads", report.cold_loads);
    let unknown = steady(3, 10).map(|r| {
        r.map(|r| TraceRequest {
            model: Some("x".to_owned()),
            ..r
        })
    });
    let report = run(unknown, &fleet(""), &Options::default());
    assert_eq!((report.served, report.failed), (0, 3));
}

#[test]
fn a_full_queue_refuses_and_counts() {
    let mut options = Options::default();
    options.limits.default = 50;
    let report = run(steady(2_000, 1), &fleet(""), &options);
    assert!(report.refused > 1_000);
    assert_eq!(report.served + report.refused, 2_000);
}

#[test]
fn people_do_not_wait_behind_batch_work_that_has_sent_nothing() {
    let slow = "[[models]]\nname = \"m\"\n\
        [[nodes]]\nname = \"n\"\nprefill_tokens_per_s = 500\ndecode_tokens_per_s = 50\nslots = 4\n";
    let fleet = FleetSpec::parse(slow).unwrap();
    // A batch prompt takes the only reader four seconds; meanwhile two people ask short questions.
    let trace = |urgent: Class| {
        (0..150).map(move |n| {
            let asks = n % 3 > 0;
            Ok(TraceRequest {
                at_us: n / 3 * 10_000_000 + [0, 1_000_000, 2_500_000][n as usize % 3],
                prompt_tokens: if asks { 100 } else { 2_000 },
                output_tokens: 20,
                class: if asks { urgent } else { Class::Batch },
                tenant: Some(u64::from(asks)),
                ..TraceRequest::default()
            })
        })
    };
    let urgent = run(trace(Class::Interactive), &fleet, &Options::default());
    let usual = run(trace(Class::Default), &fleet, &Options::default());
    assert_eq!((urgent.served, urgent.failed), (150, 0));
    assert_eq!((usual.preempted, usual.served), (0, 150));
    assert!(
        (50..=100).contains(&urgent.preempted),
        "{} gave way in 50 rounds",
        urgent.preempted
    );
    assert!(
        urgent.first_token.p50_ms < 500.0,
        "{:?}",
        urgent.first_token
    );
    assert!(
        usual.first_token.p50_ms > 1_500.0,
        "{:?}",
        usual.first_token
    );
    assert!(urgent.first_token.max_ms < 15_000.0, "batch work gets done");
}

#[test]
fn the_runner_up_is_loaded_before_its_line_is_sent_there() {
    // Two models on two nodes that hold one each: all of a sudden everybody wants the same one.
    let text = "[[models]]\nname = \"a\"\nbytes = 8_000_000_000\n[[models]]\nname = \"b\"\nbytes = 8_000_000_000\n\
        [[nodes]]\nname = \"n\"\ncount = 2\nprefill_tokens_per_s = 4000\ndecode_tokens_per_s = 20\nslots = 2\nmemory_bytes = 12_000_000_000\n";
    let trace = (0..120).map(|n| {
        Ok(TraceRequest {
            at_us: n * 1_000_000,
            model: Some(if n < 2 { ["a", "b"][n as usize] } else { "b" }.to_owned()),
            prompt_tokens: 200,
            output_tokens: 40,
            ..TraceRequest::default()
        })
    });
    let report = run(trace, &FleetSpec::parse(text).unwrap(), &Options::default());
    assert_eq!((report.served, report.failed), (120, 0));
    assert!(
        (3..=4).contains(&report.cold_loads),
        "a, b, and one more copy of b: {}",
        report.cold_loads
    );
    assert!(
        report.first_token.p99_ms < 30_000.0,
        "{:?}",
        report.first_token
    );
}

#[test]
fn three_models_on_two_nodes_are_all_served_and_swap_seldom() {
    let models = ["a", "b", "c"]
        .map(|name| format!("[[models]]\nname = \"{name}\"\nbytes = 8_000_000_000\n"))
        .concat();
    let text = format!(
        "{models}[[nodes]]\nname = \"n\"\ncount = 2\nprefill_tokens_per_s = 4000\ndecode_tokens_per_s = 100\nslots = 4\nmemory_bytes = 12_000_000_000\n"
    );
    let trace = steady(450, 600).enumerate().map(|(n, request)| {
        let model = Some(["a", "b", "c"][n % 3].to_owned());
        request.map(|request| TraceRequest { model, ..request })
    });
    let report = run(
        trace,
        &FleetSpec::parse(&text).unwrap(),
        &Options::default(),
    );
    assert_eq!((report.served, report.failed), (450, 0));
    assert!(
        (3..200).contains(&report.cold_loads),
        "{}",
        report.cold_loads
    );
    assert!(report.first_token.max_ms < 60_000.0, "nobody starves");
}

#[test]
fn a_generated_trace_runs_over_a_large_fleet() {
    let fleet = FleetSpec::parse(
        "[[models]]\nname = \"m\"\n[[nodes]]\nname = \"n\"\ncount = 100\nprefill_tokens_per_s = 4000\n\
         decode_tokens_per_s = 50\nslots = 8\ncache_tokens = 100_000\n",
    )
    .unwrap();
    let report = |policy| {
        let trace = Synthetic::new(3_000, 50.0, 3);
        simulate(trace, &fleet, policy, &Options::default()).unwrap()
    };
    let remuda = report(PolicyName::Remuda);
    assert_eq!((remuda.served, remuda.failed), (3_000, 0));
    let spread = report(PolicyName::RoundRobin);
    assert!(remuda.prefix.of_bounded_oracle > 0.9, "{:?}", remuda.prefix);
    assert!(remuda.first_token.p99_ms < spread.first_token.p99_ms);
}
