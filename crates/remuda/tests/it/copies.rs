//! A node fetches a model from another node that has it: resumed, verified, and pulled where that does not work.

use std::fs;
use std::path::PathBuf;

use agent::{AgentConfig, ShareConfig};
use http::Method;
use serde_json::{Value, json};
use testbed::{
    Flavour, Gate, LinkBreaker, ModelFiles, RunningAgent, ScriptedRegistry, ScriptedUpstream,
    System, TestClient,
};

use crate::harness::{Home, succeed};
use crate::service::until;

const CONFIG: &str =
    "[agents]\nlisten = \"127.0.0.1:0\"\n[placement]\ninterval = \"50ms\"\nmax_pulls = 2\n";
const PLAN: &str = "/api/v1/placement/plan";
const ACTIONS: &str = "/api/v1/placement/actions";
const POLICY: &str = "/api/v1/placement/policies/m:1b";
/// Large enough for several parts and many pieces of each.
const SIZE: usize = 600_000;
/// What may be under way when something breaks off.
const UNDER_WAY: u64 = 128 << 10;

/// A machine with an Ollama and an agent that shares its files.
struct Machine {
    upstream: ScriptedUpstream,
    agent: RunningAgent,
    files: ModelFiles,
    _directory: tempfile::TempDir,
}

impl Machine {
    async fn join(
        system: &System,
        name: &str,
        change: impl FnOnce(&mut AgentConfig),
    ) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let files = ModelFiles::open(directory.path())?;
        let upstream = ScriptedUpstream::builder(Flavour::Ollama)
            .name(name)
            .files(&files)
            .start()?;
        let models_dir = directory.path().to_owned();
        let url = upstream.url();
        let agent = RunningAgent::join_as(system, name, &system.door()?, &url, |config| {
            config.share = Some(ShareConfig {
                listen: ([127, 0, 0, 1], 0).into(),
                told: Vec::new(),
                models_dir,
            });
            change(config);
        })
        .await?;
        Ok(Self {
            upstream,
            agent,
            files,
            _directory: directory,
        })
    }

    fn names(&self) -> Vec<String> {
        let models = self.upstream.models();
        models.into_iter().map(|model| model.name).collect()
    }

    fn digest(&self, name: &str) -> Option<String> {
        let mut models = self.upstream.models().into_iter();
        models
            .find(|model| model.name == name)
            .map(|model| model.digest)
    }

    /// Returns what the agent says that it has sent and received.
    async fn shared(&self) -> anyhow::Result<(u64, u64)> {
        let page = TestClient::new(self.agent.page()?);
        let reading = page.get("/api/v1/metrics/current").await?.json()?;
        let count = |key: &str| reading["sharing"][key].as_u64().unwrap_or_default();
        Ok((count("sent_bytes"), count("received_bytes")))
    }

    /// Waits until the agent's counts are those of the present, and returns what it has received.
    async fn received(&self, at_least: u64) -> anyhow::Result<u64> {
        until("the agent tells what it has received", async || {
            Ok(self.shared().await?.1 >= at_least)
        })
        .await?;
        Ok(self.shared().await?.1)
    }
}

/// Bytes that do not repeat.
fn blob(seed: u64) -> Vec<u8> {
    let mut state = seed;
    let numbers = std::iter::repeat_with(|| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) as u8
    });
    numbers.take(SIZE).collect()
}

/// Two machines, of which `a` has the model.
struct Pair {
    system: System,
    admin: TestClient,
    a: Machine,
    b: Machine,
    /// The files' bytes, all together.
    bytes: u64,
    breaker: LinkBreaker,
}

impl Pair {
    async fn start() -> anyhow::Result<Self> {
        Self::start_with("").await
    }

    /// The same with more settings of placement.
    async fn start_with(settings: &str) -> anyhow::Result<Self> {
        let config = format!("{CONFIG}{settings}");
        let system = System::builder().config(&config).start().await?;
        let breaker = LinkBreaker::start("127.0.0.1:1").await?;
        let through = breaker.address().to_string();
        let a = Machine::join(&system, "a", |config| {
            if let Some(share) = &mut config.share {
                share.told = vec![through];
            }
        })
        .await?;
        breaker.aim(&a.agent.share()?.to_string());
        a.upstream.add_files("m:1b", &[&blob(1), b"a template"])?;
        let b = Machine::join(&system, "b", |_| {}).await?;
        b.upstream.add_files("other:1b", &[b"something else"])?;
        system.until_models(&["m:1b", "other:1b"]).await?;
        let admin = system.admin().await?;
        let bytes = a.upstream.models()[0].size_bytes;
        let pair = Self {
            system,
            admin,
            a,
            b,
            bytes,
            breaker,
        };
        // Both agents have told that they share.
        pair.want("suggest").await?;
        until("a copy is planned", async || {
            let plan = pair.admin.get(PLAN).await?.json()?;
            Ok(plan["actions"][0]["kind"] == "copy")
        })
        .await?;
        Ok(pair)
    }

