//! Noting how the database goes about each query, for tests that look at it.

use sqlx::{AssertSqlSafe, SqlSafeStr as _, SqlStr};

use crate::param::Params;
use crate::{Engine, StoreError, Tx};

impl Tx {
    /// Has the plan of each query noted before it runs.
    pub(crate) fn explained(mut self, plans: Option<crate::testing::Plans>) -> Self {
        self.plans = plans;
        self
    }

    pub(crate) async fn explain(
        &mut self,
        sql: &SqlStr,
        params: &Params,
    ) -> Result<(), StoreError> {
        let Some(plans) = self.plans.take() else {
            return Ok(());
        };
        let (word, column) = match self.engine() {
            Engine::Sqlite => ("EXPLAIN QUERY PLAN", "detail"),
            Engine::Postgres => ("EXPLAIN", "QUERY PLAN"),
        };
        let text = AssertSqlSafe(format!("{word} {}", sql.as_str())).into_sql_str();
        // On the heap: this function and the one that it calls would contain each other.
        let rows = Box::pin(self.rows(text, params.clone())).await?;
        let lines = rows.iter().map(|row| row.get::<String>(column));
        plans.note(sql.as_str(), lines.collect::<Result<_, _>>()?);
        self.plans = Some(plans);
        Ok(())
    }
}
