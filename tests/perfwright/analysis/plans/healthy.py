"""Healthy statements that look like planted ones: nothing may be said of them."""

from dataclasses import dataclass, field

from tests.perfwright.analysis.plans.planner_settings import LOOPS, PARALLEL, SERIAL


@dataclass(frozen=True)
class Healthy:
    """A statement of which nothing may be said, even were it slow."""

    name: str
    sql: str
    settings: dict[str, str] = field(default_factory=dict)


HEALTHY: tuple[Healthy, ...] = (
    Healthy("primary_key", "SELECT * FROM orders WHERE id = 4711"),
    Healthy("index_range", "SELECT sum(total) FROM orders WHERE placed_at >= '2023-02-01' AND placed_at < '2023-02-20'"),
    Healthy("whole_table_aggregated", "SELECT status, count(*), sum(total) FROM orders GROUP BY status", SERIAL),
    Healthy("whole_table_in_parallel", "SELECT status, count(*), sum(total) FROM orders GROUP BY status", PARALLEL),
    Healthy("half_of_the_table", "SELECT count(*) FROM orders WHERE total > 250", SERIAL),
    Healthy("small_table_scanned", "SELECT * FROM categories WHERE name LIKE '%7%'"),
    Healthy(
        "small_table_scanned_often",
        "SELECT count(*) FROM products p JOIN categories c ON c.id >= p.category AND c.id <= p.category WHERE p.id < 300",
        LOOPS,
    ),
    Healthy(
        "hash_join_of_whole_tables",
        "SELECT c.city, sum(o.total) FROM orders o JOIN customers c ON c.id = o.customer_id GROUP BY c.city",
        SERIAL | {"work_mem": "64MB"},
    ),
    Healthy(
        "merge_join_of_whole_tables",
        "SELECT count(*) FROM orders o JOIN items i ON i.order_id = o.id",
        SERIAL | {"enable_hashjoin": "off", "enable_nestloop": "off"},
    ),
    Healthy(
        "nested_loop_by_key",
        "SELECT count(*), sum(i.price) FROM orders o JOIN items i ON i.order_id = o.id WHERE o.placed_at >= '2023-02-01' AND o.placed_at < '2023-02-05'",
        LOOPS,
    ),
    Healthy(
        "memoize_helps",
        "SELECT count(*), sum(p.weight) FROM items i JOIN products p ON p.id = i.product_id WHERE i.order_id < 20000",
        LOOPS | {"work_mem": "16MB"},
    ),
    Healthy("top_n_by_index", "SELECT * FROM orders ORDER BY placed_at DESC LIMIT 20"),
    Healthy("keyset_page", "SELECT * FROM orders WHERE id > 30000 ORDER BY id LIMIT 20"),
    Healthy("first_page_with_small_offset", "SELECT * FROM orders ORDER BY id OFFSET 40 LIMIT 20"),
    Healthy("large_page_far_down", "SELECT id, total FROM orders ORDER BY id OFFSET 5000 LIMIT 30000"),
    Healthy(
        "index_only_after_vacuum", "SELECT count(*) FROM items WHERE order_id BETWEEN 1000 AND 20000", SERIAL | {"enable_seqscan": "off"}
    ),
    Healthy(
        "exists_by_index",
        "SELECT count(*) FROM orders o WHERE EXISTS (SELECT 1 FROM items i WHERE i.order_id = o.id AND i.quantity > 3)",
        SERIAL | {"work_mem": "64MB"},
    ),
    Healthy(
        "anti_join",
        "SELECT count(*) FROM customers c WHERE NOT EXISTS (SELECT 1 FROM orders o WHERE o.customer_id = c.id)",
        SERIAL | {"work_mem": "64MB"},
    ),
    Healthy("not_in_hashed", "SELECT count(*) FROM customers WHERE id NOT IN (SELECT customer_id FROM orders WHERE channel < 100)", SERIAL),
    Healthy(
        "few_correlated_lookups", "SELECT c.id, (SELECT count(*) FROM items i WHERE i.order_id = c.id) FROM customers c WHERE c.id <= 100"
    ),
    Healthy(
        "recursive_tree",
        "WITH RECURSIVE t AS (SELECT id, parent_id, 1 AS depth FROM categories WHERE parent_id IS NULL UNION ALL "
        "SELECT c.id, c.parent_id, depth + 1 FROM categories c JOIN t ON t.id = c.parent_id) SELECT count(*), max(depth) FROM t",
    ),
    Healthy("recursive_series", "WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 20000) SELECT sum(i) FROM n"),
    Healthy(
        "cte_read_twice",
        "WITH o AS MATERIALIZED (SELECT channel, sum(total) AS total FROM orders GROUP BY channel) SELECT count(*) FROM o a JOIN o b ON a.channel = b.channel + 1",
        SERIAL,
    ),
    Healthy(
        "cte_filtered_half",
        "WITH o AS MATERIALIZED (SELECT id, total FROM orders WHERE id < 20000) SELECT count(*) FROM o WHERE total > 250",
        SERIAL,
    ),
    Healthy("init_plan", "SELECT count(*) FROM orders WHERE total > (SELECT avg(price) FROM items)", SERIAL),
    Healthy("update_by_key", "UPDATE transfers SET amount = amount + 1 WHERE id = 4711"),
    Healthy("update_of_many", "UPDATE transfers SET amount = amount + 1 WHERE id <= 5000"),
    Healthy("insert_with_foreign_key", "INSERT INTO seats SELECT i, i % 2000 + 1, 'x' FROM generate_series(100001, 105000) i"),
    Healthy("delete_with_indexed_foreign_key", "DELETE FROM tenants WHERE id BETWEEN 3000 AND 3200"),
    Healthy("delete_of_referenced_rows", "DELETE FROM tenants WHERE id BETWEEN 100 AND 200"),
    Healthy("varchar_compared_with_text", "SELECT * FROM customers WHERE reference = 'C77'::text"),
    Healthy("prefix_by_pattern_index", "SELECT count(*) FROM customers WHERE name LIKE 'Name 7%'"),
    Healthy("trigram_like_on_tags", "SELECT count(*) FROM products WHERE tags @> ARRAY['t17']"),
    Healthy("in_list_of_keys", "SELECT * FROM orders WHERE id = ANY (ARRAY(SELECT generate_series(1, 5000, 50)))"),
    Healthy(
        "distinct_on_index", "SELECT DISTINCT ON (order_id) order_id, line FROM items WHERE order_id < 2000 ORDER BY order_id, line DESC"
    ),
    Healthy("window_over_part", "SELECT id, sum(total) OVER (PARTITION BY customer_id ORDER BY id) FROM orders WHERE id < 5000"),
    Healthy(
        "union_all",
        "SELECT id FROM customers UNION ALL SELECT id FROM products UNION ALL SELECT product_id FROM prices UNION ALL SELECT id FROM categories WHERE id < 0",
    ),
    Healthy("partition_pruned", "SELECT count(*), max(payload) FROM events WHERE day >= '2024-03-01' AND day < '2024-04-01'"),
    Healthy("all_partitions_wanted", "SELECT kind, count(*), max(payload) FROM events GROUP BY kind", SERIAL),
    Healthy("partitions_filtered_evenly", "SELECT count(*) FROM events WHERE kind IN (1, 2)", SERIAL),
    Healthy("pruned_at_run_time", "SELECT count(*), max(payload) FROM events WHERE day = (SELECT date '2024-05-05')", SERIAL),
    Healthy("count_distinct", "SELECT count(DISTINCT channel) FROM orders", SERIAL | {"work_mem": "64MB"}),
    Healthy("sort_in_memory", "SELECT id, total FROM orders WHERE id < 20000 ORDER BY total", {"work_mem": "32MB"}),
    Healthy("cross_join_with_setting", "SELECT count(*) FROM orders o CROSS JOIN config c WHERE o.total > c.value", SERIAL),
    Healthy(
        "calendar",
        "SELECT d, count(e.day) FROM generate_series(date '2024-01-01', date '2024-12-31', '1 day') d LEFT JOIN events e ON e.day = d GROUP BY d",
        SERIAL,
    ),
    Healthy(
        "lateral_series", "SELECT count(*) FROM customers c CROSS JOIN LATERAL generate_series(1, c.id % 20) s WHERE c.id < 12000", SERIAL
    ),
    Healthy("unnest", "SELECT count(*) FROM products p, unnest(p.tags) t WHERE t <> 't1'", SERIAL),
    Healthy(
        "lateral_top_one",
        "SELECT s.s, x.line FROM generate_series(1, 300) s CROSS JOIN LATERAL (SELECT line FROM items i WHERE i.order_id = s.s ORDER BY line DESC LIMIT 1) x",
    ),
    Healthy("common_value_filtered", "SELECT count(*) FROM orders WHERE lower(status) = 'done'", SERIAL),
    Healthy("cast_that_keeps_most", "SELECT count(*) FROM orders WHERE placed_at::date > '2023-01-05'", SERIAL),
    Healthy("having", "SELECT customer_id, count(*) FROM orders GROUP BY customer_id HAVING count(*) > 100", SERIAL | {"work_mem": "64MB"}),
    Healthy("or_over_one_column", "SELECT count(*) FROM orders WHERE id = 5 OR id = 6 OR id = 7"),
    Healthy("bitmap_or", "SELECT count(*) FROM products WHERE weight = 5 OR width = 7", SERIAL),
    Healthy(
        "constant_on_both_sides",
        "SELECT count(*) FROM products a JOIN products b ON a.category = b.category WHERE a.category = 7",
        SERIAL | {"enable_seqscan": "off"},
    ),
    Healthy("limit_without_order", "SELECT * FROM orders WHERE status = 'open' LIMIT 50"),
    Healthy(
        "semi_join_limit", "SELECT c.id FROM customers c WHERE EXISTS (SELECT 1 FROM orders o WHERE o.customer_id = c.id) LIMIT 10", SERIAL
    ),
    Healthy("group_by_key", "SELECT i.order_id, sum(i.price) FROM items i WHERE i.order_id BETWEEN 500 AND 9000 GROUP BY i.order_id"),
    Healthy("locked_row", "SELECT * FROM jobs WHERE id = 55000 FOR UPDATE SKIP LOCKED"),
    Healthy("copy_rows", "INSERT INTO prices SELECT id, id, id, amount FROM transfers WHERE id < 10000"),
    Healthy(
        "upsert", "INSERT INTO accounts SELECT i, 'x' FROM generate_series(1, 2000) i ON CONFLICT (id) DO UPDATE SET name = excluded.name"
    ),
    Healthy("writing_cte", "WITH d AS (DELETE FROM seats WHERE id <= 3000 RETURNING tenant_id) SELECT count(*) FROM d"),
    Healthy("writing_cte_not_read", "WITH d AS (UPDATE seats SET label = 'y' WHERE id <= 3000 RETURNING id) SELECT 1"),
    Healthy("full_join", "SELECT count(*) FROM accounts a FULL JOIN tenants t ON t.id = a.id", SERIAL),
    Healthy("range_of_large_documents", "SELECT max(length(blob)) FROM documents WHERE id BETWEEN 100 AND 900"),
    Healthy("all_large_documents", "SELECT count(*) FROM documents WHERE length(body) > 3", SERIAL),
    Healthy("min_max", "SELECT min(placed_at), max(placed_at) FROM orders"),
    Healthy(
        "grouping_sets",
        "SELECT status, channel % 5, count(*) FROM orders GROUP BY GROUPING SETS ((status), (channel % 5), ())",
        SERIAL | {"work_mem": "16MB"},
    ),
    Healthy("except", "SELECT id FROM accounts EXCEPT SELECT id FROM tenants WHERE id < 3990", SERIAL),
    Healthy("values_list", "SELECT o.* FROM (VALUES (1), (77), (4711)) v(id) JOIN orders o ON o.id = v.id"),
    Healthy(
        "prepared_parameters", "SELECT sum(total) FROM orders WHERE placed_at BETWEEN '2023-04-01' AND '2023-04-20' AND status = 'done'"
    ),
    Healthy("view_of_settings", "SELECT name, setting FROM pg_settings WHERE name LIKE '%mem%'"),
    Healthy(
        "catalog_query",
        "SELECT c.relname, count(*) FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid GROUP BY c.relname ORDER BY 2 DESC LIMIT 5",
    ),
    Healthy("negated_pattern", "SELECT count(*) FROM products WHERE name NOT LIKE '%abc%'", SERIAL),
    Healthy("random_sample", "SELECT count(*) FROM orders WHERE random() < 0.01", SERIAL),
    Healthy("table_sample", "SELECT avg(total) FROM orders TABLESAMPLE SYSTEM (10)", SERIAL),
    Healthy(
        "semi_join_on_small_set", "SELECT count(*) FROM items WHERE order_id IN (SELECT id FROM orders WHERE placed_at < '2023-01-05')"
    ),
    Healthy(
        "star_join",
        "SELECT g.name, sum(i.price) FROM items i JOIN products p ON p.id = i.product_id JOIN categories g ON g.id = p.category GROUP BY g.name",
        SERIAL,
    ),
    Healthy("right_join", "SELECT count(o.id) FROM orders o RIGHT JOIN customers c ON c.id = o.customer_id", SERIAL | {"work_mem": "64MB"}),
    Healthy(
        "self_join",
        "SELECT count(*) FROM readings a JOIN readings b ON b.sensor = a.sensor AND b.at = a.at + 2000",
        SERIAL | {"work_mem": "64MB"},
    ),
    Healthy(
        "case_aggregate", "SELECT sum(CASE WHEN status = 'done' THEN total END), count(*) FILTER (WHERE channel < 10) FROM orders", SERIAL
    ),
    Healthy("greatest_per_group", "SELECT customer_id, max(placed_at) FROM orders GROUP BY customer_id", SERIAL | {"work_mem": "64MB"}),
    Healthy(
        "top_customers",
        "SELECT customer_id, sum(total) AS t FROM orders GROUP BY customer_id ORDER BY t DESC LIMIT 10",
        SERIAL | {"work_mem": "64MB"},
    ),
    Healthy("last_of_partition", "SELECT * FROM events WHERE day = '2024-07-07' ORDER BY payload LIMIT 10"),
    Healthy(
        "nested_ctes",
        "WITH a AS (SELECT id, total FROM orders WHERE id < 30000), b AS (SELECT avg(total) AS t FROM a) SELECT count(*) FROM a, b WHERE a.total > b.t",
        SERIAL,
    ),
    Healthy(
        "recursive_read_filtered",
        "WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 30000) SELECT count(*) FROM n WHERE i % 100 = 0",
    ),
    Healthy(
        "row_number_filter",
        "SELECT * FROM (SELECT id, row_number() OVER (PARTITION BY customer_id ORDER BY id DESC) AS n FROM orders WHERE id < 20000) x WHERE n = 1",
        SERIAL | {"work_mem": "64MB"},
    ),
    Healthy("json_aggregated", "SELECT jsonb_agg(id) FROM products WHERE category = 3"),
    Healthy("string_functions_in_output", "SELECT upper(name), lower(email) FROM customers WHERE id < 8000"),
    Healthy("boolean_flag_mostly_true", "SELECT count(*) FROM customers WHERE active", SERIAL),
    Healthy("delete_by_index", "DELETE FROM seats WHERE tenant_id = 77"),
    Healthy("merge_like_update_from", "UPDATE seats s SET label = t.name FROM tenants t WHERE t.id = s.tenant_id AND t.id < 100"),
    Healthy("insert_returning", "INSERT INTO transfers SELECT 200000 + i, 5, i FROM generate_series(1, 3000) i RETURNING id"),
    Healthy(
        "between_dates_and_join",
        "SELECT count(*) FROM orders o JOIN customers c ON c.id = o.customer_id WHERE o.placed_at BETWEEN '2023-02-01' AND '2023-02-08'",
    ),
    Healthy(
        "exists_and_limit",
        "SELECT id FROM customers c WHERE EXISTS (SELECT 1 FROM orders o WHERE o.customer_id = c.id AND o.total > 100) ORDER BY id LIMIT 5",
        SERIAL,
    ),
    Healthy(
        "scalar_subqueries", "SELECT (SELECT count(*) FROM orders), (SELECT count(*) FROM items), (SELECT max(id) FROM customers)", SERIAL
    ),
    Healthy("parallel_hash_join", "SELECT count(*) FROM items i JOIN orders o ON o.id = i.order_id", PARALLEL | {"work_mem": "64MB"}),
    Healthy("parallel_append", "SELECT count(*), max(payload) FROM events", PARALLEL),
    Healthy("gather_merge", "SELECT id, comment FROM orders ORDER BY total, id", PARALLEL | {"work_mem": "64MB"}),
    Healthy("bitmap_heap_of_many", "SELECT count(*) FROM samples WHERE spot BETWEEN 5 AND 15000", SERIAL),
    Healthy(
        "lateral_limit",
        "SELECT c.id, i.line FROM customers c CROSS JOIN LATERAL (SELECT line FROM items i WHERE i.order_id = c.id LIMIT 2) i WHERE c.id < 700",
    ),
    Healthy("nothing_found_by_index", "SELECT * FROM orders WHERE placed_at > '2099-01-01'"),
    Healthy("one_time_filter", "SELECT count(*) FROM orders WHERE (SELECT value FROM config WHERE name = 'limit') > 10"),
    Healthy("intersect", "SELECT id FROM tenants INTERSECT SELECT id FROM accounts", SERIAL),
    Healthy("array_of_subquery", "SELECT id, ARRAY(SELECT line FROM items i WHERE i.order_id = o.id) FROM orders o WHERE id < 200"),
    Healthy("product_of_small_tables", "SELECT count(*) FROM categories a, categories b", SERIAL),
    Healthy(
        "month_series",
        "SELECT m, (SELECT count(*) FROM events e WHERE e.day >= m AND e.day < m + interval '1 month') FROM generate_series(timestamp '2024-01-01', '2024-12-01', '1 month') m",
        SERIAL,
    ),
    Healthy(
        "calendar_of_generated_days",
        "SELECT d, c.id FROM (SELECT generate_series(0, 2999) AS d) days CROSS JOIN categories c",
        SERIAL,
    ),
    Healthy(
        "first_numbered_page",
        "SELECT * FROM (SELECT id, row_number() OVER (ORDER BY placed_at) AS n FROM orders) s WHERE n > 20 AND n <= 40",
        SERIAL,
    ),
    Healthy(
        "few_of_each_numbered",
        "SELECT * FROM (SELECT id, row_number() OVER (PARTITION BY tenant_id ORDER BY id) AS n FROM seats) s WHERE n BETWEEN 3 AND 5",
        SERIAL | {"work_mem": "32MB"},
    ),
    Healthy(
        "last_of_each_numbered",
        "SELECT * FROM (SELECT order_id, row_number() OVER (PARTITION BY order_id ORDER BY line DESC) AS n FROM items) s WHERE n = 1",
        SERIAL | {"work_mem": "64MB"},
    ),
    Healthy("element_beside_key", "SELECT count(*) FROM products WHERE id BETWEEN 5 AND 60 AND 't42' = ANY (tags)", SERIAL),
    Healthy("pattern_of_most", "SELECT count(*) FROM products WHERE name ILIKE 'product%'", SERIAL),
    Healthy(
        "distinct_values_in_memory",
        "SELECT customer_id, count(DISTINCT status) FROM orders GROUP BY customer_id",
        SERIAL | {"work_mem": "64MB"},
    ),
)
