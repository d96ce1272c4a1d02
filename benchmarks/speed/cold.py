"""How long a command takes from a cold start: several installations of vqcodec, and Pillow's AVIF, in one run.

    python -m benchmarks.speed.cold --python before=/venvs/before/bin/python --python after=/venvs/after/bin/python \\
        --pillow /venvs/pillow/bin/python --picture kodim05.png --threads 1 --out cold.json

Cold: the console script beside each interpreter is started anew for `info`, `decode` (to PNG), `encode -e 1` and `encode` (default
effort). Every installation decodes the same file. AVIF is read and written by Pillow alone, at quality 60, speed 6, 4:4:4. Warm: one
process per installation answers in turn, on one thread; the first answer of each kind is not counted. Rounds are interleaved, and
every second round runs in reverse order, so that a slow minute of the machine affects all of them.

This process imports neither vqcodec, torch, NumPy nor Pillow: `cold_child` does, in the interpreters that are measured.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
AVIF, AVIF_SETTINGS = "AVIF", "quality 60, speed 6, 4:4:4"  # see cold_child
COLD = ("info", "decode", "encode -e 1", "encode")
WARM = ("decode", "encode -e 1", "encode -e 5")
MEBIBYTE = 1 << 20


class Cost(NamedTuple):
    """Of one process, or of one call in a process, whose peak memory is then None."""

    wall_s: float
    cpu_s: float
    peak_mib: float | None = None


def own_child(python: str, *arguments: str) -> list[str]:
    """A command that runs the child with another interpreter, away from this repository's modules."""
    return [python, "-P", str(Path(__file__).with_name("cold_child.py").resolve()), *arguments]


def environment(threads: int | None) -> dict[str, str]:
    """Without Python's own settings, which would, for example, keep compiled modules from being written.

    Nor with those that hold NumPy's matrix products to the instructions of an older processor.
    """
    held = ("PYTHON", "OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(held)}
    return kept if threads is None else kept | dict.fromkeys(THREAD_VARIABLES, str(threads))


def run_cold(command: Sequence[str], settings: Mapping[str, str]) -> Cost:
    """One process from its start to its end. Peak memory: the kernel also counts the parent's, which is smaller."""
    with tempfile.TemporaryFile("w+") as messages:
        begun = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=messages, env=settings)
        _, status, usage = os.wait4(process.pid, 0)
        wall_s = time.perf_counter() - begun
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            messages.seek(0)
            raise SystemExit(f"{shlex.join(command)} failed: {messages.read().strip()}")
    unit = MEBIBYTE if sys.platform == "darwin" else 1024
    return Cost(wall_s, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / unit)


def cold_commands(pythons: Mapping[str, str], pillow: str | None, picture: str, folder: str) -> dict[str, list[str]]:
    """(installation / operation) -> command. All of them read FOLDER/shared.vqc."""
    shared, out = f"{folder}/shared.vqc", f"{folder}/out"
    commands: dict[str, list[str]] = {}
    for name, python in pythons.items():
        script = str(Path(python).parent / "vqcodec")
        commands |= {
            f"{name}/info": [script, "info", shared],
            f"{name}/decode": [script, "decode", shared, f"{out}.png", "-f"],
            f"{name}/encode -e 1": [script, "encode", picture, f"{out}.vqc", "-f", "-e", "1"],
            f"{name}/encode": [script, "encode", picture, f"{out}.vqc", "-f"],
        }
    if pillow:
        commands |= {
            f"{AVIF}/{operation}": own_child(pillow, "avif", operation, picture, f"{folder}/shared.avif", f"{out}.{operation}")
            for operation in ("info", "decode", "encode")
        }  # fmt: skip
    return commands


def measure_cold(commands: Mapping[str, list[str]], settings: Mapping[str, str], repeat: int) -> dict[str, list[Cost]]:
    for command in commands.values():  # files into the cache, modules compiled
        run_cold(command, settings)
    costs: dict[str, list[Cost]] = {key: [] for key in commands}
    for number in range(repeat):
        for key in list(commands)[:: -1 if number % 2 else 1]:
            costs[key].append(run_cold(commands[key], settings))
    return costs


