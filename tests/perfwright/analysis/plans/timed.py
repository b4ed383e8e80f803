"""Statements whose plans spread their time in every way: the parts must sum to the total."""

from dataclasses import dataclass, field

from tests.perfwright.analysis.plans.planner_settings import PARALLEL, SERIAL


@dataclass(frozen=True)
class Timed:
    """A statement whose plan is kept for its times."""

    name: str
    sql: str
    settings: dict[str, str] = field(default_factory=dict)
    versions: tuple[int, ...] = (15, 18)


MANY = {"work_mem": "64MB"}
TIMED: tuple[Timed, ...] = (
    Timed(
        "serial_join", "SELECT c.city, sum(o.total) FROM orders o JOIN customers c ON c.id = o.customer_id GROUP BY c.city", SERIAL | MANY
    ),
    Timed("parallel_join", "SELECT sum(i.price), count(o.comment) FROM items i JOIN orders o ON o.id = i.order_id", PARALLEL | MANY),
    Timed("parallel_sorted", "SELECT id, comment FROM orders ORDER BY total, id", PARALLEL | MANY),
    Timed("parallel_append", "SELECT kind, count(*), max(payload) FROM events GROUP BY kind", PARALLEL),
    Timed("parallel_without_leader", "SELECT count(*), sum(total) FROM orders", PARALLEL | {"parallel_leader_participation": "off"}),
    Timed(
        "parallel_with_init_plan",
        "SELECT count(*) FROM orders WHERE total > (SELECT avg(price) * 2 FROM items WHERE quantity > 2)",
        PARALLEL,
    ),
    Timed("init_plan", "SELECT count(*) FROM orders WHERE total > (SELECT avg(price) FROM items)", SERIAL),
    Timed("init_plan_in_output", "SELECT id, (SELECT max(price) FROM items) FROM orders ORDER BY comment LIMIT 1000", SERIAL | MANY),
    Timed(
        "two_init_plans",
        "SELECT (SELECT count(*) FROM orders WHERE channel < 400), (SELECT count(*) FROM items WHERE quantity > 2)",
        SERIAL,
    ),
    Timed("sub_plan", "SELECT id, (SELECT sum(price) FROM items i WHERE i.order_id = o.id) FROM orders o WHERE id <= 20000", SERIAL),
    Timed("hashed_sub_plan", "SELECT count(*) FROM customers WHERE id NOT IN (SELECT customer_id FROM orders WHERE channel < 300)", SERIAL),
    Timed(
        "cte_read_twice",
        "WITH o AS MATERIALIZED (SELECT channel, sum(total) AS total FROM orders GROUP BY channel) "
        "SELECT count(*) FROM o a JOIN o b ON a.channel = b.channel + 1",
        SERIAL,
    ),
    Timed(
        "cte_read_by_init_plan",
        "WITH r AS (SELECT product_id, sum(price) AS p FROM items WHERE quantity < 5 GROUP BY product_id) "
        "SELECT q.name, r.p FROM products q JOIN r ON r.product_id = q.id WHERE r.p = (SELECT max(p) FROM r)",
        PARALLEL,
    ),
    Timed(
        "nested_ctes",
        "WITH a AS MATERIALIZED (SELECT id, customer_id, total FROM orders), b AS MATERIALIZED (SELECT customer_id, sum(total) AS t FROM a GROUP BY customer_id) "
        "SELECT count(*) FROM a JOIN b USING (customer_id) WHERE a.total > b.t / 2",
        SERIAL | MANY,
    ),
    Timed(
        "writing_cte_not_read",
        "WITH d AS (UPDATE seats SET label = 'y' WHERE id <= 20000 RETURNING id) SELECT count(*) FROM orders",
        SERIAL,
    ),
    Timed("writing_cte_read", "WITH d AS (DELETE FROM seats WHERE id <= 20000 RETURNING tenant_id) SELECT count(*) FROM d", SERIAL),
    Timed("recursive", "WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 50000) SELECT sum(i) FROM n", SERIAL),
    Timed("never_executed", "SELECT count(*) FROM orders WHERE (SELECT value FROM config WHERE name = 'limit') > 10", SERIAL),
    Timed("foreign_keys_checked", "INSERT INTO seats SELECT i, i % 2000 + 1, 'x' FROM generate_series(200001, 215000) i", SERIAL),
    Timed(
        "compiled",
        "SELECT count(*), sum(total), avg(channel) FROM orders WHERE channel < 400",
        PARALLEL | {"jit": "on", "jit_above_cost": "0"},
        (15,),
    ),
)
