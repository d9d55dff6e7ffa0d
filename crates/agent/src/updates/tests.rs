//! Taking, trying and keeping versions, without a control plane. Programs are scripts: what matters is what they do.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use agent_proto::SigningKey;
use agent_proto::v1::agent_client::AgentClient;
use agent_proto::v1::agent_server::AgentServer;
use agent_proto::v1::{ReleaseHead, ReleasePart};
use tokio::sync::watch;
use tonic::{Code, Status};

use super::*;
use crate::config::AgentConfig;
use crate::service::{FarEnd, Service};
use crate::tunnels::Tunnels;

const GOOD: &str = "#!/bin/sh\necho remuda 0.2.0\n";

fn version(text: &str) -> Version {
    text.parse().unwrap()
}

fn open(data: &Path, choice: KeyChoice) -> Arc<Updates> {
    Updates::open(data, version("0.1.0"), choice, Start::Installed).unwrap()
}

fn release(key: &SigningKey, program: &str) -> Manifest {
    let program = program.as_bytes();
    key.sign(version("0.2.0"), &own_target(), program).unwrap()
}

/// Gives an agent a release, as a control plane does.
async fn give(updates: &Arc<Updates>, manifest: &str, program: &[u8]) -> Result<(), Status> {
    let mut config = AgentConfig::new("unused".into(), "http://127.0.0.1:1".parse().unwrap());
    config.updates = Some(Arc::clone(updates));
    let (_, status) = watch::channel(Arc::default());
    let far_end = FarEnd {
        address: "h:1".parse().unwrap(),
        state: Arc::default(),
        told: Arc::default(),
    };
    let service = Service::new(&config, status, Arc::<Tunnels>::default(), None, far_end);
    let (ours, theirs) = tokio::io::duplex(64 << 10);
    tokio::spawn(agent_proto::serve(theirs, AgentServer::new(service)));
    let (channel, connection) = agent_proto::connect(ours).await.unwrap();
    tokio::spawn(connection);
    let head = ReleaseHead {
        attempt: "attempt".to_owned(),
        manifest: manifest.to_owned(),
    };
    let mut parts = vec![ReleasePart {
        head: Some(head),
        ..ReleasePart::default()
    }];
    parts.extend(program.chunks(7).map(|data| ReleasePart {
        head: None,
        data: data.to_vec().into(),
    }));
    let parts = futures_util::stream::iter(parts);
    AgentClient::new(channel)
        .install_release(parts)
        .await
        .map(drop)
}

