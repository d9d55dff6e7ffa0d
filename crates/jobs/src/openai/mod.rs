//! Files and batches as clients of the OpenAI API know them: `/v1/files` and `/v1/batches`.

mod batches;
mod fault;
mod files;

use axum::Router;
use axum::routing::{get, post};

use crate::surface::Jobs;

impl Jobs {
    /// Returns the routes of files and batches. They stand beside those of the management API: their shapes are another's.
    pub fn openai_routes(&self) -> Router {
        Router::new()
            .route("/v1/files", get(files::list_files).post(files::upload_file))
            .route(
                "/v1/files/{id}",
                get(files::show_file).delete(files::delete_file),
            )
            .route("/v1/files/{id}/content", get(files::read_file))
            .route(
                "/v1/batches",
                get(batches::list_batches).post(batches::submit_batch),
            )
            .route("/v1/batches/{id}", get(batches::show_batch))
            .route("/v1/batches/{id}/cancel", post(batches::cancel_batch))
            .with_state(self.clone())
    }
}
