//! What stands behind an address is found out, and what cannot be used is refused with what to do.

use http::{Method, StatusCode};
use identity::journal::Actor;
use primitives::{Classify as _, ErrorKind};
use remuda_cluster::{NodeKind, NodeSpec, ServerFlavour};
use serde_json::json;

use crate::bench::Bench;
use crate::server::{Reply, Server, openai_list};

#[tokio::test]
async fn ollama_is_recognised_and_its_models_are_learned() {
    let (_store, bench) = Bench::sqlite().await;
    let server = Server::ollama(&["llama3.2:3b", "nomic-embed-text:latest"]).await;
    let node = bench.add("gpu1", &format!("{}/v1/", server.url())).await;
    assert_eq!(
        (node.kind, node.server),
        (NodeKind::Ollama, ServerFlavour::Ollama)
    );
    assert_eq!(node.version.as_deref(), Some("0.33.0"));
    assert_eq!(node.url.as_ref().unwrap().as_str(), server.url());
    let model = &node.models[0];
    assert_eq!(&*model.name, "llama3.2:3b");
    assert_eq!(model.details.family, "llama");
    assert_eq!(
        (model.context_length, model.embedding_length),
        (Some(131_072), Some(3_072))
    );
    assert_eq!(
        model.license.as_deref(),
        Some("LLAMA 3.2 COMMUNITY LICENSE AGREEMENT")
    );
    assert_eq!(model.capabilities, ["completion", "tools"]);
    assert_eq!(model.loaded.unwrap().context, Some(8_192));
    assert_eq!(node.models[1].loaded, None);
    let snapshot = bench.registry.snapshot();
    assert_eq!(snapshot.replicas("Nomic-Embed-Text").len(), 1);
    assert_eq!(node.state.as_str(), "ready");
}

#[tokio::test]
async fn every_openai_compatible_server_is_told_apart() {
    let (_store, bench) = Bench::sqlite().await;

    let vllm = Server::vllm("Qwen/Qwen2.5-7B-Instruct").await;
    let node = bench.add("vllm", &vllm.url()).await;
    assert_eq!(
        (node.kind, node.server),
        (NodeKind::OpenAi, ServerFlavour::Vllm)
    );
    assert_eq!(node.version.as_deref(), Some("0.19.1"));
    assert_eq!(node.models[0].loaded.unwrap().context, Some(32_768));

    let llama = Server::llama_server("model.gguf").await;
    let node = bench.add("llama", &llama.url()).await;
    assert_eq!(node.server, ServerFlavour::LlamaServer);
    assert_eq!(
        (node.slots, node.version.as_deref()),
        (Some(4), Some("b9123-abcdef"))
    );
    assert_eq!(
        node.models[0].context_length,
        Some(4_096),
        "what it was started with, not what was trained"
    );
    assert_eq!(node.models[0].capabilities, ["completion"]);

    let python = Server::start().await;
    python.set_json("/v1/models", openai_list("me", &["/models/x.gguf"]));
    let node = bench.add("python", &python.url()).await;
    assert_eq!(node.server, ServerFlavour::LlamaCppPython);
    assert_eq!(
        node.slots,
        Some(1),
        "a second request would break the first one's answer off"
    );

    let sglang = Server::start().await;
    sglang
        .set_json("/v1/models", openai_list("sglang", &["m"]))
        .set_json("/server_info", json!({"version": "0.5.3"}));
    let node = bench.add("sglang", &sglang.url()).await;
    assert_eq!(
        (node.server, node.version.as_deref()),
        (ServerFlavour::SgLang, Some("0.5.3"))
    );

    let other = Server::start().await;
    other.set_json("/v1/models", openai_list("somebody", &["m"]));
    let node = bench.add("other", &other.url()).await;
    assert_eq!(
        (node.kind, node.server),
        (NodeKind::OpenAi, ServerFlavour::Other)
    );
}