    async fn want(&self, mode: &str) -> anyhow::Result<()> {
        let wanted = json!({"mode": mode, "min_on_disk": 2}).to_string();
        let reply = self.admin.send(Method::PUT, POLICY, wanted.into()).await?;
        anyhow::ensure!(reply.status == 200, "{}", reply.text());
        Ok(())
    }

    /// Waits until the newest action is in a state, and returns it.
    async fn newest_is(&self, status: &str) -> anyhow::Result<Value> {
        let seen = std::sync::Mutex::new(Value::Null);
        let what = format!("the newest action is {status}");
        let waited = until(&what, async || {
            let page = self.admin.get(ACTIONS).await?.json()?;
            let newest = page["items"][0].clone();
            let fits = newest["status"] == status;
            *seen.lock().unwrap() = newest;
            Ok(fits)
        });
        let waited = waited.await;
        let seen = seen.into_inner()?;
        anyhow::ensure!(waited.is_ok(), "waited until it is {status}: {seen:#}");
        Ok(seen)
    }

    /// Waits until so many nodes have the model, all of which share.
    async fn until_replicas(&self, count: usize) -> anyhow::Result<()> {
        until("the nodes that have it are known", async || {
            let models = self.admin.get("/api/v1/models?q=m:1b").await?.json()?;
            let replicas = models["items"][0]["replicas"].as_array();
            let metrics = self.admin.get("/metrics").await?.text();
            let all_share = metrics.contains("\nremuda_agents_sharing 3\n");
            Ok(all_share && replicas.map_or(0, Vec::len) == count)
        })
        .await
    }

    /// Has the registry serve the model, too, and both machines pull from there.
    async fn registry(&self) -> anyhow::Result<ScriptedRegistry> {
        let registry = ScriptedRegistry::start(self.a.files.clone()).await?;
        let address = registry.address();
        for machine in [&self.a, &self.b] {
            machine
                .upstream
                .edit_script(|script| script.registry = Some(address));
        }
        Ok(registry)
    }

    fn b_has_it_whole(&self) -> anyhow::Result<()> {
        assert_eq!(self.b.digest("m:1b"), self.a.digest("m:1b"));
        let name = |files: &ModelFiles| files.manifest("m:1b");
        let manifest = fs::read(name(&self.b.files))?;
        assert_eq!(manifest, fs::read(name(&self.a.files))?);
        assert_eq!(fs::read(self.b.files.blob_of(&blob(1)))?, blob(1));
        self.nothing_half_named(&["m:1b", "other:1b"])
    }

