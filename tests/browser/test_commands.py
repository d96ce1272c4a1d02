"""`vqcodec view` and `vqcodec models web`."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from http.client import HTTPConnection
from pathlib import Path

from click.testing import CliRunner
from support import FIXTURES, ROOT, TINY, maker
from vqcodec.cli.main import main
from vqcodec.models.weights_file import model_id
from vqcodec.view import decoder_weights, write_web


def test_web_writes_what_a_page_needs(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["models", "web", str(tmp_path / "site"), "-m", str(TINY)])
    assert done.exit_code == 0, done.output
    names = {path.name for path in (tmp_path / "site").iterdir()}
    assert names >= {"vqc.js", "worker.js", "kernels.wasm", "kernels-relaxed.wasm", "vqc.d.ts", "weights"}
    assert names - {"weights"} == {path.name for path in (ROOT / "browser/src").iterdir()}


def test_weights_without_the_encoder_have_the_same_id() -> None:
    from safetensors.numpy import load

    name, data = decoder_weights(str(TINY))
    tensors = load(data)
    assert not any(key.startswith(("analysis.", "encoder.", "bottleneck.")) for key in tensors)
    assert model_id(tensors, maker.TINY.to_dict()).hex() == name
    assert len(data) < TINY.stat().st_size


def test_a_model_that_is_not_there_leaves_nothing(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["models", "web", str(tmp_path / "site"), "-m", "nobody"])
    assert done.exit_code == 1
    assert "no model named 'nobody'" in done.output
    assert not (tmp_path / "site").exists()


def test_view_says_what_is_wrong(tmp_path: Path) -> None:
    for source, reason in ((tmp_path / "none", "no such file or folder"), (tmp_path, "no .vqc files in this folder")):
        done = CliRunner().invoke(main, ["view", "--no-open", str(source)])
        assert (done.exit_code, done.output.count("\n")) == (1, 1)
        assert reason in done.output


def test_view_serves_its_files_to_this_machine_alone() -> None:
    command = [sys.executable, "-m", "vqcodec.cli", "view", "--no-open", str(FIXTURES / "rgb.vqc")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            found = re.search(r"127\.0\.0\.1:(\d+)", line)
            assert found is not None, line

            def get(path: str, host: str = f"127.0.0.1:{found[1]}") -> tuple[int, bytes]:
                connection = HTTPConnection("127.0.0.1", int(found[1]), timeout=10)
                connection.putrequest("GET", path, skip_host=True)
                connection.putheader("Host", host)
                connection.endheaders()
                answer = connection.getresponse()
                return answer.status, answer.read()

            assert get("/files/0/rgb.vqc") == (200, (FIXTURES / "rgb.vqc").read_bytes())
            assert get("/demo/index.html")[0] == 200
            for path in (
                "/files/1/rgb.vqc",
                "/etc/passwd",
                "/vqc/../__init__.py",
                "/demo/%2e%2e/package.json",
                f"/weights/{'0' * 16}.safetensors",
            ):
                assert get(path)[0] == 404, path
            assert get("/files/0/rgb.vqc", "evil.example")[0] == 403
        finally:
            process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0


def test_what_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = CliRunner().invoke(main, ["models", "web", str(tmp_path / "file" / "below"), "-m", str(TINY)])
    assert done.exit_code == 1
    assert done.output.count("\n") == 1
    assert write_web(tmp_path / "again", str(TINY)) == write_web(tmp_path / "again", str(TINY))
