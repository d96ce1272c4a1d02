#!/bin/sh
# The kernels of the browser under AddressSanitizer and UndefinedBehaviorSanitizer: sh browser/kernels/sanitized/run.sh [ROUNDS] [SEED]
set -eu
cd "$(dirname "$0")"
PLACE=$(mktemp -d)
trap 'rm -rf "$PLACE"' EXIT
${CC:-gcc} -std=gnu11 -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all -Wall -Wextra -Wno-attributes -Wno-unknown-pragmas \
    -I. driver.c -lm -o "$PLACE/driver"
"$PLACE/driver" "$@"
