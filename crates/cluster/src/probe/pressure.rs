//! How hard pressed a server says that it is. Servers that batch continuously publish it with their other metrics: requests that wait
//! there, and how much of the cache for keys and values is in use.
//!
//! Names: vLLM's "Production Metrics" (`gpu_cache_usage_perc` before version 0.10), `SGLang`'s "Production Metrics", which are there
//! only when it was started with `--enable-metrics`.

use super::contact::Contact;
use crate::model::{Pressure, ServerFlavour};

/// The largest text of metrics that is read.
const MAX_TEXT: usize = 1 << 20;
/// The cache's use is told in steps: a snapshot of the fleet is made whenever it changes.
const STEP_PERCENT: f64 = 5.0;

/// What a server calls its metrics.
struct Names {
    waiting: &'static str,
    cache_used: &'static [&'static str],
}

const fn names(server: ServerFlavour) -> Option<Names> {
    match server {
        ServerFlavour::Vllm => Some(Names {
            waiting: "vllm:num_requests_waiting",
            cache_used: &["vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"],
        }),
        ServerFlavour::SgLang => Some(Names {
            waiting: "sglang:num_queue_reqs",
            cache_used: &["sglang:token_usage"],
        }),
        _ => None,
    }
}

/// Asks a server how hard pressed it is; `None` where it does not tell.
pub(super) async fn ask(contact: &Contact, server: ServerFlavour) -> Option<Pressure> {
    let names = names(server)?;
    let text = contact.get_text("/metrics", MAX_TEXT).await.ok()?;
    read(&text, &names)
}

/// Reads metrics in Prometheus' text format. Several engines in one server count together; of their caches the fullest counts.
fn read(text: &str, names: &Names) -> Option<Pressure> {
    let mut waiting: Option<f64> = None;
    let mut cache_used: Option<f64> = None;
    for line in text.lines() {
        let Some((name, value)) = sample(line) else {
            continue;
        };
        if name == names.waiting {
            waiting = Some(waiting.unwrap_or(0.0) + value);
        } else if names.cache_used.contains(&name) {
            cache_used = Some(cache_used.unwrap_or(0.0).max(value));
        }
    }
    Some(Pressure {
        waiting: waiting? as u32,
        cache_used_percent: cache_used
            .map(|used| ((used.min(1.0) * 100.0 / STEP_PERCENT).floor() * STEP_PERCENT) as u8),
    })
}

/// Splits a line into the metric's name and its value, which must be a number of 0 or more.
fn sample(line: &str) -> Option<(&str, f64)> {
    let name = line
        .split(['{', ' '])
        .next()
        .filter(|name| !name.is_empty() && *name != "#")?;
    let rest = line.get(name.len()..)?;
    let values = match rest.rfind('}') {
        Some(end) => rest.get(end + 1..)?,
        None => rest,
    };
    let value: f64 = values.split_whitespace().next()?.parse().ok()?;
    (value >= 0.0 && value.is_finite()).then_some((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vllm(text: &str) -> Option<Pressure> {
        read(text, &names(ServerFlavour::Vllm)?)
    }

    #[test]
    fn engines_count_together_and_the_fullest_cache_counts() {
        let text = "# HELP vllm:num_requests_waiting Number of requests waiting.\n\
            # TYPE vllm:num_requests_waiting gauge\n\
            vllm:num_requests_waiting{engine=\"0\",model_name=\"a } b\"} 3.0\n\
            vllm:num_requests_waiting{engine=\"1\",model_name=\"m\"} 2.0 1700000000\n\
            vllm:kv_cache_usage_perc{engine=\"0\"} 0.41\n\
            vllm:kv_cache_usage_perc{engine=\"1\"} 0.979\n\
            vllm:num_requests_waiting_by_reason{reason=\"capacity\"} 9.0\n";
        let expected = Pressure {
            waiting: 5,
            cache_used_percent: Some(95),
        };
        assert_eq!(vllm(text), Some(expected));
    }

    #[test]
    fn older_names_and_missing_ones() {
        let old = "vllm:num_requests_waiting 0.0\nvllm:gpu_cache_usage_perc 1.0\n";
        let expected = Pressure {
            waiting: 0,
            cache_used_percent: Some(100),
        };
        assert_eq!(vllm(old), Some(expected));
        let only_waiting =
            vllm("vllm:num_requests_waiting 7\n").map(|told| told.cache_used_percent);
        assert_eq!(only_waiting, Some(None));
        for useless in [
            "",
            "vllm:kv_cache_usage_perc 0.5\n",
            "vllm:num_requests_waiting NaN\n",
            "vllm:num_requests_waiting -1\n",
            "vllm:num_requests_waiting{broken\n",
            "{} 1\n",
        ] {
            assert_eq!(vllm(useless), None, "{useless:?}");
        }
    }
}
