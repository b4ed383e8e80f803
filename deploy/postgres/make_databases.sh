#!/bin/sh
# Run once by the postgres image, when its volume is empty: a user and databases of their own for Temporal and for Perfwright's history.
# Neither user is a superuser. Passwords come from the environment and reach psql as variables, never as text of a statement.
set -eu

psql --set=ON_ERROR_STOP=1 --quiet --username "$POSTGRES_USER" --dbname postgres \
    --set=temporal_password="$TEMPORAL_DB_PASSWORD" --set=history_password="$HISTORY_DB_PASSWORD" <<'SQL'
CREATE ROLE temporal LOGIN PASSWORD :'temporal_password';
CREATE ROLE perfwright LOGIN PASSWORD :'history_password';
CREATE DATABASE temporal OWNER temporal;
CREATE DATABASE temporal_visibility OWNER temporal;
CREATE DATABASE perfwright OWNER perfwright;
REVOKE CONNECT ON DATABASE temporal, temporal_visibility, perfwright FROM PUBLIC;
SQL
