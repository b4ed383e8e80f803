"""Settings under which statements of the tests are planned."""

SERIAL = {"max_parallel_workers_per_gather": "0", "jit": "off"}
PARALLEL = {
    "jit": "off",
    "max_parallel_workers_per_gather": "2",
    "parallel_setup_cost": "0",
    "parallel_tuple_cost": "0",
    "min_parallel_table_scan_size": "0",
}
SMALL = SERIAL | {"work_mem": "64kB"}
LOOPS = SERIAL | {"enable_hashjoin": "off", "enable_mergejoin": "off"}
