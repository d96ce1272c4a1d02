#!/bin/sh
# The tests of this folder, in a fresh environment that has what a plain `pip install vqcodec` brings, and pytest.
# usage: sh tests/without_torch/run.sh ENVIRONMENT
set -eu
cd "$(dirname "$0")/../.."
python3 -m venv "$1"
"$1/bin/python" -m pip install -q --disable-pip-version-check -c constraints.txt . "pytest>=8"
# where there is a compiler, the kernels were compiled
! command -v cc >/dev/null || "$1/bin/python" -c "from vqbitstream.kernels import library; assert library(), 'no kernels'"
# --confcutdir: the conftest.py above this folder imports PyTorch
"$1/bin/python" -m pytest --confcutdir=tests/without_torch -p no:cacheprovider "$(pwd)/tests/without_torch"
