//! Renders conversations through the model's own chat template, in a sandbox: no files, bounded work.

use std::sync::Arc;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, Value};
use minijinja::{Environment, Error, ErrorKind, context};
use primitives::Clock;

use crate::error::EngineError;
use crate::file::Refusal;
use crate::request::{ChatPrompt, ChatTurn};

/// Steps that one rendering may take.
const FUEL: u64 = 2_000_000;
/// The longest template that is read, in bytes.
const LONGEST: usize = 256 * 1024;
/// Stands at the end of the unfinished answer while rendering; what follows it is cut off.
const UNFINISHED: &str = "\u{e000}unfinished\u{e001}";
/// What models without a template of their own get.
const CHATML: &str = "{%- for message in messages -%}
{{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\n' -}}{%- endif -%}";

/// A model's chat template, parsed.
pub(crate) struct Template {
    environment: Environment<'static>,
    begin: String,
    end: String,
}

impl Template {
    /// Parses a template; `ChatML` when the model has none. `begin` and `end` are the texts of the model's marks.
    pub(crate) fn parse(
        source: Option<&str>,
        begin: &str,
        end: &str,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Refusal> {
        let source = source.unwrap_or(CHATML);
        if source.len() > LONGEST {
            return Err(Refusal(format!(
                "the chat template has {} bytes, more than {LONGEST}",
                source.len()
            )));
        }
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build();
        environment.set_syntax(syntax.map_err(|error| Refusal(error.to_string()))?);
        environment.set_fuel(Some(FUEL));
        environment
            .set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function(
            "raise_exception",
            |message: String| -> Result<String, Error> {
                Err(Error::new(ErrorKind::InvalidOperation, message))
            },
        );
        environment.add_function(
            "strftime_now",
            move |format: String| -> Result<String, Error> { strftime(&format, clock.as_ref()) },
        );
        environment
            .add_template_owned("chat", source.to_owned())
            .map_err(|error| Refusal(format!("the chat template does not parse: {error}")))?;
        Ok(Self {
            environment,
            begin: begin.to_owned(),
            end: end.to_owned(),
        })
    }

    /// Renders a conversation up to the place where the answer begins or, for an unfinished last turn, continues.
    pub(crate) fn render(&self, chat: &ChatPrompt) -> Result<String, EngineError> {
        if chat.messages.is_empty() {
            return Err(EngineError::Invalid(
                "a chat needs at least one message".to_owned(),
            ));
        }
        if !chat.continue_last {
            return self.render_turns(&chat.messages, chat, true);
        }
        let Some((last, before)) = chat
            .messages
            .split_last()
            .filter(|(last, _)| last.role == "assistant")
        else {
            return Err(EngineError::Invalid(
                "only an assistant's message can be continued".to_owned(),
            ));
        };
        let mut turns = before.to_vec();
        turns.push(ChatTurn {
            content: format!("{}{UNFINISHED}", last.content),
            ..last.clone()
        });
        let text = self.render_turns(&turns, chat, false)?;
        if let Some((prompt, _)) = text.split_once(UNFINISHED) {
            return Ok(prompt.to_owned());
        }
        // The template shows the last turn in some other way: let it open the answer, then say what was said already.
        Ok(self.render_turns(before, chat, true)? + &last.content)
    }

    fn render_turns(
        &self,
        turns: &[ChatTurn],
        chat: &ChatPrompt,
        opens_answer: bool,
    ) -> Result<String, EngineError> {
        let messages: Vec<Value> = turns.iter().map(turn_value).collect();
        let values = context! {
            messages => messages,
            add_generation_prompt => opens_answer,
            bos_token => self.begin.as_str(),
            eos_token => self.end.as_str(),
            tools => chat.tools.as_ref().map(|tools| Value::from(Serde(tools))),
        };
        let values = match chat.think {
            Some(think) => context! { enable_thinking => think, ..values },
            None => values,
        };
        let invalid = |error: Error| {
            EngineError::Invalid(format!(
                "the model's chat template refuses this conversation: {}",
                error.detail().unwrap_or("it does not render")
            ))
        };
        self.environment
            .get_template("chat")
            .and_then(|template| template.render(values))
            .map_err(invalid)
    }
}

fn turn_value(turn: &ChatTurn) -> Value {
    let mut fields = turn.extra.clone();
    fields.insert("role".to_owned(), turn.role.clone().into());
    fields.insert("content".to_owned(), turn.content.clone().into());
    Value::from(Serde(fields))
}

fn strftime(format: &str, clock: &dyn Clock) -> Result<String, Error> {
    use std::fmt::Write;
    let invalid = || {
        Error::new(
            ErrorKind::InvalidOperation,
            "strftime_now: not a time format",
        )
    };
    let now =
        chrono::DateTime::from_timestamp_micros(clock.now().as_micros()).ok_or_else(invalid)?;
    let mut text = String::new();
    write!(text, "{}", now.format(format)).map_err(|_| invalid())?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use primitives::{ManualClock, Timestamp};

    use super::*;

    fn template(source: Option<&str>) -> Template {
        let noon = Timestamp::parse_rfc3339("2026-03-04T12:00:00Z").unwrap();
        Template::parse(source, "<s>", "</s>", Arc::new(ManualClock::new(noon))).unwrap()
    }

    fn chat(turns: &[(&str, &str)], continue_last: bool) -> ChatPrompt {
        let messages = turns
            .iter()
            .map(|(role, content)| ChatTurn::new(*role, *content))
            .collect();
        ChatPrompt {
            messages,
            continue_last,
            ..ChatPrompt::default()
        }
    }

    #[test]
    fn models_without_a_template_get_chatml() {
        let text = template(None)
            .render(&chat(&[("user", "hi")], false))
            .unwrap();
        assert_eq!(
            text,
            "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
        );
    }

    #[test]
    fn an_unfinished_answer_is_left_open() {
        let chat = chat(&[("user", "hi"), ("assistant", "Hel ")], true);
        let text = template(None).render(&chat).unwrap();
        assert_eq!(
            text,
            "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\nHel "
        );
        let hides_content = "{% for m in messages %}{{ m.role }};{% endfor %}{% if add_generation_prompt %}>{% endif %}";
        assert_eq!(
            template(Some(hides_content)).render(&chat).unwrap(),
            "user;>Hel "
        );
    }

    #[test]
    fn only_an_assistants_turn_can_be_continued() {
        let error = template(None)
            .render(&chat(&[("user", "hi")], true))
            .unwrap_err();
        assert!(matches!(error, EngineError::Invalid(_)));
    }

    #[test]
    fn python_methods_and_the_date_work() {
        let source = "{{ bos_token }}{{ messages[0]['content'].strip().upper() }} {{ strftime_now('%d %b %Y') }}";
        let text = template(Some(source))
            .render(&chat(&[("user", " a ")], false))
            .unwrap();
        assert_eq!(text, "<s>A 04 Mar 2026");
    }

    #[test]
    fn templates_may_refuse_and_may_not_run_forever() {
        let refuses = template(Some("{{ raise_exception('no system role') }}"));
        let error = refuses.render(&chat(&[("user", "a")], false)).unwrap_err();
        assert!(error.to_string().contains("no system role"), "{error}");
        let endless = template(Some(
            "{% for i in range(90000) %}{% for j in range(90000) %}x{% endfor %}{% endfor %}",
        ));
        assert!(endless.render(&chat(&[("user", "a")], false)).is_err());
        assert!(
            template(Some("{{ strftime_now('%Q') }}"))
                .render(&chat(&[("user", "a")], false))
                .is_err()
        );
    }

    #[test]
    fn broken_templates_are_refused() {
        assert!(
            Template::parse(
                Some("{% if %}"),
                "",
                "",
                Arc::new(ManualClock::new(Timestamp::from_micros(0)))
            )
            .is_err()
        );
    }
}
