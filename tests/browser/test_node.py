"""The browser's decoder in Node: `npm test`, and the committed kernels against their source."""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from fuzz.readers import Run
from support import ROOT

BROWSER = ROOT / "browser"
NODE = shutil.which("node")
MOST_BYTES = 60_000  # gzipped, of what a page fetches


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
