//! Modelfiles, as far as models are made of other models (Ollama, docs/modelfile.md).

/// What a Modelfile says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Modelfile {
    pub(super) from: Option<String>,
    pub(super) system: Option<String>,
    pub(super) template: Option<String>,
    pub(super) licenses: Vec<String>,
    /// Names and values, in their order.
    pub(super) parameters: Vec<(String, String)>,
    /// Roles and contents, in their order.
    pub(super) messages: Vec<(String, String)>,
}

/// Reads a Modelfile. Fails with the line that is not understood.
pub(super) fn parse(text: &str) -> Result<Modelfile, String> {
    let mut file = Modelfile::default();
    let mut left = text;
    let mut number = 0;
    while !left.is_empty() {
        number += 1;
        let (line, rest) = left.split_once('\n').unwrap_or((left, ""));
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            left = rest;
            continue;
        }
        let at = |why: &str| format!("line {number}: {why}");
        let (word, after) = word(left);
        let word = word.to_ascii_uppercase();
        let (first, after) = match word.as_str() {
            "PARAMETER" | "MESSAGE" => self::word(after),
            _ => ("", after),
        };
        let (value, rest) = value(after).ok_or_else(|| at("the text has no closing \"\"\""))?;
        if value.is_empty() {
            return Err(at(&format!("{word} says nothing")));
        }
        match word.as_str() {
            "FROM" if is_file(&value) => {
                return Err(at(
                    "models out of files are made by Ollama's own command: OLLAMA_HOST=http://SERVER ollama create",
                ));
            }
            "FROM" => file.from = Some(value),
            "SYSTEM" => file.system = Some(value),
            "TEMPLATE" => file.template = Some(value),
            "LICENSE" => file.licenses.push(value),
            "PARAMETER" => file.parameters.push((first.to_ascii_lowercase(), value)),
            "MESSAGE" if matches!(first, "system" | "user" | "assistant") => {
                file.messages.push((first.to_owned(), value));
            }
            "MESSAGE" => return Err(at("a message is of system, user or assistant")),
            "ADAPTER" => {
                return Err(at(
                    "adapters are files, and need Ollama's own command: OLLAMA_HOST=http://SERVER ollama create",
                ));
            }
            _ => {
                return Err(at(&format!(
                    "{word} is not known: FROM, PARAMETER, SYSTEM, TEMPLATE, LICENSE and MESSAGE are"
                )));
            }
        }
        number += left[..left.len() - rest.len()]
            .matches('\n')
            .count()
            .saturating_sub(1);
        left = rest;
    }
    if file.from.is_none() {
        return Err("there is no FROM line with the model that it is made of".to_owned());
    }
    Ok(file)
}

/// Returns the next word, and what follows it.
fn word(text: &str) -> (&str, &str) {
    let text = text.trim_start_matches([' ', '\t']);
    let end = text.find(char::is_whitespace).unwrap_or(text.len());
    text.split_at(end)
}

/// Returns the value that stands at the beginning, in triple quotes, quotes or none, and what follows its line. `None`: the triple
/// quotes are not closed.
fn value(text: &str) -> Option<(String, &str)> {
    let text = text.trim_start_matches([' ', '\t']);
    if let Some(quoted) = text.strip_prefix("\"\"\"") {
        let (value, rest) = quoted.split_once("\"\"\"")?;
        let rest = rest.split_once('\n').map_or("", |(_, rest)| rest);
        return Some((value.to_owned(), rest));
    }
    let (line, rest) = text.split_once('\n').unwrap_or((text, ""));
    let line = line.trim();
    let bare = line
        .strip_prefix('"')
        .and_then(|line| line.strip_suffix('"'))
        .unwrap_or(line);
    Some((bare.to_owned(), rest))
}

fn is_file(from: &str) -> bool {
    from.starts_with(['/', '.', '~'])
        || [".gguf", ".safetensors", ".bin"]
            .iter()
            .any(|ending| from.to_ascii_lowercase().ends_with(ending))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_can_be_said_is_read() {
        let text = "# an assistant\nFROM llama3.2\n\nparameter temperature 0.2\nPARAMETER stop \"User: \"\nSYSTEM \"\"\"Be brief.\nBe kind.\"\"\"\nMESSAGE user How are you?\nMESSAGE assistant Well.\nLICENSE MIT\nTEMPLATE {{ .Prompt }}";
        let file = parse(text).unwrap();
        assert_eq!(file.from.as_deref(), Some("llama3.2"));
        let parameters = [("temperature", "0.2"), ("stop", "User: ")];
        assert_eq!(
            file.parameters,
            parameters.map(|(name, value)| (name.to_owned(), value.to_owned()))
        );
        assert_eq!(file.system.as_deref(), Some("Be brief.\nBe kind."));
        let messages = [("user", "How are you?"), ("assistant", "Well.")];
        assert_eq!(
            file.messages,
            messages.map(|(role, content)| (role.to_owned(), content.to_owned()))
        );
        assert_eq!(file.licenses, ["MIT"]);
        assert_eq!(file.template.as_deref(), Some("{{ .Prompt }}"));
    }

    #[test]
    fn what_is_not_understood_is_told_by_its_line() {
        for (text, told) in [
            ("FROM a\nCOLOUR red", "line 2: COLOUR is not known"),
            (
                "FROM a\nSYSTEM \"\"\"x\ny\"\"\"\nMESSAGE tool x",
                "line 4: a message is of",
            ),
            ("FROM ./model.gguf", "line 1: models out of files"),
            ("FROM a\nADAPTER lora.gguf", "line 2: adapters"),
            (
                "FROM a\nSYSTEM \"\"\"on and on",
                "line 2: the text has no closing",
            ),
            (
                "FROM a\nPARAMETER temperature",
                "line 2: PARAMETER says nothing",
            ),
            ("SYSTEM x", "there is no FROM"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.starts_with(told), "{text}: {error}");
        }
    }
}
