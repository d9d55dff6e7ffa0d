//! The embedded engine as a node: canonical requests in, canonical events out. What the engine cannot do is refused
//! by name.

use std::time::Duration;

use dialects::{
    AlternativeLogprob, ApiError, CONTEXT_EXCEEDED, ChatRequest, CompletionRequest, EmbedInput,
    EmbedRequest, Event, FinishReason, Format, Generation as Wanted, Json, KeepAlive, Part,
    Request, ResidencyChange, Role, Think, TokenLogprob, Usage, Vector,
};
use engine::{
    ChatPrompt, ChatTurn, Constraint, Engine, EngineError, GenerateRequest, Generation,
    GenerationEvent, Prompt, SamplingParams, StopReason,
};
use primitives::{Classify as _, ErrorKind};

/// Tells what the engine cannot do of a request, or what is wrong with it, without asking it.
pub(crate) fn check(request: &Request) -> Result<(), ApiError> {
    match request {
        Request::Embed(embed) => {
            keep_alive(embed.keep_alive.as_ref())?;
            texts(embed).map(drop)
        }
        Request::Chat(_) | Request::Completion(_) => asked_of_engine("", request).map(drop),
    }
}

/// Starts a generation for a chat or completion request.
pub(crate) async fn generate(
    engine: &Engine,
    model: &str,
    request: &Request,
) -> Result<Generation, ApiError> {
    let (request, constraint) = asked_of_engine(model, request)?;
    engine
        .generate_constrained(request, constraint)
        .await
        .map_err(|e| api_error(&e))
}

/// Says a chat or completion request in the engine's terms.
fn asked_of_engine(
    model: &str,
    request: &Request,
) -> Result<(GenerateRequest, Option<Constraint>), ApiError> {
    let (prompt, wanted) = match request {
        Request::Chat(chat) => (chat_prompt(chat)?, &chat.generation),
        Request::Completion(completion) => (completion_prompt(completion)?, &completion.generation),
        Request::Embed(_) => {
            return Err(ApiError::unsupported(
                "input",
                "this is an embedding request",
            ));
        }
    };
    refuse_unknown(wanted)?;
    let constraint = wanted.format.as_ref().map(constraint).transpose()?;
    let request = GenerateRequest {
        model: model.to_owned(),
        prompt,
        sampling: sampling(wanted),
        num_ctx: option_number(wanted, "num_ctx")?,
        keep_alive: keep_alive(wanted.keep_alive.as_ref())?,
    };
    Ok((request, constraint))
}

/// Loads a model, or takes it out of memory once its requests are finished.
pub(crate) async fn change_residency(
    engine: &Engine,
    model: &str,
    change: ResidencyChange,
    keep: Option<&Json>,
) -> Result<(), ApiError> {
    let done = match change {
        ResidencyChange::Load => engine.load(model, keep_alive(keep)?).await,
        ResidencyChange::Unload => engine.unload(model),
    };
    done.map_err(|error| api_error(&error))
}

/// Computes embeddings; answers with the vectors and what they cost.
pub(crate) async fn embed(
    engine: &Engine,
    model: &str,
    request: &EmbedRequest,
) -> Result<Vec<Event>, ApiError> {
    let inputs = texts(request)?;
    let embeddings = engine
        .embed(engine::EmbedRequest {
            model: model.to_owned(),
            inputs,
            truncate: request.truncate.unwrap_or(true),
            keep_alive: keep_alive(request.keep_alive.as_ref())?,
        })
        .await
        .map_err(|e| api_error(&e))?;
    Ok(vec![
        Event::Embeddings(
            embeddings
                .vectors
                .iter()
                .map(|numbers| Vector::from(numbers.as_slice()))
                .collect(),
        ),
        Event::Usage(Usage {
            prompt_tokens: embeddings.prompt_tokens,
            load_duration: some_duration(embeddings.load),
            prompt_eval_duration: Some(embeddings.eval),
            total_duration: Some(embeddings.load + embeddings.eval),
            ..Usage::default()
        }),
    ])
}

/// Returns what is to be embedded in full-length vectors.
fn texts(request: &EmbedRequest) -> Result<Vec<String>, ApiError> {
    if request.dimensions.is_some() {
        return Err(ApiError::unsupported(
            "dimensions",
            "the embedded engine returns vectors in full length",
        ));
    }
    let texts = request.inputs.iter().map(|input| match input {
        EmbedInput::Text(text) => Ok(text.clone()),
        EmbedInput::Tokens(_) => Err(ApiError::unsupported(
            "input",
            "the embedded engine takes texts, not token ids",
        )),
    });
    texts.collect()
}