fn names(data: &Path) -> Vec<String> {
    let entries = fs::read_dir(data.join("updates")).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_signed_release_is_taken_tried_and_handed_over_to() {
    let data = tempfile::tempdir().unwrap();
    let key = SigningKey::generate().unwrap();
    let updates = open(data.path(), KeyChoice::This(key.update_key()));
    let manifest = release(&key, GOOD).to_string();
    give(&updates, &manifest, GOOD.as_bytes()).await.unwrap();
    let taken = updates.until_taken().await;
    assert_eq!(updates.told().borrow().attempt.as_deref(), Some("attempt"));
    let again = give(&updates, &manifest, GOOD.as_bytes())
        .await
        .unwrap_err();
    assert!(again.message().contains("already"), "{again}");
    assert_eq!(updates.to_launch(), None, "it was not tried yet");
    let mode = fs::metadata(taken.program()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    updates.keep(&taken).unwrap();

    // The next start: the key is remembered, and the installed version hands over.
    let updates = open(data.path(), KeyChoice::AsBefore);
    assert_eq!(updates.key(), Some(key.update_key()));
    assert_eq!(updates.to_launch().as_deref(), Some(taken.program()));
    // A later version that a person installs goes before it.
    let later = Updates::open(
        data.path(),
        version("0.2.0"),
        KeyChoice::AsBefore,
        Start::Installed,
    );
    assert_eq!(later.unwrap().to_launch(), None);
}

#[tokio::test]
async fn what_is_not_as_it_was_signed_is_refused_and_leaves_nothing() {
    let data = tempfile::tempdir().unwrap();
    let (key, other) = (
        SigningKey::generate().unwrap(),
        SigningKey::generate().unwrap(),
    );
    let updates = open(data.path(), KeyChoice::This(key.update_key()));
    let good = release(&key, GOOD);
    let old = key.sign(version("0.1.0"), &own_target(), GOOD.as_bytes());
    let elsewhere = key.sign(version("0.2.0"), "plan9-mips", GOOD.as_bytes());
    let forged = good.to_string().replace("0.2.0", "0.3.0");
    let longer = format!("{GOOD}\n");
    let changed = GOOD.replace("echo", "ECHO");
    let liar = "#!/bin/sh\necho remuda 0.9.0\n";
    let broken = "#!/bin/sh\nexit 3\n";
    let refusals = [
        (
            forged,
            GOOD,
            Code::InvalidArgument,
            "signature does not fit",
        ),
        (
            release(&other, GOOD).to_string(),
            GOOD,
            Code::FailedPrecondition,
            "this agent believes",
        ),
        (
            elsewhere.unwrap().to_string(),
            GOOD,
            Code::FailedPrecondition,
            "this machine is",
        ),
        (
            old.unwrap().to_string(),
            GOOD,
            Code::FailedPrecondition,
            "never installs an older version",
        ),
        (
            good.to_string(),
            &GOOD[..9],
            Code::Unavailable,
            "broke off after 9 of",
        ),
        (
            good.to_string(),
            &longer,
            Code::DataLoss,
            "larger than what was signed",
        ),
        (
            good.to_string(),
            &changed,
            Code::DataLoss,
            "not what was signed",
        ),
        (
            release(&key, liar).to_string(),
            liar,
            Code::FailedPrecondition,
            "0.9.0",
        ),
        (
            release(&key, broken).to_string(),
            broken,
            Code::FailedPrecondition,
            "exit status: 3",
        ),
        (
            release(&key, "text").to_string(),
            "text",
            Code::FailedPrecondition,
            "does not start",
        ),
    ];
    for (manifest, program, code, why) in refusals {
        let refused = give(&updates, &manifest, program.as_bytes())
            .await
            .unwrap_err();
        assert_eq!(refused.code(), code, "{refused}");
        assert!(refused.message().contains(why), "{refused}");
        assert_eq!(names(data.path()), ["updates.json"], "{why}");
        assert_eq!(updates.told().borrow().attempt, None);
    }
    // Nobody is believed any more.
    let updates = open(data.path(), KeyChoice::Nobody);
    let refused = give(&updates, &good.to_string(), GOOD.as_bytes())
        .await
        .unwrap_err();
    assert!(refused.message().contains("--update-key"), "{refused}");
}

#[tokio::test]
async fn a_try_that_is_cut_short_leaves_the_version_before_and_says_so() {
    let data = tempfile::tempdir().unwrap();
    let key = SigningKey::generate().unwrap();
    let updates = open(data.path(), KeyChoice::This(key.update_key()));
    let manifest = release(&key, GOOD).to_string();
    give(&updates, &manifest, GOOD.as_bytes()).await.unwrap();
    // As after kill -9, or a loss of power, in the middle of the try.
    let updates = open(data.path(), KeyChoice::AsBefore);
    assert_eq!(updates.to_launch(), None);
    let told = updates.told().borrow().clone();
    let failed = told.failed.unwrap();
    assert_eq!(
        (failed.attempt.as_str(), failed.version.as_str()),
        ("attempt", "0.2.0")
    );
    assert!(failed.reason.contains("ended while"), "{}", failed.reason);
    assert_eq!(names(data.path()), ["updates.json"], "its program is gone");
    // The next one may be the same.
    give(&updates, &manifest, GOOD.as_bytes()).await.unwrap();
    assert_eq!(updates.told().borrow().failed, None);
    // Before that, something half-written may have been left.
    fs::write(data.path().join("updates/incoming"), "half").unwrap();
    open(data.path(), KeyChoice::AsBefore);
    assert_eq!(names(data.path()), ["updates.json"]);
}

#[tokio::test]
async fn a_kept_version_that_is_damaged_or_never_linked_gives_way_to_the_one_before() {
    let key = SigningKey::generate().unwrap();
    let kept = async |data: &Path| {
        let updates = open(data, KeyChoice::This(key.update_key()));
        let manifest = release(&key, GOOD).to_string();
        give(&updates, &manifest, GOOD.as_bytes()).await.unwrap();
        let taken = updates.until_taken().await;
        updates.keep(&taken).unwrap();
        taken
    };
    let data = tempfile::tempdir().unwrap();
    let taken = kept(data.path()).await;
    fs::write(taken.program(), GOOD.replace("echo", "ECHO")).unwrap();
    let updates = open(data.path(), KeyChoice::AsBefore);
    assert_eq!(updates.to_launch(), None);
    let reason = updates.told().borrow().failed.clone().unwrap().reason;
    assert!(reason.contains("changed"), "{reason}");

    let data = tempfile::tempdir().unwrap();
    kept(data.path()).await;
    for _ in 0..5 {
        assert!(open(data.path(), KeyChoice::AsBefore).to_launch().is_some());
    }
    // A link says that it works after all, and the count begins anew.
    let handed_over = Updates::open(
        data.path(),
        version("0.2.0"),
        KeyChoice::AsBefore,
        Start::HandedOver,
    );
    handed_over.unwrap().linked();
    for _ in 0..5 {
        assert!(open(data.path(), KeyChoice::AsBefore).to_launch().is_some());
    }
    let updates = open(data.path(), KeyChoice::AsBefore);
    assert_eq!(updates.to_launch(), None);
    let reason = updates.told().borrow().failed.clone().unwrap().reason;
    assert!(reason.contains("5 times"), "{reason}");
    // Another key is believed: what the one before has signed is not started.
    let data = tempfile::tempdir().unwrap();
    kept(data.path()).await;
    let other = SigningKey::generate().unwrap().update_key();
    assert_eq!(open(data.path(), KeyChoice::This(other)).to_launch(), None);
}

#[tokio::test]
async fn an_older_release_is_not_taken_again_also_when_the_later_one_is_gone() {
    let data = tempfile::tempdir().unwrap();
    let key = SigningKey::generate().unwrap();
    let give_version = async |updates: &Arc<Updates>, key: &SigningKey, number: &str| {
        let program = GOOD.replace("0.2.0", number);
        let manifest = key
            .sign(version(number), &own_target(), program.as_bytes())
            .unwrap();
        give(updates, &manifest.to_string(), program.as_bytes()).await
    };
    let updates = open(data.path(), KeyChoice::This(key.update_key()));
    give_version(&updates, &key, "0.3.0").await.unwrap();
    let taken = updates.until_taken().await;
    updates.keep(&taken).unwrap();
    // Its program is lost, so that the installed one goes on.
    fs::remove_file(taken.program()).unwrap();
    let updates = open(data.path(), KeyChoice::This(key.update_key()));
    assert_eq!(updates.to_launch(), None);
    let updates = open(data.path(), KeyChoice::AsBefore);
    let refused = give_version(&updates, &key, "0.2.0").await.unwrap_err();
    assert!(
        refused.message().contains("0.3.0 was kept here before"),
        "{refused}"
    );
    // The same one may come again, and a later one.
    give_version(&updates, &key, "0.3.0").await.unwrap();
    // Another key has numbers of its own.
    let other = SigningKey::generate().unwrap();
    let updates = open(data.path(), KeyChoice::This(other.update_key()));
    give_version(&updates, &other, "0.2.0").await.unwrap();
}

#[tokio::test]
async fn what_was_kept_before_there_was_a_memory_counts() {
    let data = tempfile::tempdir().unwrap();
    let key = SigningKey::generate().unwrap();
    let updates = open(data.path(), KeyChoice::This(key.update_key()));
    let manifest = release(&key, GOOD).to_string();
    give(&updates, &manifest, GOOD.as_bytes()).await.unwrap();
    updates.keep(&updates.until_taken().await).unwrap();
    let file = data.path().join("updates/updates.json");
    let mut kept: serde_json::Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    assert_eq!(
        kept.as_object_mut().unwrap().remove("highest"),
        Some("0.2.0".into())
    );
    fs::write(&file, kept.to_string()).unwrap();
    open(data.path(), KeyChoice::AsBefore);
    let kept: serde_json::Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    assert_eq!(kept["highest"], "0.2.0");
}

#[tokio::test]
async fn a_release_that_cannot_be_noted_leaves_no_program_behind() {
    let data = tempfile::tempdir().unwrap();
    let key = SigningKey::generate().unwrap();
    let updates = open(data.path(), KeyChoice::This(key.update_key()));
    let manifest = release(&key, GOOD).to_string();
    // What is written anew goes by way of a file of this name: the program itself, when it says its version, takes the way.
    let program = format!(
        "#!/bin/sh\n/bin/mkdir {}\necho remuda 0.2.0\n",
        data.path().join("updates/updates.new").display()
    );
    let blocking = release(&key, &program).to_string();
    let refused = give(&updates, &blocking, program.as_bytes())
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    fs::remove_dir(data.path().join("updates/updates.new")).unwrap();
    assert_eq!(names(data.path()), ["updates.json"]);
    assert_eq!(updates.told().borrow().attempt, None);
    give(&updates, &manifest, GOOD.as_bytes()).await.unwrap();
}

#[tokio::test]
async fn a_trial_passes_fails_with_what_was_said_or_is_called_off() {
    let data = tempfile::tempdir().unwrap();
    let program = |text: &str| {
        let path = data.path().join("program");
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        path
    };
    let long = Duration::from_mins(1);
    let never = std::future::pending::<()>;
    let arguments = ["agent".into()];
    let on_trial = ("ON_TRIAL", "yes");
    let good = program("test \"$1 $ON_TRIAL\" = 'agent yes'");
    let passed = try_out(&good, &arguments, on_trial, long, never()).await;
    assert_eq!(passed, TrialOutcome::Passed);
    let crash = program("echo first >&2; echo \"no such thing\" >&2; kill -9 $$");
    let TrialOutcome::Failed(why) = try_out(&crash, &arguments, on_trial, long, never()).await
    else {
        panic!("it passed");
    };
    assert!(
        why.contains("signal: 9") && why.ends_with("first / no such thing"),
        "{why}"
    );
    // Its standard input ends when it is given up, and it ends with it.
    let hangs = program("cat > /dev/null; exit 0");
    let soon = Duration::from_millis(200);
    let TrialOutcome::Failed(why) = try_out(&hangs, &arguments, on_trial, soon, never()).await
    else {
        panic!("it passed");
    };
    assert!(why.contains("not shown"), "{why}");
    let stopped = try_out(&hangs, &arguments, on_trial, long, std::future::ready(())).await;
    assert_eq!(stopped, TrialOutcome::Stopped);
    let missing = try_out(Path::new("/nowhere"), &arguments, on_trial, long, never()).await;
    assert!(matches!(missing, TrialOutcome::Failed(_)));
}

#[test]
fn a_version_that_goes_on_does_not_join_again() {
    let typed = [
        "agent",
        "--join",
        "https://h",
        "--listen",
        "x",
        "--token=t",
        "--token",
        "t",
        "--joined",
    ];
    let again = arguments_again(typed.map(Into::into));
    assert_eq!(again, ["agent", "--listen", "x", "--joined"]);
}
