//! Errors as GraphQL has them: what to do next, and a code.

use async_graphql::{Error, ErrorExtensions as _};
use primitives::ErrorKind;
use web::Problem;

/// Turns what an operation refuses with into an error of a field: the public message, `code` as in problems of the API, and `status`.
pub(crate) fn refused(problem: impl Into<Problem>) -> Error {
    let problem: Problem = problem.into();
    let kind = problem.kind();
    Error::new(problem.detail()).extend_with(|_, extensions| {
        extensions.set("code", kind.as_str());
        extensions.set("status", i32::from(kind.status()));
    })
}

/// Refuses an argument.
pub(crate) fn invalid(message: impl Into<String>) -> Error {
    refused(Problem::new(ErrorKind::Invalid, message))
}

/// Reads an id. What is no id names nothing.
pub(crate) fn id<T: std::str::FromStr>(text: &str) -> Result<T, Error> {
    text.parse().map_err(|_| {
        let shown: String = text.chars().take(64).collect();
        invalid(format!("{shown:?} is not an id: ids are UUIDs"))
    })
}
