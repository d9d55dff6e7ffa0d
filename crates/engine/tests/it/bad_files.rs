//! Bad files are refused with their reason, and the sound ones are served all the same.

use candle_core::quantized::gguf_file::Value;
use remuda_engine::{Engine, EngineConfig, LoadOutcome};

use crate::fixture::{Draft, WIDTH, decoder, serve, text};

fn reason(bytes: &[u8]) -> String {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("model.gguf");
    std::fs::write(&path, bytes).unwrap();
    match serve(vec![path]).1.remove(0) {
        LoadOutcome::Refused(reason) => reason,
        LoadOutcome::Loaded => "loaded".to_owned(),
    }
}

fn bytes(draft: &Draft) -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("model.gguf");
    draft.write(&path);
    std::fs::read(path).unwrap()
}

fn changed(change: impl FnOnce(&mut Draft)) -> String {
    let mut draft = decoder("llama");
    change(&mut draft);
    reason(&bytes(&draft))
}

#[test]
fn files_that_are_no_gguf_are_refused() {
    assert!(reason(b"").contains("truncated"));
    assert!(reason(b"GGUF").contains("truncated"));
    assert!(reason(&[b'x'; 4096]).contains("not a GGUF file"));
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let whole = bytes(&decoder("llama"));
    for length in [24, 25, 100, 1000, 5000, whole.len() / 2, whole.len() - 1000] {
        let reason = reason(&whole[..length]);
        assert!(
            reason.contains("truncated") || reason.contains("corrupt"),
            "cut at {length}: {reason}"
        );
    }
}

#[test]
fn corrupt_headers_never_bring_the_engine_down() {
    let whole = bytes(&decoder("llama"));
    for place in (4..2000).step_by(7) {
        let mut bad = whole.clone();
        bad[place] ^= 0xff;
        reason(&bad);
    }
}

#[test]
fn reasons_name_what_is_wrong() {
    let absent = changed(|draft| {
        draft
            .tensors
            .retain(|(name, _)| name != "blk.1.ffn_up.weight");
    });
    assert!(
        absent.contains("'blk.1.ffn_up.weight' is missing"),
        "{absent}"
    );
    let misshapen = changed(|draft| draft.tensor("blk.0.attn_k.weight", &[7, WIDTH]));
    assert!(
        misshapen.contains("blk.0.attn_k.weight") && misshapen.contains("shape"),
        "{misshapen}"
    );
    let foreign = changed(|draft| draft.set("general.architecture", text("mamba")));
    assert!(foreign.contains("'mamba' is not supported"), "{foreign}");
    let splitting = changed(|draft| {
        draft.set("tokenizer.ggml.model", text("gpt2"));
        draft.set("tokenizer.ggml.pre", text("klingon"));
    });
    assert!(
        splitting.contains("'klingon' is not supported"),
        "{splitting}"
    );
    let template = changed(|draft| draft.set("tokenizer.chat_template", text("{% for %}")));
    assert!(
        template.contains("chat template does not parse"),
        "{template}"
    );
    let experts = changed(|draft| draft.set("llama.expert_count", Value::U32(8)));
    assert!(experts.contains("mixture-of-experts"), "{experts}");
    let scaling = changed(|draft| draft.set("llama.rope.scaling.type", text("yarn")));
    assert!(scaling.contains("'yarn' is not supported"), "{scaling}");
    let heads = changed(|draft| draft.set("llama.attention.head_count_kv", Value::U32(3)));
    assert!(heads.contains("not a possible shape"), "{heads}");
    let alignment = changed(|draft| draft.set("general.alignment", Value::U32(0)));
    assert!(alignment.contains("malformed"), "{alignment}");
}

#[test]
fn unsupported_tensor_types_are_named() {
    let mut file = bytes(&decoder("llama"));
    let name = b"output_norm.weight";
    let place = file
        .windows(name.len())
        .position(|window| window == name)
        .unwrap()
        + name.len();
    // After the name: the number of dimensions, one dimension, then the type.
    file[place + 4 + 8] = 23;
    let reason = reason(&file);
    assert!(
        reason.contains("IQ4_XS") && reason.contains("not supported"),
        "{reason}"
    );
}

#[test]
fn the_rest_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    decoder("llama").write(&path("Good.gguf"));
    std::fs::write(path("bad.gguf"), b"nothing").unwrap();
    std::fs::write(path("notes.txt"), b"not looked at").unwrap();
    let config = EngineConfig {
        models: vec![path("absent.gguf")],
        models_dir: Some(directory.path().to_owned()),
        ..EngineConfig::default()
    };
    let (engine, reports) = Engine::start(&config);
    let refused: Vec<&str> = reports
        .iter()
        .filter(|report| matches!(report.outcome, LoadOutcome::Refused(_)))
        .map(|report| report.name.as_str())
        .collect();
    assert_eq!(refused, ["absent", "bad"]);
    let served: Vec<String> = engine.models().into_iter().map(|card| card.name).collect();
    assert_eq!(served, ["good", "remuda-demo"]);
}

#[cfg(not(feature = "llama-cpp"))]
#[test]
fn a_backend_that_was_not_built_in_is_refused_with_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tiny.gguf");
    decoder("llama").write(&path);
    let (engine, reports) = Engine::start(&EngineConfig {
        models: vec![path],
        backend: remuda_engine::Backend::LlamaCpp,
        ..EngineConfig::default()
    });
    assert!(!remuda_engine::Backend::LlamaCpp.is_built());
    assert_eq!(engine.models().len(), 1, "the built-in model stays");
    let LoadOutcome::Refused(reason) = &reports[1].outcome else {
        panic!("loaded");
    };
    assert!(reason.contains("cargo feature 'llama-cpp'"), "{reason}");
}