def measure_warm(
    children: Mapping[str, list[str]], settings: Mapping[str, str], repeat: int
) -> tuple[dict[str, list[Cost]], dict[str, str]]:
    """Costs of each call, and what failed, with the reason."""
    costs: dict[str, list[Cost]] = {}
    failed: dict[str, str] = {}
    with ExitStack() as stack:
        processes: dict[str, subprocess.Popen[str]] = {}
        for name, command in children.items():
            pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
            processes[name] = stack.enter_context(subprocess.Popen(command, text=True, env=settings, **pipes))

        def ask(name: str, line: str | None) -> Any:
            process = processes[name]
            assert process.stdin is not None and process.stdout is not None
            if line is not None:
                process.stdin.write(f"{line}\n")
                process.stdin.flush()
            made = process.stdout.readline()
            if not made:
                raise SystemExit(f"the warm process of {name} ended early")
            return json.loads(made)

        plan = [(name, call) for name in processes for call in ask(name, None)]
        for number in range(-1, repeat):
            for name, call in plan[:: -1 if number % 2 else 1]:
                key = f"{name}/{call}"
                if key in failed:
                    continue
                made = ask(name, call)
                if isinstance(made, dict):
                    failed[key] = made["error"]
                elif number >= 0:
                    costs.setdefault(key, []).append(Cost(*made))
    return costs, failed


def summary(costs: Mapping[str, Sequence[Cost]]) -> dict[str, dict[str, Any]]:
    """Medians of wall and CPU seconds, the largest peak, and every wall time."""
    out: dict[str, dict[str, Any]] = {}
    for key, runs in costs.items():
        out[key] = {
            f"{field}_s": round(statistics.median(getattr(r, f"{field}_s") for r in runs), 4)
            for field in ("wall", "cpu")
        }
        peaks = [r.peak_mib for r in runs if r.peak_mib is not None]
        if peaks:
            out[key]["peak_mib"] = round(max(peaks), 1)
        out[key]["wall_runs_s"] = [round(r.wall_s, 4) for r in runs]
    return out


def machine() -> dict[str, Any]:
    processor = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists() and "model name" in (text := cpuinfo.read_text()):
        processor = text.split("model name")[1].split("\n")[0].strip("\t :")
    return {"processor": processor, "cores": os.cpu_count(), "system": f"{platform.system()} {platform.machine()}"}


def others_s(cores: Sequence[int]) -> float:
    """Seconds that these cores have worked so far, less those of this process and of its children that have ended."""
    status = Path("/proc/stat")
    lines = status.read_text().splitlines() if status.exists() else []
    rows = [line.split() for line in lines if line.split()[0] in {f"cpu{core}" for core in cores}]
    ticks = sum(int(ticks) for row in rows for ticks in (*row[1:4], *row[6:9]))  # neither idle nor waiting
    return ticks / os.sysconf("SC_CLK_TCK") - sum(os.times()[:4])


