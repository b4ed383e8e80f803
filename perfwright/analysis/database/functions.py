"""Functions that count as volatile and yet only read, or only tell: calling them changes nothing that outlives the call.

Source: PostgreSQL 18 documentation, chapter 9 "Functions and Operators", F.26 "pgcrypto" and F.49 "uuid-ossp"; read there one by one. What
is not listed (nextval, setval, set_config, pg_advisory_lock, lo_unlink, dblink_exec, pg_terminate_backend, ...) is taken to have effects.
"""

_NAMES = """
array_sample array_shuffle clock_timestamp random random_normal timeofday gen_random_uuid uuidv4 uuidv7
uuid_generate_v1 uuid_generate_v1mc uuid_generate_v4 gen_random_bytes
current_query currval lastval pg_sequence_last_value
pg_current_logfile pg_notification_queue_usage pg_is_in_recovery pg_last_wal_receive_lsn pg_last_wal_replay_lsn
pg_last_xact_replay_timestamp pg_current_wal_lsn pg_current_wal_insert_lsn pg_current_wal_flush_lsn pg_get_wal_replay_pause_state
pg_is_wal_replay_paused pg_lock_status pg_blocking_pids pg_safe_snapshot_blocking_pids
pg_relation_size pg_table_size pg_indexes_size pg_total_relation_size pg_database_size pg_tablespace_size
pg_show_all_file_settings pg_hba_file_rules pg_ident_file_mappings pg_prepared_xact pg_get_shmem_allocations
pg_get_backend_memory_contexts pg_get_multixact_members pg_last_committed_xact
"""
HARMLESS = frozenset(_NAMES.split())
"""Lower case, without schema."""
OF_EXTENSIONS = frozenset({"gen_random_bytes", "uuid_generate_v1", "uuid_generate_v1mc", "uuid_generate_v4"})
"""Those of them that come with an extension."""
