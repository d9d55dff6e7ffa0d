//! What llama.cpp's server tells beyond the OpenAI API. It comes in two shapes: with one model, which it holds, and as a router over
//! several, of which it says what it holds. Written after its `tools/server/README.md` and what b11434 answers.

use futures_util::future::join_all;
use serde::Deserialize;

use super::contact::Contact;
use super::learned::{Learned, version};
use crate::model::{Loaded, ModelView};

/// The most models of a router that are asked for one by one; a router holds 4 at a time unless told otherwise.
const MAX_ASKED: usize = 16;

/// `GET /props`, of the server or of one of its models.
#[derive(Deserialize)]
struct Props {
    #[serde(default)]
    role: Option<String>,
    #[serde(default)]
    total_slots: Option<u32>,
    #[serde(default)]
    build_info: Option<String>,
    #[serde(default)]
    default_generation_settings: Option<GenerationSettings>,
    #[serde(default)]
    modalities: Modalities,
    #[serde(default)]
    chat_template_caps: TemplateAbilities,
    /// Whether it gave the model's memory back until the next call.
    #[serde(default)]
    is_sleeping: bool,
}

#[derive(Deserialize)]
struct GenerationSettings {
    n_ctx: Option<u32>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Modalities {
    vision: bool,
}

#[derive(Default, Deserialize)]
#[serde(default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "the wire format: each is one ability of a chat template"
)]
struct TemplateAbilities {
    supports_tools: bool,
    supports_tool_calls: bool,
    supports_reasoning_effort: bool,
    supports_preserve_reasoning: bool,
}

impl Props {
    fn context(&self) -> Option<u32> {
        let settings = self.default_generation_settings.as_ref();
        settings?.n_ctx.filter(|context| *context > 0)
    }

    /// Writes what it tells of a model that it holds into the model.
    fn describe(&self, model: &mut ModelView) {
        let context = self.context().or(model.context_length);
        model.loaded = (!self.is_sleeping).then(|| Loaded {
            context,
            ..Loaded::default()
        });
        // What was trained is not what fits: the server refuses prompts beyond the context it was started with.
        model.context_length = context;
        let template = &self.chat_template_caps;
        let abilities = [
            ("vision", self.modalities.vision),
            (
                "tools",
                template.supports_tools || template.supports_tool_calls,
            ),
            (
                "thinking",
                template.supports_reasoning_effort || template.supports_preserve_reasoning,
            ),
        ];
        for (ability, _) in abilities.into_iter().filter(|(_, can)| *can) {
            add_ability(model, ability);
        }
    }
}

/// Adds to what a model can do; a model that can do anything of this completes text.
pub(super) fn add_ability(model: &mut ModelView, ability: &str) {
    for ability in ["completion", ability] {
        if !model.capabilities.iter().any(|known| known == ability) {
            model.capabilities.push(ability.to_owned());
        }
    }
}

/// Completes what the list of models told. `says_what_it_holds`: the list told of each model whether it is loaded.
pub(super) async fn learn(contact: &Contact, says_what_it_holds: bool, learned: &mut Learned) {
    for model in &mut learned.models {
        "gguf".clone_into(&mut model.details.format);
    }
    let Ok(props) = contact.get::<Props>("/props").await else {
        return;
    };
    learned.version = props.build_info.as_deref().and_then(version);
    if says_what_it_holds || props.role.as_deref() == Some("router") {
        ask_for_each(contact, &mut learned.models).await;
    } else {
        learned.slots = props.total_slots.filter(|slots| *slots > 0);
        for model in &mut learned.models {
            props.describe(model);
        }
    }
}

/// Asks a router for the models that it holds. Asking for others would load them.
async fn ask_for_each(contact: &Contact, models: &mut [ModelView]) {
    let held = models.iter_mut().filter(|model| model.loaded.is_some());
    join_all(held.take(MAX_ASKED).map(|model| async move {
        let query = [("model", &*model.name), ("autoload", "false")];
        let props = contact.get_with::<Props>("/props", &query).await;
        if let Ok(props) = props {
            props.describe(model);
        }
    }))
    .await;
}
