//! Finds out which API and which program answer at an address.

use futures_util::join;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::contact::{Contact, ContactError};
use super::openai::ModelList;
use crate::model::{NodeKind, ServerFlavour};

/// What answers at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) kind: NodeKind,
    pub(crate) server: ServerFlavour,
}

const OLLAMA: Found = Found {
    kind: NodeKind::Ollama,
    server: ServerFlavour::Ollama,
};

/// Ollama's version. Some servers answer 200 with an error to every path, so the field is what counts.
#[derive(Deserialize)]
pub(super) struct Version {
    pub(super) version: String,
}

/// Detects what answers. `wanted` other than `Unknown` only asks whether that kind does.
pub(crate) async fn detect(contact: &Contact, wanted: NodeKind) -> Result<Found, ContactError> {
    match wanted {
        NodeKind::Ollama => contact.get::<Version>("/api/version").await.map(|_| OLLAMA),
        NodeKind::OpenAi => {
            let models = contact.get::<ModelList>("/v1/models").await?;
            Ok(openai(contact, &models).await)
        }
        NodeKind::Unknown | NodeKind::Agent | NodeKind::Engine => detect_any(contact).await,
    }
}

async fn detect_any(contact: &Contact) -> Result<Found, ContactError> {
    let (version, root, models) = join!(
        contact.get::<Version>("/api/version"),
        contact.get_text("/", 4 << 10),
        contact.get::<ModelList>("/v1/models"),
    );
    if let (Err(ContactError::Ourselves), _) | (_, Err(ContactError::Ourselves)) = (&root, &models)
    {
        return Err(ContactError::Ourselves);
    }
    let calls_itself_ollama = root
        .as_ref()
        .is_ok_and(|text| text.contains("Ollama is running"));
    // Other servers imitate parts of Ollama's API: only its own version route together with its lists proves it.
    if version.is_ok()
        && (calls_itself_ollama || contact.get::<IgnoredAny>("/api/tags").await.is_ok())
    {
        return Ok(OLLAMA);
    }
    match models {
        Ok(models) => Ok(openai(contact, &models).await),
        Err(_) if calls_itself_ollama => Ok(OLLAMA),
        Err(models) => Err(telling(models, version.err())),
    }
}

/// Chooses the error that tells the person most: a wanted key, then trouble that passes, then a wrong address.
fn telling(models: ContactError, version: Option<ContactError>) -> ContactError {
    for error in [Some(models), version].into_iter().flatten() {
        if matches!(error, ContactError::WantsKey(..) | ContactError::Ourselves)
            || error.is_passing()
        {
            return error;
        }
        if let ContactError::Outbound(outbound) = &error
            && outbound.is_before_send()
        {
            return error;
        }
    }
    ContactError::NotAModelServer
}

async fn openai(contact: &Contact, models: &ModelList) -> Found {
    let server = match models.flavour() {
        Some(server) => server,
        None => ask(contact).await,
    };
    Found {
        kind: NodeKind::OpenAi,
        server,
    }
}

/// Asks for routes that only one server has. For servers whose model list does not give them away.
async fn ask(contact: &Contact) -> ServerFlavour {
    #[derive(Deserialize)]
    struct Props {
        #[serde(rename = "default_generation_settings")]
        _settings: IgnoredAny,
    }
    #[derive(Deserialize)]
    struct LmStudioModels {
        #[serde(rename = "data")]
        _models: Vec<IgnoredAny>,
    }
    #[derive(Deserialize)]
    struct SgLangModel {
        #[serde(rename = "model_path")]
        _path: IgnoredAny,
    }
    let (props, lm_studio, sglang, vllm) = join!(
        contact.get::<Props>("/props"),
        contact.get::<LmStudioModels>("/api/v0/models"),
        contact.get::<SgLangModel>("/get_model_info"),
        contact.get::<Version>("/version"),
    );
    if props.is_ok() {
        ServerFlavour::LlamaServer
    } else if lm_studio.is_ok() {
        ServerFlavour::LmStudio
    } else if sglang.is_ok() {
        ServerFlavour::SgLang
    } else if vllm.is_ok() {
        ServerFlavour::Vllm
    } else {
        ServerFlavour::Other
    }
}
