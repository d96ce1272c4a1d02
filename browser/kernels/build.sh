#!/bin/sh
# Compiles the kernels for WebAssembly: sh browser/kernels/build.sh [OUT]. Needs zig: pip install ziglang==0.17.1
set -eu
cd "$(dirname "$0")"
OUT=${1:-../src}
ZIG=${ZIG:-python3 -m ziglang}
build() {
    NAME=$1
    shift
    $ZIG cc --target=wasm32-freestanding -O3 -msimd128 "$@" -Wall -Wextra -nostdlib -Wl,--no-entry -Wl,--import-memory \
        -Wl,--strip-all -o "$OUT/$NAME.wasm" kernels.c
}
build kernels
build kernels-relaxed -mrelaxed-simd