    /// Looks whether `b` has these names and no others, also not on its disk.
    fn nothing_half_named(&self, expected: &[&str]) -> anyhow::Result<()> {
        let mut names = self.b.names();
        names.sort();
        assert_eq!(names, expected);
        let mut manifests = self.b.files.manifests()?;
        manifests.sort();
        let mut paths: Vec<PathBuf> = expected
            .iter()
            .map(|name| self.b.files.manifest(name))
            .collect();
        paths.sort();
        assert_eq!(manifests, paths);
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_comes_from_the_node_that_has_it() -> anyhow::Result<()> {
    let pair = Pair::start().await?;
    let plan = pair.admin.get(PLAN).await?.json()?;
    let planned = &plan["actions"][0];
    assert_eq!(
        (&planned["from"], &planned["node"]),
        (&json!("a"), &json!("b"))
    );
    assert_eq!(planned["bytes"], pair.bytes);
    let token = pair.system.admin_token().await?;
    let url = format!("http://{}", pair.system.address());
    let home = Home::new();
    let told = tokio::task::spawn_blocking(move || {
        let mut command = home.remuda(["placement", "plan", "--server", &url]);
        succeed(command.env("REMUDA_API_KEY", token))
    })
    .await?;
    assert!(
        told.contains("copy from a")
            && told.contains("KB")
            && told.contains("2 of 2 copies on disk"),
        "{told}"
    );

    pair.want("auto").await?;
    let done = pair.newest_is("done").await?;
    assert_eq!(done["kind"], "copy");
    assert_eq!(
        (&done["done_bytes"], &done["total_bytes"]),
        (&json!(pair.bytes), &json!(pair.bytes))
    );
    pair.b_has_it_whole()?;
    // No registry was there to be asked, and nothing came twice.
    assert_eq!(pair.b.received(pair.bytes).await?, pair.bytes);
    until("the source tells what it has sent", async || {
        Ok(pair.a.shared().await?.0 >= pair.bytes)
    })
    .await?;
    until("the figures are right", async || {
        let metrics = pair.admin.get("/metrics").await?.text();
        let bytes = pair.bytes;
        Ok([
            "\nremuda_placement_copies_total{outcome=\"done\"} 1\n".to_owned(),
            format!("\nremuda_placement_copied_bytes_total {bytes}\n"),
            format!("\nremuda_agents_received_bytes {bytes}\n"),
            "\nremuda_agents_sharing 2\n".to_owned(),
        ]
        .iter()
        .all(|line| metrics.contains(line)))
    })
    .await?;
    pair.system.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_takes_no_more_of_the_network_than_it_may() -> anyhow::Result<()> {
    let pair = Pair::start_with("copy_bytes_per_second = \"300KB\"\n").await?;
    let begun = std::time::Instant::now();
    pair.want("auto").await?;
    pair.newest_is("done").await?;
    // It may take longer, never less.
    let least = std::time::Duration::from_secs_f64(pair.bytes as f64 / 300_000.0);
    assert!(begun.elapsed() >= least, "{:?}", begun.elapsed());
    pair.b_has_it_whole()?;
    pair.system.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_breaks_for_a_moment_costs_nothing() -> anyhow::Result<()> {
    let pair = Pair::start().await?;
    pair.breaker.cut_after(SIZE / 2);
    pair.want("auto").await?;
    until("the link broke", async || Ok(pair.breaker.is_cut())).await?;
    pair.breaker.restore();
    let done = pair.newest_is("done").await?;
    let why = done["why"].as_str().unwrap_or_default();
    assert!(!why.contains("pulled"), "{done}");
    pair.b_has_it_whole()?;
    assert_eq!(pair.b.received(pair.bytes).await?, pair.bytes);
    pair.system.stop().await;
    Ok(())
}

/// The source dies when so much is there: the rest is pulled, and the first part is not fetched again.
async fn a_source_that_dies_is_replaced(percent: usize) -> anyhow::Result<()> {
    let pair = Pair::start().await?;
    let registry = pair.registry().await?;
    let part = SIZE / 100 * percent;
    pair.breaker.cut_after(part);
    pair.want("auto").await?;
    let done = pair.newest_is("done").await?;
    let why = done["why"].as_str().unwrap_or_default();
    assert!(
        why.contains("pulled, as copying did not work: from a: "),
        "{done}"
    );
    pair.b_has_it_whole()?;
    let at_least = (part as u64).saturating_sub(UNDER_WAY);
    let (received, pulled) = (pair.b.received(at_least).await?, registry.sent_bytes());
    let fetched = received + pulled;
    assert!(pulled > 0, "the rest came from there");
    assert!(
        fetched < pair.bytes + UNDER_WAY,
        "{received} and {pulled} of {}",
        pair.bytes
    );
    let audit = pair.admin.get("/api/v1/audit?limit=50").await?.text();
    assert!(audit.contains("instead_of_copying"), "{audit}");
    let metrics = pair.admin.get("/metrics").await?.text();
    let counted = "remuda_placement_copies_total{outcome=\"fell_back\"} 1";
    assert!(metrics.contains(counted), "{metrics}");
    pair.system.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_dies_in_the_middle_is_replaced() -> anyhow::Result<()> {
    a_source_that_dies_is_replaced(50).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_dies_near_the_end_is_replaced() -> anyhow::Result<()> {
    a_source_that_dies_is_replaced(99).await
}

#[tokio::test(flavor = "multi_thread")]
async fn another_node_that_has_it_goes_on_where_one_died() -> anyhow::Result<()> {
    let pair = Pair::start().await?;
    let c = Machine::join(&pair.system, "c", |_| {}).await?;
    c.upstream.add_files("m:1b", &[&blob(1), b"a template"])?;
    pair.breaker.cut_after(SIZE / 2);
    let wanted = json!({"mode": "suggest", "min_on_disk": 3}).to_string();
    pair.admin.send(Method::PUT, POLICY, wanted.into()).await?;
    pair.until_replicas(2).await?;
    until("it is planned from the first", async || {
        let plan = pair.admin.get(PLAN).await?.json()?;
        Ok(plan["actions"][0]["from"] == "a")
    })
    .await?;
    let applied = pair
        .admin
        .post("/api/v1/placement/apply", &json!({}))
        .await?;
    assert_eq!(applied.status, 202, "{}", applied.text());
    pair.newest_is("done").await?;
    pair.b_has_it_whole()?;
    let received = pair.b.received(pair.bytes).await?;
    assert!(
        received < pair.bytes + UNDER_WAY,
        "{received} of {}",
        pair.bytes
    );
    until("the other one has sent the rest", async || {
        Ok(c.shared().await?.0 >= SIZE as u64 / 4)
    })
    .await?;
    pair.system.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spoilt_file_is_refused() -> anyhow::Result<()> {
    let pair = Pair::start().await?;
    let path = pair.a.files.blob_of(&blob(1));
    let mut spoilt = blob(1);
    spoilt[SIZE / 3] ^= 1;
    fs::write(&path, &spoilt)?;
    pair.want("auto").await?;
    let failed = pair.newest_is("failed").await?;
    let error = failed["error"].as_str().unwrap_or_default();
    assert!(error.contains("from a: digest mismatch"), "{failed}");
    assert!(error.contains("pull model manifest"), "{failed}");
    pair.nothing_half_named(&["other:1b"])?;
    assert!(!pair.b.files.blob_of(&spoilt).exists());
    // Where models come from has the right one.
    let directory = tempfile::tempdir()?;
    let right = ModelFiles::open(directory.path())?;
    right.add("m:1b", &[&blob(1), b"a template"])?;
    let registry = ScriptedRegistry::start(right).await?;
    let address = registry.address();
    pair.b
        .upstream
        .edit_script(|script| script.registry = Some(address));
    pair.want("auto").await?;
    pair.newest_is("done").await?;
    pair.b_has_it_whole()?;
    pair.system.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_fails_the_copy_with_its_reason() -> anyhow::Result<()> {
    let pair = Pair::start().await?;
    let registry = pair.registry().await?;
    pair.b
        .upstream
        .edit_script(|script| script.disk_room = Some(SIZE as u64 / 2));
    pair.want("auto").await?;
    let failed = pair.newest_is("failed").await?;
    let error = failed["error"].as_str().unwrap_or_default();
    assert!(error.contains("no space left on device"), "{failed}");
    assert!(
        error.contains("the next try goes on from there"),
        "{failed}"
    );
    assert_eq!(registry.sent_bytes(), 0, "pulling would not help");
    pair.nothing_half_named(&["other:1b"])?;
    let plan = pair.admin.get(PLAN).await?.json()?;
    assert_eq!(plan["actions"], json!([]), "it waits for a while");
    pair.b
        .upstream
        .edit_script(|script| script.disk_room = None);
    // Who says anew what is wanted wants it now.
    pair.want("auto").await?;
    pair.newest_is("done").await?;
    pair.b_has_it_whole()?;
    let received = pair.b.received(pair.bytes).await?;
    assert!(
        received < pair.bytes + 2 * UNDER_WAY,
        "{received} of {}",
        pair.bytes
    );
    pair.system.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_is_called_off_stops_and_goes_on_later() -> anyhow::Result<()> {
    let pair = Pair::start().await?;
    let gate = Gate::closed();
    pair.b
        .upstream
        .edit_script(|script| script.pull_gate = Some(gate.clone()));
    pair.want("auto").await?;
    let running = pair.newest_is("running").await?;
    until("most of it is there", async || {
        let page = pair.admin.get(ACTIONS).await?.json()?;
        Ok(page["items"][0]["done_bytes"].as_u64() >= Some(SIZE as u64 / 2))
    })
    .await?;
    let listed = pair.admin.get("/api/v1/models").await?.text();
    assert!(!listed.contains("remuda-copy"), "{listed}");
    pair.want("suggest").await?;
    let id = running["id"].as_str().unwrap_or_default();
    let cancel = format!("{ACTIONS}/{id}/cancel");
    let cancelled = pair.admin.post(&cancel, &json!({})).await?;
    assert_eq!(cancelled.status, 200, "{}", cancelled.text());
    until("nothing is under way", async || {
        let plan = pair.admin.get(PLAN).await?.json()?;
        Ok(plan["open"] == json!([]) && plan["actions"][0]["kind"] == "copy")
    })
    .await?;
    pair.nothing_half_named(&["other:1b"])?;
    gate.open();
    pair.want("auto").await?;
    pair.newest_is("done").await?;
    pair.b_has_it_whole()?;
    let received = pair.b.received(pair.bytes).await?;
    assert!(
        received < pair.bytes + UNDER_WAY,
        "{received} of {}",
        pair.bytes
    );
    pair.system.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn other_files_of_the_name_are_replaced_and_go() -> anyhow::Result<()> {
    let pair = Pair::start().await?;
    let right = pair.a.digest("m:1b");
    // The files that are more common are right where nobody knows which are newer.
    let c = Machine::join(&pair.system, "c", |_| {}).await?;
    c.upstream.add_files("m:1b", &[&blob(1), b"a template"])?;
    pair.until_replicas(2).await?;
    let old = pair.b.upstream.add_files("m:1b", &[&blob(2)])?;
    pair.until_replicas(3).await?;
    pair.want("auto").await?;
    until("all have the same files", async || {
        let plan = pair.admin.get(PLAN).await?.json()?;
        let same = pair.b.digest("m:1b") == right && c.digest("m:1b") == right;
        Ok(same && plan["drift"] == json!([]) && plan["open"] == json!([]))
    })
    .await?;
    assert_ne!(Some(old), right);
    pair.b_has_it_whole()?;
    assert!(!pair.b.files.blob_of(&blob(2)).exists(), "nobody needs it");
    pair.system.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_that_breaks_off_near_the_end_goes_on_from_there() -> anyhow::Result<()> {
    let pair = Pair::start().await?;
    let registry = pair.registry().await?;
    // Nothing to copy from: the model is nobody's.
    registry_only(&pair).await?;
    registry.break_off_at(Some(SIZE as u64 / 100 * 99));
    let wanted = json!({"mode": "auto", "min_on_disk": 1, "tags": ["here"]}).to_string();
    let policy = "/api/v1/placement/policies/n:1b";
    let put = async || {
        let reply = pair.admin.send(Method::PUT, policy, wanted.clone().into());
        reply.await
    };
    assert_eq!(put().await?.status, 200);
    let failed = pair.newest_is("failed").await?;
    let error = failed["error"].as_str().unwrap_or_default();
    assert!(error.starts_with("max retries exceeded"), "{failed}");
    assert!(
        error.contains("the next try goes on from there"),
        "{failed}"
    );
    pair.nothing_half_named(&["other:1b"])?;
    registry.break_off_at(None);
    assert_eq!(put().await?.status, 200);
    let done = pair.newest_is("done").await?;
    assert_eq!(
        (&done["kind"], &done["attempt"]),
        (&json!("pull"), &json!(1))
    );
    assert_eq!(fs::read(pair.b.files.blob_of(&blob(3)))?, blob(3));
    let sent = registry.sent_bytes();
    assert!(sent < SIZE as u64 + UNDER_WAY, "{sent}");
    pair.nothing_half_named(&["n:1b", "other:1b"])?;
    pair.system.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_fails_a_pull_with_its_reason_and_it_goes_on_later() -> anyhow::Result<()> {
    let pair = Pair::start().await?;
    let registry = pair.registry().await?;
    registry_only(&pair).await?;
    let room = Some(SIZE as u64 / 2);
    pair.b
        .upstream
        .edit_script(|script| script.disk_room = room);
    let wanted = json!({"mode": "auto", "min_on_disk": 1, "tags": ["here"]}).to_string();
    let policy = "/api/v1/placement/policies/n:1b";
    pair.admin
        .send(Method::PUT, policy, wanted.clone().into())
        .await?;
    let failed = pair.newest_is("failed").await?;
    let error = failed["error"].as_str().unwrap_or_default();
    assert!(error.contains("no space left on device"), "{failed}");
    pair.nothing_half_named(&["other:1b"])?;
    pair.b
        .upstream
        .edit_script(|script| script.disk_room = None);
    pair.admin.send(Method::PUT, policy, wanted.into()).await?;
    pair.newest_is("done").await?;
    let sent = registry.sent_bytes();
    assert!(sent < SIZE as u64 + 2 * UNDER_WAY, "{sent}");
    pair.nothing_half_named(&["n:1b", "other:1b"])?;
    pair.system.stop().await;
    Ok(())
}

/// Puts a model on the disk that the registry serves, without any node listing it, and lets one node alone be where it is wanted.
async fn registry_only(pair: &Pair) -> anyhow::Result<()> {
    pair.a.files.add("n:1b", &[&blob(3)])?;
    let tags = json!({"tags": ["here"]}).to_string().into();
    let path = "/api/v1/nodes/b";
    let reply = pair.admin.send(Method::PUT, path, tags).await?;
    anyhow::ensure!(reply.status == 200, "{}", reply.text());
    Ok(())
}
