-- Connections that keep statements plan each run anew. The statements of these functions are alike whatever they are called with, and to
-- plan them costs as much as to run them.
ALTER FUNCTION inventory_lock (JSONB, JSONB) SET plan_cache_mode TO force_generic_plan;
ALTER FUNCTION inventory_apply (JSONB, JSONB, JSONB) SET plan_cache_mode TO force_generic_plan;
ALTER FUNCTION widgets_removed () SET plan_cache_mode TO force_generic_plan;
ALTER FUNCTION widgets_both_sides () SET plan_cache_mode TO force_generic_plan;
