"""`python -m tests.fuzz --files 100000 --kills 100`: decode mutated files and hold the decoder to its promises.

Only a VQCError may come out, within 2 seconds of processor time, with at most 200 MB more memory. What breaks a promise is kept as
a file in `findings/`, which the tests decode from then on. A crash or a hang ends only the worker; the run goes on after it.
"""

from __future__ import annotations

import argparse
import collections
import os
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
FINDINGS = HERE / "findings"
MAX_SECONDS, MAX_GROWTH_MB = 2.0, 200.0
REPORT_SECONDS = 30.0


def worker(begin: int, end: int, seed: int, model: str) -> None:
    """Prints `at NUMBER` before every case, and `finding NUMBER TEXT`, `count OUTCOME N` and the like."""
    import signal

    import torch

    torch.set_num_threads(1)

    from vqcodec.codec import Codec

    from tests.fuzz.cases import case, seeds
    from tests.fuzz.promises import Growth, check

    codec = Codec(model)
    files = seeds(codec)
    for data in files:  # warm
        check(codec, data)
    growth = Growth()
    outcomes: collections.Counter[str] = collections.Counter()
    slowest = largest = 0.0
    for number in range(begin, end):
        data = case(number, codec, files, seed)
        print("at", number, flush=True)
        signal.setitimer(signal.ITIMER_PROF, 30)  # a loop without end ends the worker, by processor time
        signal.alarm(1800)  # and so does a wait without end
        growth.reset()
        begun = time.process_time()  # other programs do not slow it
        try:
            outcomes.update(check(codec, data))
        except Exception as error:
            print("finding", number, f"{type(error).__name__}: {' '.join(str(error).split())}", flush=True)
        seconds, megabytes = time.process_time() - begun, growth.megabytes()
        slowest, largest = max(slowest, seconds), max(largest, megabytes)
        if seconds > MAX_SECONDS or megabytes > MAX_GROWTH_MB:
            print("finding", number, f"{seconds:.1f} s, {megabytes:.0f} MB", flush=True)
    signal.setitimer(signal.ITIMER_PROF, 0)
    signal.alarm(0)
    for name, count in outcomes.items():
        print("count", name, count)
    print("worst", slowest, largest, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--files", type=int, default=2000, help="how many mutated files")
    parser.add_argument("--seed", type=int, default=0, help="other seeds make other files")
    parser.add_argument(
        "--kills", type=int, default=0, help="then kill a batch so many times (tests/cli/test_faults.py)"
    )
    parser.add_argument("--model", default=str(HERE.parent / "fixtures" / "tiny.safetensors"))
    parser.add_argument("--worker", type=int, nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        worker(*options.worker, options.seed, options.model)
        return
    os.nice(10)
    outcomes: collections.Counter[str] = collections.Counter()
    findings: dict[int, str] = {}
    slowest = largest = 0.0
    begun = reported = time.monotonic()
    begin = at = 0
    while begin < options.files:
        command = [sys.executable, "-m", "tests.fuzz", "--seed", str(options.seed), "--model", options.model]
        process = subprocess.Popen(
            [*command, "--worker", str(begin), str(options.files)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        at, finished = begin - 1, False
        for line in process.stdout:
            word, _, rest = line.strip().partition(" ")
            if word == "at":
                at = int(rest)
            elif word == "finding":
                number, _, text = rest.partition(" ")
                findings[int(number)] = text
                print(f"case {number}: {text}", flush=True)
            elif word == "count":
                name, _, count = rest.rpartition(" ")
                outcomes[name] += int(count)
            elif word == "worst":
                finished = True
                slowest, largest = (max(a, float(b)) for a, b in zip((slowest, largest), rest.split(), strict=True))
            if time.monotonic() - reported > REPORT_SECONDS:
                reported = time.monotonic()
                print(f"{at} of {options.files}, {len(findings)} findings, {reported - begun:.0f} s", flush=True)
        if not finished:
            if at < begin:
                sys.exit("the worker does not start")
            findings[at] = f"the process ended with {process.wait()}"
            print(f"case {at}: {findings[at]}", flush=True)
        begin = options.files if finished else at + 1
    keep(findings, options.seed, options.model)
    print(f"{options.files} files in {time.monotonic() - begun:.0f} s; of their decodes", end=" ")
    print(", ".join(f"{count} {name}" for name, count in outcomes.most_common()))
    print(f"slowest {slowest:.2f} s, largest growth {largest:.0f} MB, {len(findings)} findings")
    print(f"a header that claims 2^31 x 2^31 pixels is refused in {1000 * refusal_seconds():.2f} ms")
    failed = 0
    if options.kills:
        faults = [sys.executable, "-m", "pytest", str(HERE.parent / "cli" / "test_faults.py")]
        failed = subprocess.run(faults, env=os.environ | {"VQCODEC_KILLS": str(options.kills)}, check=False).returncode
    sys.exit(bool(findings) or failed)


def refusal_seconds() -> float:
    """The slowest of ten."""
    from vqbitstream import LimitError, Limits, unpack

    from tests.fuzz.cases import boundless_header

    def seconds() -> float:
        begun = time.perf_counter()
        try:
            unpack(boundless_header(), Limits())
        except LimitError:
            return time.perf_counter() - begun
        raise AssertionError("not refused")

    return max(seconds() for _ in range(10))


def keep(findings: dict[int, str], seed: int, model: str) -> None:
    """Write the files that broke a promise."""
    if findings:
        from vqcodec.codec import Codec

        from tests.fuzz.cases import case, seeds

        codec = Codec(model)
        files = seeds(codec)
        FINDINGS.mkdir(exist_ok=True)
        for number, text in findings.items():
            path = FINDINGS / f"seed{seed}-{number}.vqc"
            path.write_bytes(case(number, codec, files, seed))
            print(f"{path}: {text}")


if __name__ == "__main__":
    main()
