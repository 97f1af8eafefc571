"""What is installed: from a wheel, which knows no clone, and in place."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = ("gptjax", "experiments", "setup.cfg", "pyproject.toml", "README.md", "LICENSE")
# A model of few parameters on little text; otherwise the preset.
LITTLE = ("--model.vocabulary-size", "300", "--train.steps", "4", "--tracking.no-tensorboard")


def python(*words: str | Path, cwd: Path, **more: str) -> str:
    """What a Python process prints; one that fails shows all of it."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, *map(str, words)],
        cwd=cwd,
        env={**kept, "HF_HUB_OFFLINE": "1", **more},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def build(kind: str, project: Path, out: Path) -> Path:
    """The file that setuptools makes of a project, as pip would, without the network."""
    out.mkdir()
    call = f"from setuptools import build_meta; build_meta.build_{kind}({str(out)!r})"
    python("-c", call, cwd=project)
    (made,) = out.iterdir()
    return made


def version(made: Path) -> str:
    """The version in the name of a wheel or a source distribution."""
    found = re.match(r"gptjax-([^-]+)(-py3|\.tar)", made.name)
    assert found
    return found[1]


def git(*words: str, cwd: Path) -> None:
    author = ("-c", "user.name=x", "-c", "user.email=x@x", "-c", "init.defaultBranch=main")
    subprocess.run(["git", *author, *words], cwd=cwd, check=True, capture_output=True)


@pytest.fixture(scope="module")
def copy(tmp_path_factory) -> Path:
    """The project's files without git's history, in a folder called gptjax."""
    folder = tmp_path_factory.mktemp("copy") / "gptjax"
    folder.mkdir()
    for name in SOURCES:
        if (ROOT / name).is_dir():
            junk = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=junk)
        else:
            shutil.copy(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def source_distribution(copy, tmp_path_factory) -> Path:
    """Built from a clone without tags."""
    clone = tmp_path_factory.mktemp("clone") / "gptjax"
    shutil.copytree(copy, clone, symlinks=True)
    git("init", cwd=clone)
    git("add", ".", cwd=clone)
    git("commit", "-m", "x", cwd=clone)
    return build("sdist", clone, clone.parent / "dist")


@pytest.fixture(scope="module")
def wheel(source_distribution, tmp_path_factory) -> Path:
    """Built from the source distribution."""
    folder = tmp_path_factory.mktemp("source")
    with tarfile.open(source_distribution) as archive:
        archive.extractall(folder, filter="data")
    (project,) = folder.iterdir()
    return build("wheel", project, folder / "dist")


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Callable[..., str]:
    """Run `gptjax` from the wheel in an empty folder; the clone is not what is imported."""
    target, empty = tmp_path_factory.mktemp("target"), tmp_path_factory.mktemp("empty")
    words = ("-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target")
    python(*words, target, wheel, cwd=empty)
    environment = {
        "PYTHONPATH": str(target),
        "GPTJAX_CACHE": str(target / "cache"),
        "JAX_PLATFORMS": "cpu",
        "COLUMNS": "90",
    }
    where = python("-c", "import gptjax; print(gptjax.__file__)", cwd=empty, **environment)
    assert where.strip() == str(target / "gptjax" / "__init__.py")
    return lambda *words: python("-m", "gptjax", *words, cwd=empty, **environment)


def test_the_wheel_has_the_package_whole_and_nothing_else(wheel, copy):
    package = (path for path in (copy / "gptjax").rglob("*") if path.is_file())
    wanted = {path.relative_to(copy).as_posix() for path in package}
    assert {"gptjax/configs/tiny.toml", "gptjax/py.typed"} < wanted
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        assert names == wanted
        tiny = archive.read("gptjax/configs/tiny.toml")
    assert tiny == (copy / "gptjax/configs/tiny.toml").read_bytes()


def test_the_links_of_the_experiments_survive_a_source_distribution(source_distribution, copy):
    with tarfile.open(source_distribution) as archive:
        (link,) = (n for n in archive.getnames() if n.endswith("/experiments/configs/tiny.toml"))
        content = archive.extractfile(link)
        assert content is not None
        assert content.read() == (copy / "gptjax/configs/tiny.toml").read_bytes()


def test_versions(copy, wheel, source_distribution, tmp_path):
    """A clone without tags counts its commits; a copy without git has the version of the line."""
    assert version(wheel) == version(source_distribution)
    assert re.fullmatch(r"0\.1\.1\.dev1\+g[0-9a-f]+", version(wheel))
    assert version(build("wheel", copy, tmp_path / "dist")) == "0.1.0"


def test_what_the_wheel_says_of_itself(installed, wheel):
    assert installed("--version").strip() == version(wheel)
    options = installed("pretrain", "--config", "tiny", "--help", "all")
    assert re.search(r"--model\.width N\b[^-]*\(default: 128\)", options)


def test_an_editable_install_serves_in_the_parent_of_a_clone_called_gptjax(copy, tmp_path):
    """Python finds the clone itself first there, as a package of nothing."""
    with zipfile.ZipFile(build("editable", copy, tmp_path / "dist")) as archive:
        archive.extractall(tmp_path / "site")
    look = "import gptjax; print(gptjax.__version__, gptjax.__file__)"
    add = f"import site; site.addsitedir({str(tmp_path / 'site')!r})"
    found = python("-S", "-c", f"{add}; {look}", cwd=copy.parent)
    assert found.split() == ["0.1.0", str(copy / "gptjax" / "__init__.py")]


@pytest.mark.slow
def test_a_wheel_alone_trains_and_reports(installed, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("\n\n".join(f"The {n} houses stand by the river." * 9 for n in range(400)))
    out = installed("pretrain", "--config", "tiny", "--data", str(text), *LITTLE)
    assert "run folder: runs/pretrain/tiny" in out
    out = installed("finetune", "--task", "snli", "--data", "sample", "--train.steps", "2")
    assert "run folder: runs/finetune/snli/tiny" in out
    page = tmp_path / "page.html"
    installed("report", "--runs", "runs", "--out", str(page))
    assert "snli" in page.read_text(encoding="utf-8")
