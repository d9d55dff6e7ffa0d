//! What a query may cost: known from its text, before anything is read.

/// How deep fields may lie within each other.
pub(crate) const DEEPEST: usize = 8;
/// The most that a query may cost: a field costs 1, a list [`LIST`] and what each item of its page costs.
pub(crate) const DEAREST: usize = 10_000;
/// How deep the text may nest.
pub(crate) const RECURSION: usize = 16;
/// The most directives on one field.
pub(crate) const DIRECTIVES: usize = 4;
/// What a list costs beside its items: it asks the database.
const LIST: usize = 100;
/// What a change costs: few fit into one request.
pub(crate) const CHANGE: usize = 1_000;

/// Returns what a list costs.
pub(crate) fn page(first: Option<i32>, of_one: usize) -> usize {
    // What is out of range is refused later; here it must not be cheap.
    let items = first.map_or(50, |first| usize::try_from(first).unwrap_or(500).min(500));
    items.saturating_mul(of_one).saturating_add(LIST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_page_of_a_few_fields_fits_and_pages_within_each_other_do_not() {
        assert!(page(Some(500), 12) <= DEAREST);
        assert!(page(Some(500), page(Some(500), 1)) > DEAREST);
        assert_eq!(page(Some(-1), 1), page(Some(500), 1));
        assert_eq!(DEAREST / CHANGE, 10);
    }
}