/// Turns what the engine reports into canonical events.
pub(crate) fn events(event: GenerationEvent, out: &mut Vec<Event>) {
    match event {
        GenerationEvent::Text { text, logprobs } => {
            if !logprobs.is_empty() {
                out.push(Event::Logprobs(logprobs.into_iter().map(logprob).collect()));
            }
            if !text.is_empty() {
                out.push(Event::Text(text));
            }
        }
        GenerationEvent::Done { reason, stats } => {
            out.push(Event::Finish(match reason {
                StopReason::Stop => FinishReason::Stop,
                StopReason::Length => FinishReason::Length,
            }));
            out.push(Event::Usage(Usage {
                prompt_tokens: stats.prompt_tokens,
                completion_tokens: stats.completion_tokens,
                cached_tokens: Some(stats.cached_tokens),
                reasoning_tokens: None,
                total_duration: Some(stats.load + stats.prompt_eval + stats.eval),
                load_duration: some_duration(stats.load),
                prompt_eval_duration: Some(stats.prompt_eval),
                eval_duration: Some(stats.eval),
            }));
        }
        GenerationEvent::Failed(error) => out.push(Event::Error(api_error(&error))),
    }
}

/// Says an engine error in the terms of the clients' dialects.
pub(crate) fn api_error(error: &EngineError) -> ApiError {
    let said = ApiError::new(error.kind(), error.public_message());
    match error {
        EngineError::ContextOverflow { .. } => said.with_code(CONTEXT_EXCEEDED),
        EngineError::Busy(_) => said.with_retry_after(Duration::from_secs(1)),
        EngineError::UnknownModel(_) => said.with_code("model_not_found"),
        EngineError::Failed(why) => {
            tracing::error!(%why, "the embedded engine failed");
            said
        }
        EngineError::Unsupported(_) | EngineError::Invalid(_) => said,
    }
}

fn some_duration(duration: Duration) -> Option<Duration> {
    (!duration.is_zero()).then_some(duration)
}

/// Says the wanted form in the engine's terms.
fn constraint(format: &Format) -> Result<Constraint, ApiError> {
    match format {
        Format::Json => Ok(Constraint::Json),
        Format::Schema { schema, .. } => schema.read().map(Constraint::Schema).ok_or_else(|| {
            ApiError::invalid("the schema of the format cannot be read: send a JSON Schema object")
        }),
    }
}

fn refuse_unknown(wanted: &Wanted) -> Result<(), ApiError> {
    let why = "the embedded engine cannot do it; send the request to a model on another node";
    if wanted.sampling.n.is_some_and(|n| n > 1) {
        return Err(ApiError::unsupported("n", why));
    }
    if wanted.sampling.logit_bias.is_some() {
        return Err(ApiError::unsupported("logit_bias", why));
    }
    if wanted.sampling.typical_p.is_some_and(|p| p < 1.0) {
        return Err(ApiError::unsupported("typical_p", why));
    }
    let mirostat = wanted.node_options.find("mirostat");
    if mirostat.is_some_and(|value| value.read::<u8>() != Some(0)) {
        return Err(ApiError::unsupported("mirostat", why));
    }
    if matches!(&wanted.think, Some(Think::On | Think::Level(_))) {
        return Err(ApiError::new(
            ErrorKind::Invalid,
            "the model does not support thinking: leave `think` out",
        ));
    }
    Ok(())
}

fn chat_prompt(chat: &ChatRequest) -> Result<Prompt, ApiError> {
    if !chat.tools.is_empty() {
        return Err(ApiError::new(
            ErrorKind::Unsupported,
            format!("{} does not support tools", chat.model),
        ));
    }
    let messages = chat
        .messages
        .iter()
        .map(|message| {
            let mut text = String::new();
            for part in &message.parts {
                match part {
                    Part::Text(piece) => text.push_str(piece),
                    Part::Image { .. } | Part::ImageUrl { .. } => {
                        return Err(ApiError::unsupported(
                            "images",
                            "this model only reads text",
                        ));
                    }
                    Part::Audio { .. } => {
                        return Err(ApiError::unsupported(
                            "input_audio",
                            "this model only reads text",
                        ));
                    }
                }
            }
            let role = match message.role {
                Role::System | Role::Developer => "system",
                Role::User => "user",
                Role::Assistant => "assistant",
                Role::Tool => "tool",
            };
            Ok(ChatTurn::new(role, text))
        })
        .collect::<Result<_, _>>()?;
    Ok(Prompt::Chat(ChatPrompt {
        messages,
        continue_last: chat.continue_last,
        tools: None,
        think: None,
    }))
}

