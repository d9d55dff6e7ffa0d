//! The walks and what each needs around it.

use std::fmt::Write as _;
use std::time::Duration;

use testbed::{Flavour, Script, ScriptedModel, ScriptedUpstream};

use crate::stage::Stage;

/// What a model of a hostile server is called.
const HOSTILE: &str = "<img/src=x/onerror=window.owned=1>:latest";

/// Probes that keep nobody waiting.
const PROBES: &str = "[probes]\ninterval = \"500ms\"\ntimeout = \"2s\"";

fn ollama(name: &str, models: &[&str]) -> anyhow::Result<ScriptedUpstream> {
    let mut builder = ScriptedUpstream::builder(Flavour::Ollama)
        .name(name)
        .script(Script {
            token_delay: Duration::from_millis(6),
            prefill_tokens_per_s: Some(2_000.0),
            ..Script::default()
        });
    for model in models {
        builder = builder.model(ScriptedModel::chat(model).loaded());
    }
    builder
        .model(ScriptedModel::embedding("vectors:latest"))
        .start()
}

fn vllm(name: &str, model: &str) -> anyhow::Result<ScriptedUpstream> {
    ScriptedUpstream::builder(Flavour::Vllm)
        .name(name)
        .model(ScriptedModel::chat(model))
        .script(Script {
            token_delay: Duration::from_millis(9),
            prefill_tokens_per_s: Some(3_000.0),
            ..Script::default()
        })
        .start()
}

fn three() -> anyhow::Result<Vec<ScriptedUpstream>> {
    Ok(vec![
        ollama("one", &["shared:latest", "only-on-one"])?,
        ollama("two", &["shared:latest"])?,
        vllm("three", "qwen3-32b")?,
    ])
}

#[test]
fn the_way_in() -> anyhow::Result<()> {
    Stage::new(three()?, PROBES, false)?.walk("way_in.mjs", &[])
}

#[test]
fn nodes_come_drain_die_and_come_back() -> anyhow::Result<()> {
    Stage::new(three()?, PROBES, true)?.walk("fleet.mjs", &[])
}

#[test]
fn models_are_talked_to_and_requests_explained() -> anyhow::Result<()> {
    Stage::new(three()?, PROBES, true)?.walk("talk.mjs", &[])
}

#[test]
fn keys_people_and_settings_hold_at_once() -> anyhow::Result<()> {
    Stage::new(three()?, PROBES, true)?.walk("access.mjs", &[])
}

#[test]
fn hostile_names_are_texts() -> anyhow::Result<()> {
    let nodes = vec![ollama("evil", &[HOSTILE])?];
    Stage::new(nodes, PROBES, true)?.walk("hostile.mjs", &[("HOSTILE_MODEL", HOSTILE)])
}

#[test]
fn every_page_of_the_fleet_is_for_everybody() -> anyhow::Result<()> {
    Stage::new(three()?, PROBES, true)?.walk("pages.mjs", &[("PAGES", "fleet")])
}

#[test]
fn every_page_of_requests_and_trials_is_for_everybody() -> anyhow::Result<()> {
    Stage::new(three()?, PROBES, true)?.walk("pages.mjs", &[("PAGES", "work")])
}

#[test]
fn every_page_of_access_and_system_is_for_everybody() -> anyhow::Result<()> {
    Stage::new(three()?, PROBES, true)?.walk("pages.mjs", &[("PAGES", "access")])
}

#[test]
fn a_thousand_nodes_are_a_table() -> anyhow::Result<()> {
    let mut config = "[probes]\ninterval = \"60s\"\n".to_owned();
    for at in 0..1_000 {
        // Nobody listens there: a node that is down is a row like any other.
        writeln!(
            config,
            "[[nodes]]\nname = \"node-{at:04}\"\nurl = \"http://127.0.{}.{}:9\"",
            1 + at / 250,
            1 + at % 250
        )?;
    }
    Stage::new(Vec::new(), &config, true)?.walk("thousand.mjs", &[])
}
