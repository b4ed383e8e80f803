#!/bin/sh
# Bring Temporal's two databases to the schema of this admin-tools image; run before every start of the server, an upgrade included.
# Address, user and password come from SQL_HOST, SQL_PORT, SQL_USER and SQL_PASSWORD; what is up to date stays as it is.
set -eu
versions="${SCHEMA_FOLDER:-/etc/temporal/schema/postgresql/v12}"

for database in temporal temporal_visibility; do
    folder="$versions/${database#temporal_}/versioned"
    # Creates the table that holds the version, where it is not there yet.
    temporal-sql-tool --plugin postgres12 --database "$database" setup-schema --version 0.0
    temporal-sql-tool --plugin postgres12 --database "$database" update-schema --schema-dir "$folder"
done