#[tokio::test]
async fn a_llama_server_tells_what_its_model_can_do_and_all_of_its_names() {
    let (_store, bench) = Bench::sqlite().await;
    let server = Server::start().await;
    server
        .set_json(
            "/v1/models",
            json!({
                "models": [{"name": "demo", "capabilities": ["completion", "multimodal"]}],
                "data": [{"id": "demo", "aliases": ["demo", "second"], "owned_by": "llamacpp",
                    "architecture": {"input_modalities": ["text", "image"]},
                    "meta": {"n_ctx": 2048, "n_ctx_train": 131_072, "n_embd": 192, "n_params": 8_030_000_000_u64,
                        "size": 2_304_768, "ftype": "Q4_K - Medium"}}]}),
        )
        .set_json(
            "/props",
            json!({"total_slots": 2, "default_generation_settings": {"n_ctx": 2048},
                "modalities": {"vision": true, "audio": false},
                "chat_template_caps": {"supports_tools": true, "supports_tool_calls": true,
                    "supports_preserve_reasoning": false}}),
        );
    let node = bench.add("llama", &server.url()).await;
    assert_eq!(node.slots, Some(2));
    let snapshot = bench.registry.snapshot();
    for name in ["demo", "second"] {
        let [replica] = snapshot.replicas(name) else {
            panic!("{name} is not a model");
        };
        let (_, model) = snapshot.resolve(*replica).unwrap();
        assert_eq!(&*model.name, name);
        assert_eq!(model.capabilities, ["completion", "vision", "tools"]);
        assert_eq!(model.loaded.unwrap().context, Some(2_048));
        let details = &model.details;
        assert_eq!(
            (
                &*details.format,
                &*details.parameter_size,
                &*details.quantization_level
            ),
            ("gguf", "8.0B", "Q4_K - Medium")
        );
    }
    server.set_json("/props", json!({"is_sleeping": true}));
    bench.watch();
    bench
        .until("it sleeps: the model is not in memory", |fleet| {
            let node = fleet.find_node_named("llama").unwrap();
            node.models.iter().all(|model| model.loaded.is_none())
        })
        .await;
}

#[tokio::test]
async fn a_llama_server_with_several_models_holds_those_that_it_says_it_holds() {
    let (_store, bench) = Bench::sqlite().await;
    let server = Server::start().await;
    let beta = json!({"id": "beta", "aliases": [], "owned_by": "llamacpp", "status": {"value": "unloaded"},
        "architecture": {"input_modalities": ["text"]}});
    server
        .set_json("/v1/models", json!({"data": [beta]}))
        .set_json(
            "/props",
            json!({"role": "router", "default_generation_settings": {"params": null, "n_ctx": 0}}),
        )
        .set_json(
            "/props?model=a%2Fb%3A1&autoload=false",
            json!({"total_slots": 4, "default_generation_settings": {"n_ctx": 1024},
                "chat_template_caps": {"supports_tools": true}}),
        );
    let node = bench.add("router", &server.url()).await;
    assert_eq!((node.models.len(), node.slots), (1, None));
    assert_eq!(
        node.models[0].loaded, None,
        "the only model, and not loaded"
    );
    let alpha = json!({"id": "a/b:1", "owned_by": "llamacpp", "status": {"value": "loaded"},
        "meta": {"n_ctx": 1024, "n_ctx_train": 32_768, "n_params": 2_164_416, "ftype": "Q8_0"}});
    server.set_json("/v1/models", json!({"data": [alpha, beta]}));
    bench.watch();
    bench
        .until("the other model is there", |fleet| {
            fleet.find_node_named("router").unwrap().models.len() == 2
        })
        .await;
    let node = bench.node("router");
    let (alpha, beta) = (&node.models[0], &node.models[1]);
    assert_eq!(alpha.loaded.unwrap().context, Some(1_024));
    assert_eq!(
        alpha.context_length,
        Some(1_024),
        "what it runs with, not what was trained"
    );
    assert_eq!(alpha.capabilities, ["completion", "tools"]);
    assert_eq!(alpha.details.parameter_size, "2.2M");
    assert_eq!((beta.loaded, beta.context_length), (None, None));
    assert!(
        server.seen("/props?model=beta&autoload=false").is_empty(),
        "asking would load it"
    );
}

