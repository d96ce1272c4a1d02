/* What a library was compiled for, and what this machine can run. */

#include "simd.h"

EXPORT int kernels_version(void) { return VERSION; }

EXPORT int kernels_lanes(void) { return LANES; }

/* 2 if the library for AVX-512 runs here, 1 if the one for AVX2 does, else 0. */
EXPORT int kernels_best(void) {
#if defined __x86_64__ || defined __i386__
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return 0;
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
                   __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vnni")
               ? 2
               : 1;
#else
    return 0;
#endif
}
