#!/usr/bin/env bash
# Gradescope runs this once, when the autograder is built: it installs what grading needs.
# AUTOGRADER is Gradescope's folder. With PYTHON, an interpreter that has everything, nothing is installed.
set -euo pipefail
source_folder="${AUTOGRADER:-/autograder}/source"

if [ -z "${PYTHON:-}" ]; then
  apt-get update -qq
  apt-get install -qq -y python3 python3-venv
  python3 -m venv "$source_folder/.venv"
  "$source_folder/.venv/bin/pip" install --quiet -r "$source_folder/course/requirements.txt" \
    -c "$source_folder/course/constraints.txt"
  PYTHON="$source_folder/.venv/bin/python"
fi
cd "$source_folder/course"
"$PYTHON" -m utils.cohort --help > /dev/null
