"""Weights, files and checkpoints hold numbers and no code: nothing is unpickled when they are read."""

from __future__ import annotations

import ast
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from support import FIXTURES, ROOT, TINY, maker, picture
from vqcodec.cli.main import main
from vqcodec.training.loop import Phase, Trainer

PACKAGES = (ROOT / "bitstream" / "vqbitstream", ROOT / "codec" / "vqcodec")
MODULES = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
CALLS = {"eval", "exec", "compile", "__import__"}
LOADERS = {"torch.load", "np.load", "numpy.load", "torch.jit.load", "torch.package"}

REFUSING = """
import _pickle, pickle, sys

def refuse(*_, **__):
    raise AssertionError("something is unpickled")

class Refusing:
    dispatch: dict = {}
    __init__ = refuse

for module in (pickle, _pickle):
    module.load = module.loads = refuse
    module.Unpickler = Refusing
pickle._Unpickler = Refusing
pickle._load = pickle._loads = refuse
sys.addaudithook(lambda event, _: refuse() if event == "pickle.find_class" else None)

import numpy, torch
torch.load = torch.serialization.load = torch.jit.load = numpy.load = refuse
"""
READING = """
from pathlib import Path
from click.testing import CliRunner
import vqcodec
from vqcodec.cli.main import main
from vqcodec.codec import Codec

tiny, files, checkpoint, pictures = map(Path, sys.argv[1:])
for runtime in ("numpy", "torch"):
    codec = Codec(tiny, runtime=runtime)
    for file in sorted(files.glob("*.vqc")):
        codec.verify(file.read_bytes())
        codec.decode(file)
        vqcodec.info(file)
vqcodec.decode(vqcodec.encode(numpy.zeros((40, 40, 3), numpy.uint8), effort=5))
done = CliRunner().invoke(main, ["models", "add", str(tiny), "--name", "added"])
assert done.exit_code == 0, done.output
assert "added: " in CliRunner().invoke(main, ["models"]).output

from vqcodec.training.run import RunOptions, train_model

options = RunOptions(minutes=0.001, out=Path("run"), resume=checkpoint, batch=1, crop=64, threads=1)
said = []
assert train_model([pictures], options, None, said.append).exists()
"""


def test_reading_files_weights_and_checkpoints_unpickles_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VQCODEC_MODELS", str(tmp_path / "models"))
    shown = [torch.from_numpy(picture(200, 180)).permute(2, 0, 1).contiguous()]
    trainer = Trainer(shown, maker.TINY, [Phase("noise", 1.0)], tmp_path / "run.ckpt", batch=1, crop_px=64)
    trainer.start()
    trainer.train_step(trainer.plan[0])  # or the optimiser has nothing to keep
    trainer.save()
    Image.fromarray(picture(200, 180)).save(tmp_path / "photo.png")
    program = [sys.executable, "-c", REFUSING + READING]
    given = [str(TINY), str(FIXTURES), str(tmp_path / "run.ckpt"), str(tmp_path / "photo.png")]
    done = subprocess.run([*program, *given], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_test_above_would_notice(tmp_path: Path) -> None:
    tries = [
        "pickle.loads(pickle.dumps(1))",
        "_pickle.loads(pickle.dumps(print))",
        "pickle.Unpickler(open('x', 'rb')).load()",
        "torch.load('x')",
        "numpy.load('x', allow_pickle=True)",
    ]
    (tmp_path / "x").write_bytes(pickle.dumps(1))
    noticing = "".join(
        f"""
try:
    {unpickling}
except AssertionError:
    print("noticed")
"""
        for unpickling in tries
    )
    program = [sys.executable, "-c", REFUSING + noticing]
    done = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["noticed"] * len(tries)


class Payload:
    """What runs code when it is unpickled: it makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple[object, ...]:
        return (os.mkdir, (self.path,))


@pytest.mark.parametrize("form", ["pickle", "torch"])
@pytest.mark.parametrize(
    "arguments",
    [["decode"], ["info"], ["models", "add"], ["encode", "photo.png", "-f", "-m"], ["train", "photo.png", "--minutes", "1", "--resume"],
     ["train", "photo.png", "--minutes", "1", "--from"]],
)  # fmt: skip
def test_a_pickle_in_place_of_a_file_is_refused_in_one_line_and_does_not_run(
    arguments: list[str], form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VQCODEC_MODELS", str(tmp_path / "models"))
    Image.fromarray(picture(100, 90)).save("photo.png")
    bait, ran = tmp_path / "bait.safetensors", tmp_path / "ran"
    if form == "pickle":
        bait.write_bytes(pickle.dumps(Payload(ran)))
    else:
        torch.save(Payload(ran), bait)
    done = CliRunner().invoke(main, [*arguments, str(bait)])
    assert done.exit_code == 1
    assert done.stderr.count("\n") == 1
    assert not ran.exists()
    with bait.open("rb") as file:
        torch.load(file, weights_only=False) if form == "torch" else pickle.load(file)
    assert ran.exists()  # it was no dud


def dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


@pytest.mark.parametrize("package", PACKAGES, ids=lambda p: p.name)
def test_no_module_can_unpickle_or_run_what_it_reads(package: Path) -> None:
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names = {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names = {node.module or ""}
            elif isinstance(node, ast.Call):
                name = dotted(node.func)
                assert name not in CALLS | LOADERS, f"{path}:{node.lineno}"
                assert "allow_pickle" not in {keyword.arg for keyword in node.keywords}, f"{path}:{node.lineno}"
                continue
            else:
                continue
            assert not MODULES & {name.split(".")[0] for name in names}, f"{path}:{node.lineno}"
