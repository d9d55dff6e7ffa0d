//! What the history of settings knows of a person: their name beside what they set.

use ::store::StoreError;
use identity::{DataSubject, Erased, ExportWriter, PartError, PersonalData, Reader, Work};

use crate::store;
use crate::surface::System;

impl PersonalData for System {
    fn export<'a>(
        &'a self,
        of: &'a DataSubject,
        _reader: Reader,
        to: &'a mut ExportWriter,
    ) -> Work<'a, Result<(), PartError>> {
        Box::pin(async move {
            let mut tx = self.inner.db.read().await?;
            let versions = store::settings_changed_by(&mut tx, &of.username).await?;
            tx.commit().await?;
            to.section("settings_changed").await?;
            for (version, at) in versions {
                to.item(&serde_json::json!({"version": version, "at": at}))
                    .await?;
            }
            Ok(())
        })
    }

    fn erase<'a>(&'a self, of: &'a DataSubject) -> Work<'a, Result<Vec<Erased>, StoreError>> {
        Box::pin(async move {
            let mut tx = self.inner.db.write().await?;
            let rows = store::erase_settings_name(&mut tx, &of.username).await?;
            tx.commit().await?;
            Ok(vec![Erased {
                what: "versions of settings, of which the name",
                rows,
            }])
        })
    }
}
