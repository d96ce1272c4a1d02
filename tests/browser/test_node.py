"""The browser's decoder in Node: `npm test`, and the committed kernels against their source."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from fuzz.readers import Run
from fuzz.weights import FRAGMENTS, KINDS, Weights, hostile
from support import ROOT
from support.loud import LOUD, loud_tensors

BROWSER = ROOT / "browser"
NODE = shutil.which("node")
MOST_BYTES = 60_000  # gzipped, of what a page fetches
MOST_SECONDS = 2.0  # of processor time, for a weights file that is refused
ENCODER_ALONE = [  # what a decoder leaves unread
    kind
    for kind in KINDS
    if kind.startswith(("bottleneck:", "tables: step", "tables: more", "tables: 255", "tables: no layers"))
    or kind in ("floats: sigma negative", "floats: just beyond half", "names: 8,000 of them", "types: truth values")
    or kind in ("names: 'encoder.more'", "names: 'analysis.more'")
]


@pytest.mark.skipif(NODE is None, reason="no Node")
def test_the_modules_pass_their_tests() -> None:
    assert NODE is not None
    tests = sorted(str(path) for path in (BROWSER / "test").glob("*.test.js"))
    done = subprocess.run([NODE, "--test", *tests], cwd=BROWSER, capture_output=True, text=True, check=False)
    failures = [line for line in done.stdout.splitlines() if line.strip().startswith(("not ok", "error:", "# fail"))]
    assert done.returncode == 0, "\n".join(failures[:20]) or done.stderr


@pytest.mark.skipif(NODE is None, reason="no Node")
def test_python_and_node_agree_about_mutated_files() -> None:
    run = Run(2, None)
    run.window(300)
    run.node.close()
    assert run.state["findings"] == {}
    assert run.state["counts"]["decoded"] > 10


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no GCC")
def test_the_kernels_keep_to_their_buffers() -> None:
    command = ["sh", str(BROWSER / "kernels/sanitized/run.sh"), "200"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "cannot find -lasan" in done.stderr or "unrecognized" in done.stderr:
        pytest.skip("GCC without sanitizers")
    assert (done.returncode, done.stdout) == (0, "200 rounds\n"), done.stderr[-2000:]


@pytest.mark.skipif(NODE is None, reason="no Node")
def test_hostile_weights_are_refused(tmp_path: Path) -> None:
    assert NODE is not None
    sizes, tensors = LOUD.to_dict() | {"groups": list(LOUD.groups)}, loud_tensors()
    kinds = [*FRAGMENTS, *KINDS]
    for number, kind in enumerate(kinds):
        (tmp_path / str(number)).write_bytes(hostile(kind, tensors, sizes))
    (tmp_path / "sound").write_bytes(Weights(tensors, sizes).pack())
    command = [NODE, "--max-old-space-size=256", str(BROWSER / "test" / "weights.js"), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = {line["name"]: line for line in map(json.loads, done.stdout.splitlines())}
    assert found.pop("sound")["outcome"] == "loaded"
    assert len(found) == len(kinds)
    for number, kind in enumerate(kinds):
        outcome, seconds = found[str(number)]["outcome"], found[str(number)]["seconds"]
        ours = outcome.startswith("ModelError: ") and "\n" not in outcome
        assert ours or (outcome == "loaded" and kind in ENCODER_ALONE), f"{kind}: {outcome}"
        assert seconds < MOST_SECONDS, f"{kind}: {seconds} s"


@pytest.mark.skipif(find_spec("ziglang") is None, reason="no zig (pip install ziglang==0.17.1)")
def test_the_kernels_are_what_their_source_compiles_to(tmp_path: Path) -> None:
    environment = {"ZIG": f"{sys.executable} -m ziglang", "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    subprocess.run(["sh", str(BROWSER / "kernels/build.sh"), str(tmp_path)], env=environment, check=True)
    for name in ("kernels.wasm", "kernels-relaxed.wasm"):
        assert (tmp_path / name).read_bytes() == (BROWSER / "src" / name).read_bytes(), name


def test_no_module_imports_a_package() -> None:
    for path in [*BROWSER.glob("src/*.js"), *BROWSER.glob("demo/*.js")]:
        for line in path.read_text().splitlines():
            if line.startswith(("import ", "export * from", "} from")) and "from" in line:
                assert '"./' in line or '"../' in line, f"{path.name}: {line}"


def test_the_code_is_small() -> None:
    import gzip

    files = [*BROWSER.glob("src/*.js"), BROWSER / "src/kernels.wasm"]  # one of the variants of the kernels
    assert sum(len(gzip.compress(path.read_bytes(), 9)) for path in files) < MOST_BYTES
