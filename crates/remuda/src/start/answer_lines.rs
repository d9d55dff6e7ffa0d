//! A streamed answer read line by line: its pieces as they come, and in the end the answer as it would have been in one piece.

use std::collections::VecDeque;

use bytes::BytesMut;
use futures_util::stream::{Stream, StreamExt as _, unfold};
use jobs::{JobKind, Outcome, Refusal, Step};
use primitives::ErrorKind;
use serde_json::{Value, json};

/// The longest line that is read, in bytes.
const LONGEST_LINE: usize = 16 << 20;

/// An answer under way.
pub(super) struct AnswerLines {
    kind: JobKind,
    body: axum::body::BodyDataStream,
    held: BytesMut,
    whole: Whole,
    steps: VecDeque<Step>,
    ended: bool,
}

/// What was said so far.
#[derive(Default)]
struct Whole {
    content: String,
    thinking: String,
    tool_calls: Vec<Value>,
}

impl AnswerLines {
    pub(super) fn new(kind: JobKind, body: axum::body::Body) -> Self {
        Self {
            kind,
            body: body.into_data_stream(),
            held: BytesMut::new(),
            whole: Whole::default(),
            steps: VecDeque::new(),
            ended: false,
        }
    }

    /// Returns what happens, in order. The last one is the end.
    pub(super) fn steps(self) -> impl Stream<Item = Step> + Send {
        unfold(self, |mut answer| async move {
            let step = answer.next().await?;
            Some((step, answer))
        })
    }

    async fn next(&mut self) -> Option<Step> {
        loop {
            if let Some(step) = self.steps.pop_front() {
                return Some(step);
            }
            if self.ended {
                return None;
            }
            match self.body.next().await {
                Some(Ok(bytes)) => self.take(&bytes),
                Some(Err(_)) | None => self.again("the answer broke off"),
            }
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        self.held.extend_from_slice(bytes);
        while let Some(end) = self.held.iter().position(|byte| *byte == b'\n') {
            let line = self.held.split_to(end + 1);
            if !line.trim_ascii().is_empty() && !self.ended {
                self.line(&line);
            }
        }
        if self.held.len() > LONGEST_LINE {
            self.again("a line of the answer is too long");
        }
    }

    fn again(&mut self, message: &str) {
        let refusal = Refusal::new(ErrorKind::Upstream, message);
        self.end(Outcome::Again(refusal));
    }

    fn end(&mut self, outcome: Outcome) {
        self.ended = true;
        self.steps.push_back(Step::Ended(outcome));
    }

    fn line(&mut self, line: &[u8]) {
        let Ok(mut said) = serde_json::from_slice::<Value>(line) else {
            return self.again("a line of the answer is not JSON");
        };
        if let Some(error) = said.get("error") {
            let message = error.as_str().unwrap_or("the answer broke off").to_owned();
            return self.again(&message);
        }
        let part = match self.kind {
            JobKind::Chat => said.get("message"),
            JobKind::Generate => Some(&said),
        };
        let (thinking, content, calls) = match part {
            Some(part) => (
                text(part, "thinking"),
                text(part, self.content_name()),
                part.get("tool_calls").and_then(Value::as_array).cloned(),
            ),
            None => (String::new(), String::new(), None),
        };
        self.whole.thinking.push_str(&thinking);
        self.whole.content.push_str(&content);
        self.output("thinking", thinking);
        self.output("content", content);
        for call in calls.into_iter().flatten() {
            self.output("tool_call", call.to_string());
            self.whole.tool_calls.push(call);
        }
        if said.get("done") == Some(&Value::Bool(true)) {
            self.complete(&mut said);
            self.end(Outcome::Done(said));
        }
    }

    fn output(&mut self, channel: &'static str, text: String) {
        if !text.is_empty() {
            self.steps.push_back(Step::Output { channel, text });
        }
    }

    const fn content_name(&self) -> &'static str {
        match self.kind {
            JobKind::Chat => "content",
            JobKind::Generate => "response",
        }
    }

    /// Puts all that was said into the last line, which makes it the answer in one piece.
    fn complete(&mut self, last: &mut Value) {
        let content = self.content_name();
        let whole = std::mem::take(&mut self.whole);
        if self.kind == JobKind::Chat && !last.get("message").is_some_and(Value::is_object) {
            last["message"] = json!({"role": "assistant"});
        }
        let part = match self.kind {
            JobKind::Chat => &mut last["message"],
            JobKind::Generate => last,
        };
        part[content] = Value::String(whole.content);
        if !whole.thinking.is_empty() {
            part["thinking"] = Value::String(whole.thinking);
        }
        if !whole.tool_calls.is_empty() {
            part["tool_calls"] = Value::Array(whole.tool_calls);
        }
    }
}

fn text(part: &Value, name: &str) -> String {
    part.get(name)
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn steps(kind: JobKind, lines: &'static str) -> Vec<Step> {
        let answer = AnswerLines::new(kind, axum::body::Body::from(lines));
        answer.steps().collect().await
    }

    #[tokio::test]
    async fn pieces_are_joined_into_the_answer_in_one_piece() {
        let lines = "{\"model\":\"m\",\"message\":{\"role\":\"assistant\",\"content\":\"a\"},\"done\":false}\n\
             {\"model\":\"m\",\"message\":{\"role\":\"assistant\",\"content\":\"b\"},\"done\":false}\n\
             {\"model\":\"m\",\"message\":{\"role\":\"assistant\",\"content\":\"\"},\"done\":true,\"eval_count\":2}\n";
        let steps = steps(JobKind::Chat, lines).await;
        let text = |text: &str| Step::Output {
            channel: "content",
            text: text.to_owned(),
        };
        let whole = json!({"model": "m", "message": {"role": "assistant", "content": "ab"}, "done": true, "eval_count": 2});
        assert_eq!(
            steps,
            [text("a"), text("b"), Step::Ended(Outcome::Done(whole))]
        );
    }

    #[tokio::test]
    async fn an_answer_that_breaks_off_is_tried_again() {
        for lines in [
            "",
            "{\"response\":\"a\",\"done\":false}\n",
            "{\"response\":\"a\",\"done\":false}\n{\"error\":\"gone\"}\n",
            "{\"response\":\"a\",\"do",
            "not json\n",
        ] {
            let steps = steps(JobKind::Generate, lines).await;
            let last = steps.last();
            assert!(
                matches!(last, Some(Step::Ended(Outcome::Again(_)))),
                "{lines:?}: {last:?}"
            );
        }
    }
}