#[tokio::test]
async fn a_vllm_without_a_route_for_chats_makes_vectors() {
    let (_store, bench) = Bench::sqlite().await;
    let pooling = Server::start().await;
    pooling
        .set_json("/v1/models", openai_list("vllm", &["vectors"]))
        .take_only_posts("/v1/embeddings");
    let node = bench.add("pooling", &pooling.url()).await;
    assert!(node.models[0].is_embedding_only());
    let chatting = Server::start().await;
    chatting
        .set_json("/v1/models", openai_list("vllm", &["m"]))
        .take_only_posts("/v1/embeddings")
        .take_only_posts("/v1/chat/completions");
    let node = bench.add("chatting", &chatting.url()).await;
    assert!(node.models[0].capabilities.is_empty(), "nobody says");
    bench.watch();
    for version in ["0.32.1", "0.32.2", "0.32.3"] {
        chatting.set_json("/version", json!({"version": version}));
        bench
            .until("it was probed again", |fleet| {
                let node = fleet.find_node_named("chatting").unwrap();
                node.version.as_deref() == Some(version)
            })
            .await;
    }
    assert_eq!(
        chatting.seen("/v1/embeddings").len(),
        2,
        "once when it was added, and once when it began to be watched"
    );
}

#[tokio::test]
async fn lm_studio_answers_every_path_and_is_not_taken_for_ollama() {
    let (_store, bench) = Bench::sqlite().await;
    let server = Server::start().await;
    server
        .set_other(Reply::Json(json!({"error": "Unexpected endpoint or method."})))
        .set_json("/v1/models", openai_list("organization_owner", &["qwen2.5-7b", "nomic"]))
        .set_json(
            "/api/v0/models",
            json!({"data": [
                {"id": "qwen2.5-7b", "type": "llm", "arch": "qwen2", "quantization": "4bit",
                 "compatibility_type": "mlx", "state": "loaded", "max_context_length": 32768,
                 "loaded_context_length": 4096},
                {"id": "nomic", "type": "embeddings", "state": "not-loaded", "max_context_length": 2048}]}),
        );
    let node = bench.add("studio", &server.url()).await;
    assert_eq!(
        (node.kind, node.server),
        (NodeKind::OpenAi, ServerFlavour::LmStudio)
    );
    let (nomic, qwen) = (&node.models[0], &node.models[1]);
    assert_eq!((nomic.loaded, nomic.is_embedding_only()), (None, true));
    assert_eq!(qwen.loaded.unwrap().context, Some(4_096));
    assert_eq!(qwen.context_length, Some(32_768));
}

#[tokio::test]
async fn a_chosen_kind_is_kept() {
    let (_store, bench) = Bench::sqlite().await;
    let server = Server::ollama(&["m"]).await;
    let spec = NodeSpec {
        kind: Some(NodeKind::OpenAi),
        ..NodeSpec::new("a", server.url())
    };
    let node = bench
        .registry
        .add_node(spec, &Actor::system())
        .await
        .unwrap()
        .node;
    assert_eq!(
        (node.kind, node.server),
        (NodeKind::OpenAi, ServerFlavour::Ollama)
    );
}

#[tokio::test]
async fn something_that_is_no_model_server_is_refused() {
    let (_store, bench) = Bench::sqlite().await;
    let server = Server::start().await;
    server.set_other(Reply::Text("<html>It works!</html>"));
    let (status, problem) = bench
        .call(
            Method::POST,
            "/api/v1/nodes",
            Some(json!({"name": "web", "url": server.url()})),
        )
        .await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let detail = problem["detail"].as_str().unwrap();
    assert!(
        detail.contains("neither Ollama nor OpenAI-compatible"),
        "{detail}"
    );
    assert!(bench.registry.snapshot().nodes.is_empty());
}

