//! The SQLite file belongs to its owner alone.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use primitives::Classify as _;
use store::{Db, StoreConfig, StoreError};

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn the_database_and_its_log_are_readable_by_their_owner_only() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("r.db");
    std::fs::write(&path, "").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let db = Db::open(&StoreConfig::new(format!("sqlite:{}", path.display())))
        .await
        .unwrap();
    db.migrate().await.unwrap();
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        assert_eq!(mode(&entry.unwrap().path()), 0o600);
    }
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("absent/r.db");
    match Db::open(&StoreConfig::new(format!("sqlite:{}", path.display()))).await {
        Err(StoreError::Config { reason }) => assert!(reason.contains("absent/r.db"), "{reason}"),
        other => panic!("expected a refusal, got {other:?}"),
    }
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("r.db");
    let text = "this is a diary, not a database. ".repeat(100);
    std::fs::write(&path, &text).unwrap();
    let result = Db::open(&StoreConfig::new(format!("sqlite:{}", path.display()))).await;
    let error = result.unwrap_err();
    assert!(matches!(error, StoreError::Damaged(_)), "{error:?}");
    assert!(!error.is_passing());
    assert!(error.public_message().contains("restore a backup"));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
}
