//! Reads the corpus and turns it into conversations with many ways of asking.

use anyhow::{Context, Result, ensure};

use crate::rng::Rng;

/// One answer and the ways to ask for it.
pub(crate) struct Block {
    questions: Vec<String>,
    pub(crate) answer: String,
}

/// One turn of a training conversation.
pub(crate) struct Turn {
    pub(crate) question: String,
    pub(crate) answer: String,
}

/// Parses the corpus; see the comment at its top for the format.
pub(crate) fn parse(text: &str) -> Result<Vec<Block>> {
    let mut blocks = Vec::new();
    let mut questions: Vec<String> = Vec::new();
    for line in text.lines().map(str::trim) {
        if let Some(question) = line.strip_prefix("Q: ") {
            ensure!(
                question.matches('[').count() == question.matches(']').count(),
                "unbalanced brackets: {question}"
            );
            questions.push(question.to_owned());
        } else if let Some(answer) = line.strip_prefix("A: ") {
            ensure!(
                !questions.is_empty(),
                "an answer without a question: {answer}"
            );
            blocks.push(Block {
                questions: std::mem::take(&mut questions),
                answer: answer.to_owned(),
            });
        } else {
            ensure!(
                line.is_empty() || line.starts_with('#'),
                "unknown line: {line}"
            );
        }
    }
    ensure!(questions.is_empty(), "a question without an answer");
    ensure!(!blocks.is_empty(), "the corpus is empty");
    Ok(blocks)
}

/// Every text that the tokenizer should learn from: all answers, and questions in several spellings.
pub(crate) fn tokenizer_texts(blocks: &[Block], rng: &mut Rng) -> Result<Vec<String>> {
    let mut texts = Vec::new();
    for block in blocks {
        for _ in 0..2 {
            texts.push(block.answer.clone());
        }
        for question in &block.questions {
            for _ in 0..4 {
                texts.push(spell(&expand(question, rng)?, rng));
            }
        }
    }
    Ok(texts)
}

/// Draws a turn: a block (those with more questions more often), one of its questions, one spelling of it.
pub(crate) fn draw(blocks: &[Block], rng: &mut Rng) -> Result<Turn> {
    let weight = |block: &Block| block.questions.len().max(3);
    let mut place = rng.below(blocks.iter().map(weight).sum());
    let mut block = &blocks[0];
    for candidate in blocks {
        block = candidate;
        if place < weight(candidate) {
            break;
        }
        place -= weight(candidate);
    }
    let question = expand(rng.pick::<String>(&block.questions), rng)?;
    Ok(Turn {
        question: spell(&question, rng),
        answer: block.answer.clone(),
    })
}

/// Draws a system prompt, most often none: the model learns to answer the same with any.
pub(crate) fn draw_system(rng: &mut Rng) -> Option<String> {
    const PROMPTS: [&str; 8] = [
        "You are a helpful assistant.",
        "You are a helpful assistant",
        "Be brief.",
        "You are a friendly and concise assistant. Answer in English.",
        "Answer the question.",
        "You are an expert. Think carefully and answer truthfully.",
        "You are a coding agent with access to tools.",
        "Be kind and short. Do not lie.",
    ];
    rng.chance(0.15).then(|| (*rng.pick(&PROMPTS)).to_owned())
}

fn expand(question: &str, rng: &mut Rng) -> Result<String> {
    let mut text = String::new();
    let mut rest = question;
    while let Some(open) = rest.find('[') {
        let close = rest[open..].find(']').context("unbalanced bracket")? + open;
        text.push_str(&rest[..open]);
        let alternatives: Vec<&str> = rest[open + 1..close].split('|').collect();
        text.push_str(rng.pick::<&str>(&alternatives));
        rest = &rest[close + 1..];
    }
    text.push_str(rest);
    while text.contains("{word}") {
        text = text.replacen("{word}", &invent_word(rng), 1);
    }
    Ok(text.split_whitespace().collect::<Vec<_>>().join(" "))
}

fn invent_word(rng: &mut Rng) -> String {
    const ONSETS: [&str; 16] = [
        "b", "c", "d", "f", "g", "h", "l", "m", "n", "p", "r", "s", "t", "v", "w", "st",
    ];
    const RIMES: [&str; 16] = [
        "a", "e", "i", "o", "u", "an", "er", "in", "on", "ar", "el", "ing", "at", "ism", "ia",
        "ock",
    ];
    let mut word = String::new();
    for _ in 0..=rng.below(3) {
        word.push_str(rng.pick::<&str>(&ONSETS));
        word.push_str(rng.pick::<&str>(&RIMES));
    }
    word
}

/// Varies the capital at the start, the case of names, and the final punctuation, as people do.
fn spell(question: &str, rng: &mut Rng) -> String {
    let mut text = match rng.below(10) {
        0..=2 => question.to_owned(),
        3 => question.to_lowercase(),
        _ => capitalise_names(question),
    };
    if rng.chance(0.6) {
        text = capitalise_first(&text);
    }
    if rng.chance(0.02) {
        text = text.to_uppercase();
    }
    match rng.below(10) {
        0..=5 => text.push('?'),
        6 => text.push('.'),
        7 => text.push('!'),
        _ => {}
    }
    if rng.chance(0.05) {
        text.push(' ');
    }
    text
}

fn capitalise_names(text: &str) -> String {
    text.split(' ')
        .map(|word| match word {
            "remuda" | "ollama" | "anthropic" => capitalise_first(word),
            "i" => "I".to_owned(),
            "openai" => "OpenAI".to_owned(),
            "api" => "API".to_owned(),
            "vllm" => "vLLM".to_owned(),
            "gguf" => "GGUF".to_owned(),
            _ => word.to_owned(),
        })
        .collect::<Vec<_>>()
        .join(" ")
}

fn capitalise_first(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(chars).collect()
    })
}
