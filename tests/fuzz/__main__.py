"""`python -m tests.fuzz --files 100000 --kills 100`: decode mutated files and hold the decoder to its promises.

Only a VQCError may come out, within 2 seconds of processor time, with at most 200 MB more memory. What breaks a promise is kept as
a file in `findings/`, which the tests decode from then on. A crash or a hang ends only the worker; the run goes on after it. With
`--state FILE` a run that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
FINDINGS = HERE / "findings"
MAX_SECONDS, MAX_GROWTH_MB = 2.0, 200.0
TELLING_MB = 16.0  # less growth says nothing of how much a byte of a file can ask for
CHUNK = 1000  # files of one worker
REPORT_SECONDS = 30.0


@dataclass
class Report:
    """What a run has seen so far.

    Attributes:
        done: Number of files.
        seconds: That the run took.
        outcomes: How often each outcome of `check` came.
        findings: What broke a promise, by number of the file.
        worst: For "seconds" of processor time, "megabytes" of growth, and "growth" in bytes for each byte of the file: the largest,
            the file's number and its bytes.
    """

    done: int = 0
    seconds: float = 0.0
    outcomes: dict[str, int] = field(default_factory=dict)
    findings: dict[str, str] = field(default_factory=dict)
    worst: dict[str, tuple[float, int, int]] = field(default_factory=dict)

    def count(self, name: str, number: int) -> None:
        self.outcomes[name] = self.outcomes.get(name, 0) + number

    def note(self, what: str, value: float, number: int, file_bytes: int) -> None:
        if value > self.worst.get(what, (0.0, 0, 0))[0]:
            self.worst[what] = (value, number, file_bytes)

    def save(self, path: Path | None) -> None:
        """Whole or not at all."""
        if path:
            whole = path.with_suffix(".new")
            whole.write_text(json.dumps(asdict(self), indent=1))
            whole.replace(path)

    @classmethod
    def load(cls, path: Path | None) -> Report:
        """What `save` wrote; an empty report if there is none."""
        return cls(**json.loads(path.read_text())) if path and path.exists() else cls()

    def __str__(self) -> str:
        decodes = ", ".join(f"{count} {name}" for name, count in collections.Counter(self.outcomes).most_common())
        lines = [f"{self.done} files in {self.seconds:.0f} s; of their reads {decodes}"]
        units = {"seconds": ".2f", "megabytes": ".0f", "growth": ".0f"}
        lines += [
            f"largest {what}: {value:{units[what]}} (case {number}, {file_bytes} bytes)"
            for what, (value, number, file_bytes) in self.worst.items()
        ]
        return "\n".join([*lines, f"{len(self.findings)} findings"])


def worker(begin: int, end: int, seed: int, model: str) -> None:
    """Prints `at NUMBER` before every case, and `finding NUMBER TEXT`, `count OUTCOME N` and the like."""
    import signal

    from vqcodec.codec import Codec

    from tests.fuzz.cases import case, seeds
    from tests.fuzz.promises import Growth, check

    codec = Codec(model)
    files = seeds(codec)
    for data in files:  # warm
        check(codec, data)
    growth = Growth()
    report = Report()
    for number in range(begin, end):
        data = case(number, codec, files, seed)
        print("at", number, flush=True)
        signal.setitimer(signal.ITIMER_PROF, 30)  # a loop without end ends the worker, by processor time
        signal.alarm(1800)  # and so does a wait without end
        growth.reset()
        begun = time.process_time()  # other programs do not slow it
        try:
            for name, count in check(codec, data).items():
                report.count(name, count)
        except Exception as error:
            print("finding", number, f"{type(error).__name__}: {' '.join(str(error).split())}", flush=True)
        seconds, megabytes = time.process_time() - begun, growth.megabytes()
        report.note("seconds", seconds, number, len(data))
        report.note("megabytes", megabytes, number, len(data))
        if megabytes > TELLING_MB:
            report.note("growth", 1e6 * megabytes / max(len(data), 1), number, len(data))
        if seconds > MAX_SECONDS or megabytes > MAX_GROWTH_MB:
            print("finding", number, f"{seconds:.1f} s, {megabytes:.0f} MB", flush=True)
    signal.setitimer(signal.ITIMER_PROF, 0)
    signal.alarm(0)
    print("done", json.dumps(asdict(report)), flush=True)


def watch(begin: int, end: int, seed: int, model: str, report: Report) -> int:
    """Run a worker and add to the report what it saw. Returns the number of the next file."""
    command = [sys.executable, "-m", "tests.fuzz", "--seed", str(seed), "--model", model]
    process = subprocess.Popen([*command, "--worker", str(begin), str(end)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    at = begin - 1
    for line in process.stdout:
        word, _, rest = line.strip().partition(" ")
        if word == "at":
            at = int(rest)
        elif word == "finding":
            number, _, text = rest.partition(" ")
            report.findings[number] = text
            print(f"case {number}: {text}", flush=True)
        elif word == "done":
            seen = Report(**json.loads(rest))
            for name, count in seen.outcomes.items():
                report.count(name, count)
            for what, worst in seen.worst.items():
                report.note(what, *worst)
            return end
    if at < begin:
        sys.exit("the worker does not start")
    report.findings[str(at)] = f"the process ended with {process.wait()}"
    print(f"case {at}: {report.findings[str(at)]}", flush=True)
    return at + 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--files", type=int, default=2000, help="how many mutated files")
    parser.add_argument("--seed", type=int, default=0, help="other seeds make other files")
    parser.add_argument("--state", type=Path, help="a file that remembers how far the run is, so that it can go on")
    parser.add_argument(
        "--kills", type=int, default=0, help="then kill a batch so many times (tests/cli/test_faults.py)"
    )
    parser.add_argument("--model", default=str(HERE.parent / "fixtures" / "tiny.safetensors"))
    parser.add_argument("--worker", type=int, nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        worker(*options.worker, options.seed, options.model)
        return
    os.nice(19)
    report = Report.load(options.state)
    reported = time.monotonic()
    while report.done < options.files:
        begun = time.monotonic()
        end = min(options.files, (report.done // CHUNK + 1) * CHUNK)
        report.done = watch(report.done, end, options.seed, options.model, report)
        report.seconds += time.monotonic() - begun
        report.save(options.state)
        if time.monotonic() - reported > REPORT_SECONDS:
            reported = time.monotonic()
            print(
                f"{report.done} of {options.files}, {len(report.findings)} findings, {report.seconds:.0f} s", flush=True
            )
    keep(report.findings, options.seed, options.model)
    print(report)
    print(f"a header that claims 2^31 x 2^31 pixels is refused in {1000 * refusal_seconds():.2f} ms")
    failed = 0
    if options.kills:
        faults = [sys.executable, "-m", "pytest", str(HERE.parent / "cli" / "test_faults.py")]
        failed = subprocess.run(faults, env=os.environ | {"VQCODEC_KILLS": str(options.kills)}, check=False).returncode
    sys.exit(bool(report.findings) or failed)


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


def keep(findings: dict[str, str], seed: int, model: str) -> None:
    """Write the files that broke a promise."""
    if findings:
        from vqcodec.codec import Codec

        from tests.fuzz.cases import case, seeds

        codec = Codec(model)
        files = seeds(codec)
        FINDINGS.mkdir(exist_ok=True)
        for number, text in findings.items():
            path = FINDINGS / f"seed{seed}-{number}.vqc"
            path.write_bytes(case(int(number), codec, files, seed))
            print(f"{path}: {text}")


if __name__ == "__main__":
    main()