#[tokio::test]
async fn a_server_that_wants_a_key_says_so_and_gets_it() {
    let (_store, bench) = Bench::sqlite().await;
    let server = Server::vllm("m").await;
    server.require_key("k-123");
    let refused = bench
        .registry
        .add_node(NodeSpec::new("a", server.url()), &Actor::system())
        .await
        .unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid);
    assert!(
        refused.public_message().contains("api_key"),
        "{}",
        refused.public_message()
    );
    let spec = NodeSpec {
        api_key: Some(primitives::Secret::new("k-123".to_owned())),
        ..NodeSpec::new("a", server.url())
    };
    let node = bench
        .registry
        .add_node(spec, &Actor::system())
        .await
        .unwrap()
        .node;
    assert_eq!(node.models.len(), 1);
    let seen = server.seen("/version").pop().unwrap();
    assert_eq!(seen.authorization.as_deref(), Some("Bearer k-123"));
}

#[tokio::test]
async fn addresses_of_machine_credentials_are_refused() {
    let (_store, bench) = Bench::sqlite().await;
    let refused = bench
        .registry
        .add_node(
            NodeSpec::new("a", "http://169.254.169.254"),
            &Actor::system(),
        )
        .await
        .unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid);
    assert!(
        refused.public_message().contains("metadata"),
        "{}",
        refused.public_message()
    );
}

#[tokio::test]
async fn a_server_that_is_down_is_added_with_a_warning_and_used_when_it_comes_up() {
    let (_store, bench) = Bench::sqlite().await;
    let server = Server::start().await;
    let address = server.address();
    server.stop().await;
    bench.watch();
    let (status, node) = bench
        .call(
            Method::POST,
            "/api/v1/nodes",
            Some(json!({"name": "late", "url": format!("http://{address}")})),
        )
        .await;
    assert_eq!(status, StatusCode::CREATED);
    let warning = node["warning"].as_str().unwrap();
    assert!(warning.contains("as soon as it answers"), "{warning}");
    assert_eq!(node["kind"], "unknown");
    let server = Server::start_at(address).await;
    server.speak_ollama(&["m"]);
    bench.until_state("late", "ready").await;
    let node = bench.node("late");
    assert_eq!((node.kind, node.models.len()), (NodeKind::Ollama, 1));
}

#[tokio::test]
async fn details_are_asked_once_per_digest() {
    let (_store, bench) = Bench::sqlite().await;
    let server = Server::ollama(&["a", "b"]).await;
    bench.add("n", &server.url()).await;
    bench.watch();
    server.speak_ollama(&["a", "b", "c"]);
    bench
        .until("c is there", |fleet| !fleet.replicas("c").is_empty())
        .await;
    let before = server.seen("/api/show").len();
    server.speak_ollama(&["a", "b", "c", "d"]);
    bench
        .until("d is there", |fleet| !fleet.replicas("d").is_empty())
        .await;
    let asked: Vec<_> = server.seen("/api/show")[before..]
        .iter()
        .map(|seen| seen.body["model"].clone())
        .collect();
    assert_eq!(asked, ["d"]);
}

#[tokio::test]
async fn a_gateway_is_not_added_to_itself() {
    let (_store, bench) = Bench::sqlite().await;
    let us = bench.registry.instance().to_string();
    // With a key of its own wanted, and without.
    for key in [None, Some("k")] {
        let ourselves = Server::ollama(&["m"]).await;
        ourselves.be_instance(&us);
        if let Some(key) = key {
            ourselves.require_key(key);
        }
        for kind in [None, Some(NodeKind::Ollama), Some(NodeKind::OpenAi)] {
            let spec = NodeSpec {
                kind,
                ..NodeSpec::new("mirror", ourselves.url())
            };
            let error = bench
                .registry
                .add_node(spec, &Actor::system())
                .await
                .unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
            let text = error.public_message();
            assert!(text.contains("cannot be its own node"), "{text}");
        }
    }
}

