//! Answers that are kept for a moment, so that many who look at the same list have it made once.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use parking_lot::Mutex;
use primitives::MonotonicTime;
use serde::Serialize;

/// The most answers that are kept.
const MOST: usize = 64;
/// The most bytes of one that is kept.
const LARGEST: usize = 128 * 1024;

/// A JSON answer whose bytes may be shared.
#[derive(Clone, Debug)]
pub struct KeptAnswer(Bytes);

impl KeptAnswer {
    /// Writes a value as JSON.
    pub fn of(value: &impl Serialize) -> Self {
        // What the API shows has no maps whose keys are not text, which is all that can fail here.
        Self(serde_json::to_vec(value).unwrap_or_default().into())
    }
}

impl IntoResponse for KeptAnswer {
    fn into_response(self) -> Response {
        let mut response = Response::new(self.0.into());
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(CONTENT_TYPE, json);
        response
    }
}

#[derive(Debug)]
struct Kept {
    version: i64,
    made_at: MonotonicTime,
    answer: KeptAnswer,
}

type Place = Arc<tokio::sync::Mutex<Option<Kept>>>;

/// At most 64 answers of up to 128 KiB, by what was asked. Larger ones are made each time.
///
/// Permission is not checked here: what a caller may see must be part of the question.
#[derive(Debug)]
pub struct KeptAnswers<Q> {
    lasts: Duration,
    places: Mutex<HashMap<Q, Place>>,
}

impl<Q: Hash + Eq> KeptAnswers<Q> {
    /// Makes a place for answers that last so long at most.
    pub fn new(lasts: Duration) -> Self {
        Self {
            lasts,
            places: Mutex::default(),
        }
    }

    /// Returns the answer to `question` that was made of this version or a later one, or has one made while others who ask the same
    /// wait for it. `make` tells which version it read.
    ///
    /// # Errors
    /// What `make` says. Nothing is kept then.
    pub async fn find_or_make<E>(
        &self,
        question: Q,
        version: i64,
        now: MonotonicTime,
        make: impl AsyncFnOnce() -> Result<(i64, KeptAnswer), E>,
    ) -> Result<KeptAnswer, E> {
        let place = self.place(question);
        let mut held = place.lock().await;
        if let Some(kept) = &*held
            && kept.version >= version
            && now.since(kept.made_at) < self.lasts
        {
            return Ok(kept.answer.clone());
        }
        *held = None;
        let (version, answer) = make().await?;
        if answer.0.len() <= LARGEST {
            *held = Some(Kept {
                version,
                made_at: now,
                answer: answer.clone(),
            });
        }
        Ok(answer)
    }

    fn place(&self, question: Q) -> Place {
        let mut places = self.places.lock();
        if let Some(place) = places.get(&question) {
            return Arc::clone(place);
        }
        if places.len() >= MOST {
            // Those that nobody asks for at this moment; when all are asked for, this one is not kept.
            places.retain(|_, place| Arc::strong_count(place) > 1);
        }
        let place = Place::default();
        if places.len() < MOST {
            places.insert(question, Arc::clone(&place));
        }
        place
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(ms: u64) -> MonotonicTime {
        MonotonicTime::from_micros(ms * 1_000)
    }

    async fn ask(kept: &KeptAnswers<u32>, question: u32, version: i64, ms: u64) -> bool {
        let mut made = false;
        kept.find_or_make(question, version, at(ms), async || {
            made = true;
            Ok::<_, ()>((version, KeptAnswer::of(&version)))
        })
        .await
        .unwrap();
        made
    }

    #[tokio::test]
    async fn an_answer_is_made_again_for_a_later_version_and_after_its_time() {
        let kept = KeptAnswers::new(Duration::from_millis(10));
        assert!(ask(&kept, 1, 1, 0).await);
        assert!(!ask(&kept, 1, 1, 9).await);
        assert!(ask(&kept, 2, 1, 9).await, "another question");
        assert!(ask(&kept, 1, 2, 9).await, "a change");
        assert!(!ask(&kept, 1, 1, 9).await, "a later answer will do");
        assert!(ask(&kept, 1, 2, 19).await, "too old");
    }

    #[tokio::test]
    async fn what_is_kept_is_bounded_and_an_error_is_not_kept() {
        let kept = KeptAnswers::new(Duration::from_millis(10));
        for question in 0..1_000 {
            assert!(ask(&kept, question, 1, 0).await);
        }
        assert!(kept.places.lock().len() <= MOST);
        let failed = kept
            .find_or_make(7_000, 1, at(0), async || Err::<(i64, KeptAnswer), _>(()))
            .await;
        assert!(failed.is_err());
        assert!(ask(&kept, 7_000, 1, 0).await);
        let large = "x".repeat(LARGEST);
        for _ in 0..2 {
            let mut made = false;
            kept.find_or_make(8_000, 1, at(0), async || {
                made = true;
                Ok::<_, ()>((1, KeptAnswer::of(&large)))
            })
            .await
            .unwrap();
            assert!(made, "a large answer is made each time");
        }
    }
}
