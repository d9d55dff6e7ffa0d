//! The walks and what each needs around it.

use std::fmt::Write as _;
use std::time::Duration;

use testbed::{Flavour, Script, ScriptedModel, ScriptedUpstream};

use crate::stage::{PROVIDER_SECRET, Stage};

/// What a model of a hostile server is called.
const HOSTILE: &str = "<img/src=x/onerror=window.owned=1>:latest";

/// Probes that keep nobody waiting.
const PROBES: &str = "[probes]\ninterval = \"500ms\"\ntimeout = \"2s\"";

/// A node that reads so many tokens a second and takes so long for each one that it writes.
fn node(
    flavour: Flavour,
    name: &str,
    models: &[&str],
    (read_per_s, token_ms): (f64, u64),
) -> anyhow::Result<ScriptedUpstream> {
    let mut builder = ScriptedUpstream::builder(flavour)
        .name(name)
        .script(Script {
            token_delay: Duration::from_millis(token_ms),
            prefill_tokens_per_s: Some(read_per_s),
            ..Script::default()
        });
    for model in models {
        builder = builder.model(ScriptedModel::chat(model).loaded());
    }
    if flavour == Flavour::Ollama {
        builder = builder.model(ScriptedModel::embedding("vectors:latest"));
    }
    builder.start()
}

fn three() -> anyhow::Result<Vec<ScriptedUpstream>> {
    let pace = (2_000.0, 6);
    Ok(vec![
        node(
            Flavour::Ollama,
            "one",
            &["shared:latest", "only-on-one"],
            pace,
        )?,
        node(Flavour::Ollama, "two", &["shared:latest"], pace)?,
        node(Flavour::Vllm, "three", &["qwen3-32b"], pace)?,
    ])
}

/// A fleet as people have them, for pictures: fast and slow ones, models that are on several.
fn five() -> anyhow::Result<Vec<ScriptedUpstream>> {
    let (large, small) = ("llama3.1:70b", "mistral:7b");
    Ok(vec![
        node(
            Flavour::Ollama,
            "gpu-north-1",
            &[large, "qwen2.5:32b"],
            (900.0, 12),
        )?,
        node(
            Flavour::Ollama,
            "gpu-north-2",
            &[large, small],
            (1_200.0, 9),
        )?,
        node(Flavour::Vllm, "vllm-1", &["qwen3-32b"], (3_000.0, 7))?,
        node(Flavour::Vllm, "vllm-2", &["qwen3-32b"], (3_000.0, 8))?,
        node(
            Flavour::Ollama,
            "edge-mac",
            &[small, "phi4:14b"],
            (200.0, 22),
        )?,
    ])
}

#[test]
fn the_way_in() -> anyhow::Result<()> {
    Stage::new(three()?, PROBES, false)?.walk("way_in.mjs", &[])
}

#[test]
fn nodes_come_drain_die_and_come_back() -> anyhow::Result<()> {
    let config = format!(
        "{PROBES}\n[agents]\nlisten = \"127.0.0.1:0\"\ndiscovery = true\ndiscovery_interfaces = [\"lo\"]\n"
    );
    let announcing = agent::Announcing::start(&["lo".to_owned()])?;
    let settings = [("FOUND_CODE", announcing.code())];
    Stage::new(three()?, &config, true)?.walk("fleet.mjs", &settings)
}

#[test]
fn models_are_talked_to_and_requests_explained() -> anyhow::Result<()> {
    Stage::new(three()?, PROBES, true)?.walk("talk.mjs", &[])
}

#[test]
fn a_provider_lets_in_who_is_linked() -> anyhow::Result<()> {
    let port = testbed::free_address()?.port();
    let config = format!(
        "{PROBES}\n[[auth.oidc]]\nname = \"corp\"\nlabel = \"Example Corp\"\nissuer = \"http://127.0.0.1:{port}\"\nclient_id = \"remuda\"\nclient_secret_env = \"PROVIDER_SECRET\""
    );
    let settings = [
        ("PROVIDER_PORT", port.to_string()),
        ("PROVIDER_SECRET", PROVIDER_SECRET.to_owned()),
    ];
    let settings = settings.each_ref().map(|(name, value)| (*name, &**value));
    Stage::new(three()?, &config, true)?.walk("by_provider.mjs", &settings)
}

#[test]
fn keys_people_and_settings_hold_at_once() -> anyhow::Result<()> {
    Stage::new(three()?, PROBES, true)?.walk("access.mjs", &[])
}

#[test]
fn hostile_names_are_texts() -> anyhow::Result<()> {
    let nodes = vec![node(Flavour::Ollama, "evil", &[HOSTILE], (2_000.0, 6))?];
    Stage::new(nodes, PROBES, true)?.walk("hostile.mjs", &[("HOSTILE_MODEL", HOSTILE)])
}

#[test]
fn every_page_of_the_fleet_is_for_everybody() -> anyhow::Result<()> {
    Stage::new(five()?, PROBES, true)?.walk("pages.mjs", &[("PAGES", "fleet")])
}

#[test]
fn every_page_of_requests_and_trials_is_for_everybody() -> anyhow::Result<()> {
    Stage::new(five()?, PROBES, true)?.walk("pages.mjs", &[("PAGES", "work")])
}

#[test]
fn every_page_of_access_and_system_is_for_everybody() -> anyhow::Result<()> {
    Stage::new(five()?, PROBES, true)?.walk("pages.mjs", &[("PAGES", "access")])
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
