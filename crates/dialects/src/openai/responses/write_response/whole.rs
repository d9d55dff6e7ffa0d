//! A whole response.

use bytes::BytesMut;

use super::item::Item;
use super::object::{Status, response_object};
use crate::answer::{Answer, call_id};
use crate::encoder::{ResponseMeta, whole_finish};
use crate::wire;

/// Writes a whole response.
pub(crate) fn write_whole(meta: &ResponseMeta, answer: &Answer, out: &mut BytesMut) {
    let unique = meta.id.strip_prefix("resp_").unwrap_or(&meta.id);
    let mut items = Vec::new();
    if !answer.thinking.is_empty() {
        items.push(Item::Reasoning {
            id: format!("rs_{unique}0"),
            text: answer.thinking.clone(),
        });
    }
    if !answer.text.is_empty() || answer.calls.is_empty() {
        items.push(Item::Message {
            id: format!("msg_{unique}{}", items.len()),
            text: answer.text.clone(),
        });
    }
    for (index, call) in (0..).zip(answer.calls.iter()) {
        items.push(Item::Call {
            id: format!("fc_{unique}{}", items.len()),
            call_id: call
                .id
                .clone()
                .unwrap_or_else(|| call_id(&meta.id, index as usize)),
            name: call.name.clone(),
            arguments: call.arguments.clone(),
            index,
        });
    }
    let output = items.iter().map(|item| item.object("completed")).collect();
    let status = Status::Ended(whole_finish(answer), answer.usage);
    wire::json(
        out,
        &response_object(meta, meta.created.as_secs(), output, &status),
    );
}
