#!/bin/sh
# The fuzzer with kernels that check every access to memory, every shift and every sum (GCC's address and undefined sanitizers).
# usage: sh tests/fuzz/sanitized.sh [options of `python -m tests.fuzz`]; PYTHON names the interpreter, LEVEL the kernels
set -eu
cd "$(dirname "$0")/../.."
LEVEL=${LEVEL:-avx2}
case $LEVEL in
plain) FLAGS= ;;
avx2) FLAGS="-mavx2 -mfma" ;;
*) FLAGS="-mavx2 -mfma -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vnni" ;;
esac
PLACE=$(mktemp -d)
trap 'rm -rf "$PLACE"' EXIT
cp -r bitstream/vqbitstream "$PLACE/"
cd "$PLACE/vqbitstream/kernels"
rm -f ./*.so
for NAME in plain "$LEVEL"; do
    gcc -std=gnu11 -O1 -g -fno-math-errno -fsanitize=address,undefined -fno-sanitize-recover=all -shared -fPIC $FLAGS \
        exact.c floats.c search.c distortion.c cpu.c -o "$NAME.abi3.so"
done
cd "$OLDPWD"
LD_PRELOAD="$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libubsan.so)" ASAN_OPTIONS=detect_leaks=0:quarantine_size_mb=8 VQCODEC_KERNELS=$LEVEL \
    PYTHONPATH="$PLACE:codec:." "${PYTHON:-python3}" -m tests.fuzz "$@"
