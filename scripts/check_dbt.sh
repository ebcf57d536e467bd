#!/usr/bin/env bash
# Parses the dbt project and fails on any deprecation or warning.
set -euo pipefail
cd "$(dirname "$0")/.."
target=$(mktemp -d)
trap 'rm -rf "$target"' EXIT
STRATA_WAREHOUSE="$target/warehouse.duckdb" .venv/bin/dbt --warn-error parse --show-all-deprecations --no-partial-parse \
    --project-dir dbt_project --profiles-dir dbt_project --target-path "$target" --log-path "$target"