def cell(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return "-"
    peak = f" / {found['peak_mib']:.0f}" if "peak_mib" in found else ""
    return f"{found['wall_s']:.3f} / {found['cpu_s']:.3f}{peak}"


def table(results: Mapping[str, Any], names: Sequence[str]) -> str:
    """Wall seconds / CPU seconds / peak MiB; one row an operation, one column an installation."""
    rows = [["", *names]]
    for kind, operations in (("cold", COLD), ("warm", WARM)):
        for operation in operations:
            own = dict.fromkeys(names, operation)
            if operation == "encode -e 5":
                own[AVIF] = "encode"
            rows.append([f"{kind} {operation}", *(cell(results[kind].get(f"{name}/{own[name]}")) for name in names)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    python_help = "an interpreter with a vqcodec installed; may be repeated"
    parser.add_argument("--python", action="append", required=True, metavar="NAME=PATH", help=python_help)
    parser.add_argument("--pillow", metavar="PATH", help="an interpreter with Pillow alone; without it, no AVIF")
    parser.add_argument("--picture", type=Path, required=True, help="a PNG")
    parser.add_argument("--repeat", type=int, default=9)
    parser.add_argument("--threads", type=int, help="cores, and OpenMP and BLAS threads, of the cold commands")
    parser.add_argument("--out", type=Path, required=True, help="JSON")
    options = parser.parse_args()
    if not all("=" in entry for entry in options.python):
        parser.error("--python takes NAME=PATH")
    return options


def measure(pythons: Mapping[str, str], options: argparse.Namespace, folder: str) -> dict[str, Any]:
    """Makes the files that all read, then runs everything."""
    picture = str(options.picture.resolve())
    settings = environment(options.threads)
    cores = sorted(os.sched_getaffinity(0))[: options.threads] if hasattr(os, "sched_getaffinity") else []
    if cores:
        os.sched_setaffinity(0, cores)  # children inherit it
    first = str(Path(next(iter(pythons.values()))).parent / "vqcodec")
    run_cold([first, "encode", picture, f"{folder}/shared.vqc"], settings)
    if options.pillow:
        run_cold(own_child(options.pillow, "avif", "encode", picture, "", f"{folder}/shared.avif"), settings)
    sizes = {p.name: p.stat().st_size for p in Path(folder).iterdir()}

    before_s, begun = others_s(cores), time.perf_counter()
    cold = measure_cold(cold_commands(pythons, options.pillow, picture, folder), settings, options.repeat)
    if cores:
        os.sched_setaffinity(0, cores[:1])
    children = {name: own_child(python, "warm", picture, f"{folder}/shared.vqc") for name, python in pythons.items()}
    if options.pillow:
        children[AVIF] = own_child(options.pillow, "avif-warm", picture, f"{folder}/shared.avif")
    warm, failed = measure_warm(children, environment(1), options.repeat)
    others_percent = 100 * (others_s(cores) - before_s) / (time.perf_counter() - begun)
    return {
        "cores_used": cores,
        "others_percent": round(others_percent, 1),  # of one core, on the cores used
        "files_bytes": sizes,
        "cold": summary(cold),
        "warm": summary(warm),
        "failed": failed,
    }


def main() -> None:
    options = parse()
    pythons = dict(entry.split("=", 1) for entry in options.python)
    interpreters = pythons | ({AVIF: options.pillow} if options.pillow else {})
    installations = {
        name: json.loads(subprocess.check_output(own_child(python, "describe"), env=environment(None), text=True))
        for name, python in interpreters.items()
    }
    with tempfile.TemporaryDirectory() as folder:
        measured = measure(pythons, options, folder)
    picture = options.picture.read_bytes()
    result = {
        "command": shlex.join(["python", "-m", "benchmarks.speed.cold", *sys.argv[1:]]),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "picture": {"file": str(options.picture), "bytes": len(picture), "sha256": hashlib.sha256(picture).hexdigest()},
        "threads": options.threads,
        "repeat": options.repeat,
        "avif": AVIF_SETTINGS,
        "installations": installations,
        **measured,
    }
    options.out.write_text(json.dumps(result, indent=1))
    print(table(measured, list(interpreters)))
    print("wall s / CPU s / peak MiB, medians; ", *(f"{k}: {v} bytes" for k, v in measured["files_bytes"].items()))
    for name, found in installations.items():
        total, rest = (found[f"site_packages_bytes{end}"] / 1e6 for end in ("", "_without_torch"))
        print(f"{name}: site-packages {total:.0f} MB, without torch's own folders {rest:.0f} MB")
    for key, reason in measured["failed"].items():
        print(f"failed: {key}: {reason}")
    print(f"other processes used {measured['others_percent']} % of a core meanwhile; written: {options.out}")


if __name__ == "__main__":
    main()