#[tokio::test]
async fn another_installation_may_be_a_node() {
    let (_store, bench) = Bench::sqlite().await;
    let (_other_store, other) = Bench::sqlite().await;
    let server = Server::ollama(&["m"]).await;
    server.be_instance(&other.registry.instance().to_string());
    assert_eq!(bench.add("other", &server.url()).await.models.len(), 1);
}

#[tokio::test]
async fn the_identity_of_an_installation_stays() {
    let (_store, bench) = Bench::sqlite().await;
    let again =
        remuda_cluster::Registry::open(crate::bench::deps(bench.db.clone()), crate::bench::quick())
            .await
            .unwrap();
    assert_eq!(again.instance(), bench.registry.instance());
}

#[tokio::test]
async fn models_are_owned_by_whom_their_node_names() {
    let (_store, bench) = Bench::sqlite().await;
    let ollama = Server::ollama(&["m:latest", "hf.co/ann/m:latest", "ann/m:7b"]).await;
    let node = bench.add("ollama", &ollama.url()).await;
    let owners: Vec<(&str, &str)> = node
        .models
        .iter()
        .map(|model| (&*model.name, node.owner_of(model)))
        .collect();
    assert_eq!(
        owners,
        [
            ("ann/m:7b", "ann"),
            ("hf.co/ann/m:latest", "ann"),
            ("m:latest", "library")
        ]
    );
    let vllm = Server::vllm("Qwen/Qwen2.5-7B-Instruct").await;
    let node = bench.add("vllm", &vllm.url()).await;
    assert_eq!(node.owner_of(&node.models[0]), "vllm");
    let other = Server::start().await;
    other.set_json("/v1/models", openai_list("somebody", &["m"]));
    let node = bench.add("other", &other.url()).await;
    assert_eq!(node.owner_of(&node.models[0]), "somebody");
}

#[tokio::test]
async fn an_address_is_looked_at_without_becoming_a_node() {
    let (_store, bench) = Bench::sqlite().await;
    let check = async |body| {
        bench
            .call(Method::POST, "/api/v1/nodes/check", Some(body))
            .await
    };
    let server = Server::vllm("m").await;
    let (status, found) = check(json!({"url": format!("{}/v1", server.url())})).await;
    assert_eq!(status, StatusCode::OK, "{found}");
    assert_eq!(
        (&found["kind"], &found["server"]),
        (&json!("openai"), &json!("vllm"))
    );
    assert_eq!(found["models"][0]["name"], "m", "{found}");
    assert_eq!(found.get("known_as"), None);
    assert!(
        bench.registry.snapshot().nodes.is_empty(),
        "nothing is added"
    );
    bench.add("gpu1", &server.url()).await;
    let (_, found) = check(json!({"url": server.url()})).await;
    assert_eq!(found["known_as"], "gpu1", "{found}");
    // Where nothing answers yet, that may pass; what is no model server never becomes one.
    let address = server.address();
    server.stop().await;
    let (status, found) = check(json!({"url": format!("http://{address}")})).await;
    assert_eq!(
        (status, &found["kind"]),
        (StatusCode::OK, &json!("unknown"))
    );
    assert!(found["warning"].is_string(), "{found}");
    let web = Server::start().await;
    web.set_other(Reply::Text("<html>It works!</html>"));
    let (status, problem) = check(json!({"url": web.url()})).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{problem}");
    for refused in ["http://169.254.169.254", "ftp://x", "http://"] {
        let (status, problem) = check(json!({"url": refused})).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{refused}: {problem}");
    }
    let (status, _) = check(json!({"url": "http://x", "name": "x"})).await;
    assert!(status.is_client_error());
}
