//! Writing everything out, page by page: each line is true at the moment at which its page is read.

use bytes::Bytes;
use futures_util::stream::{self, Stream};
use serde_json::json;

use crate::import_lines::{ASSOCIATION_HEAD, Format, WIDGET_HEAD, What, csv_value};
use crate::list::ReadError;
use crate::store;
use crate::surface::Inventory;

/// Widgets of one page.
const PAGE: u32 = 5_000;
/// Numbers whose associations are one page.
const NUMBERS: i64 = 5_000;

/// How far an export is.
struct Progress {
    inventory: Inventory,
    format: Format,
    what: What,
    after: i64,
    begun: bool,
    ended: bool,
}

impl Inventory {
    /// Writes all widgets or all associations in lines.
    pub(crate) fn export(
        &self,
        format: Format,
        what: What,
    ) -> impl Stream<Item = Result<Bytes, ReadError>> + use<> {
        let progress = Progress {
            inventory: self.clone(),
            format,
            what,
            after: 0,
            begun: false,
            ended: false,
        };
        stream::try_unfold(progress, |mut progress| async move {
            if progress.ended {
                return Ok(None);
            }
            let mut text = String::new();
            if !progress.begun && progress.format == Format::Csv {
                text.push_str(match progress.what {
                    What::Widgets => WIDGET_HEAD,
                    What::Associations => ASSOCIATION_HEAD,
                });
                text.push('\n');
            }
            progress.begun = true;
            match progress.what {
                What::Widgets => progress.widgets(&mut text).await?,
                What::Associations => progress.associations(&mut text).await?,
            }
            Ok(Some((Bytes::from(text), progress)))
        })
    }
}

impl Progress {
    async fn widgets(&mut self, text: &mut String) -> Result<(), ReadError> {
        let mut tx = self.inventory.inner.db.read().await?;
        let page = store::widgets_after(&mut tx, self.after, PAGE).await?;
        tx.commit().await?;
        for named in &page {
            let (serial, name) = (&*named.widget.serial_number, &*named.name);
            let ports = named.widget.ports.to_string();
            self.line(
                text,
                [("serial_number", serial), ("name", name), ("ports", &ports)],
            );
        }
        match page.last() {
            Some(last) => self.after = last.widget.id,
            None => self.ended = true,
        }
        Ok(())
    }

    async fn associations(&mut self, text: &mut String) -> Result<(), ReadError> {
        // Pages without an association are passed over, so that something comes at each step.
        let before = text.len();
        while text.len() == before && !self.ended {
            let last = self.after + NUMBERS;
            let mut tx = self.inventory.inner.db.read().await?;
            let page = store::associations_between(&mut tx, self.after, last).await?;
            let highest = store::highest_id(&mut tx).await?;
            tx.commit().await?;
            for joined in &page {
                let values = [
                    ("first", joined.first.as_str()),
                    ("second", &joined.second),
                    ("port", &joined.port),
                ];
                self.line(text, values);
            }
            self.after = last;
            self.ended = last >= highest;
        }
        Ok(())
    }

    fn line(&self, text: &mut String, [one, two, three]: [(&str, &str); 3]) {
        match self.format {
            Format::Jsonl => {
                let line = json!({one.0: one.1, two.0: two.1, three.0: three.1});
                text.push_str(&line.to_string());
            }
            Format::Csv => {
                let values = [one.1, two.1, three.1].map(csv_value);
                text.push_str(&values.join(","));
            }
        }
        text.push('\n');
    }
}