fn completion_prompt(completion: &CompletionRequest) -> Result<Prompt, ApiError> {
    let why = "the embedded engine does not have it";
    if completion.suffix.is_some() {
        return Err(ApiError::unsupported("suffix", why));
    }
    if completion.template.is_some() {
        return Err(ApiError::unsupported("template", why));
    }
    if completion.context.is_some() {
        return Err(ApiError::unsupported(
            "context",
            "it is deprecated: send the conversation to /api/chat",
        ));
    }
    if !completion.images.is_empty() {
        return Err(ApiError::unsupported(
            "images",
            "this model only reads text",
        ));
    }
    if completion.echo {
        return Err(ApiError::unsupported("echo", why));
    }
    if completion.best_of.is_some_and(|n| n > 1) {
        return Err(ApiError::unsupported("best_of", why));
    }
    let continued = completion.continued.as_deref();
    if completion.is_raw() {
        let mut prompt = completion.prompt.clone();
        prompt.push_str(continued.unwrap_or_default());
        return Ok(Prompt::Raw(prompt));
    }
    let mut messages = Vec::with_capacity(3);
    if let Some(system) = &completion.system {
        messages.push(ChatTurn::new("system", system.clone()));
    }
    messages.push(ChatTurn::new("user", completion.prompt.clone()));
    if let Some(continued) = continued {
        messages.push(ChatTurn::new("assistant", continued));
    }
    Ok(Prompt::Chat(ChatPrompt {
        messages,
        continue_last: continued.is_some(),
        tools: None,
        think: None,
    }))
}

fn sampling(wanted: &Wanted) -> SamplingParams {
    let s = &wanted.sampling;
    let defaults = SamplingParams::default();
    let float = |value: Option<f64>, default: f32| value.map_or(default, |v| v as f32);
    SamplingParams {
        temperature: float(s.temperature, defaults.temperature),
        top_k: s
            .top_k
            .map_or(defaults.top_k, |k| usize::try_from(k).unwrap_or(0)),
        top_p: float(s.top_p, defaults.top_p),
        min_p: float(s.min_p, defaults.min_p),
        repeat_penalty: float(s.repeat_penalty, defaults.repeat_penalty),
        repeat_last_n: s.repeat_last_n.unwrap_or(defaults.repeat_last_n),
        presence_penalty: float(s.presence_penalty, defaults.presence_penalty),
        frequency_penalty: float(s.frequency_penalty, defaults.frequency_penalty),
        seed: s.seed.map(i64::cast_unsigned),
        stop: s.stop.clone(),
        num_predict: s.max_tokens,
        logprobs: wanted.logprobs,
    }
}

fn keep_alive(said: Option<&Json>) -> Result<engine::KeepAlive, ApiError> {
    Ok(match said.map(KeepAlive::read).transpose()? {
        None => engine::KeepAlive::AsConfigured,
        Some(KeepAlive::For(time)) => engine::KeepAlive::For(time),
        Some(KeepAlive::Forever) => engine::KeepAlive::Forever,
    })
}

fn option_number(wanted: &Wanted, name: &'static str) -> Result<Option<usize>, ApiError> {
    let Some(value) = wanted.node_options.find(name) else {
        return Ok(None);
    };
    value.read::<Option<usize>>().ok_or_else(|| {
        ApiError::invalid_field(
            name,
            format!("{name} must be a whole number, without quotes"),
        )
    })
}

fn logprob(token: engine::TokenLogprob) -> TokenLogprob {
    TokenLogprob {
        token: token.token,
        logprob: f64::from(token.logprob),
        bytes: Some(token.bytes),
        top: token
            .top
            .into_iter()
            .map(|a| AlternativeLogprob {
                token: a.token,
                logprob: f64::from(a.logprob),
                bytes: Some(a.bytes),
            })
            .collect(),
    }
}
