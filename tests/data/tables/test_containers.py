"""Files in a `.zip`, and `.zst`: read as streams, and refused in one line."""

import gzip
import io
import tracemalloc
import zipfile

import pyarrow as pa
import pytest
import zstandard
from pyarrow import parquet

from gptjax.data.tables.containers import STEP_BYTES
from gptjax.data.tables.files import open_bytes
from gptjax.data.tables.format import TableFormat
from gptjax.data.tables.reader import read_table
from gptjax.data.tasks.examples import read_split
from gptjax.data.tasks.load import load_task_data
from gptjax.data.tasks.table import TASKS
from gptjax.data.tasks.task_file import parse_task
from gptjax.data.text.sources import open_source
from gptjax.errors import UserError

CSV = b'text,label\n"one",1\ntwo,0\n'
FORMAT = TableFormat(known=frozenset({"text"}))
TASK = TASKS["sst2"]


def archive(path, method=zipfile.ZIP_DEFLATED, **files):
    """A `.zip` of files, whose names have `__` for a dot and `_S_` for a slash."""
    with zipfile.ZipFile(path, "w", method) as packed:
        for name, content in files.items():
            packed.writestr(name.replace("_S_", "/").replace("__", "."), content)
    return path


def rows(path):
    return [(row.where, dict(row.cells)) for row in read_table(path, FORMAT)]


def texts(path):
    return ["".join(document.chunks) for document in open_source(str(path)).documents()]


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])
@pytest.mark.parametrize("name", ["a.csv.zip", "a.zip", "a.csv"])
def test_the_only_file_of_an_archive(tmp_path, name, method):
    path = archive(tmp_path / name, method, inner__csv=CSV, __DS_Store=b"x", d_S___x=b"x")
    with zipfile.ZipFile(path, "a") as packed:
        packed.writestr("__MACOSX/._inner.csv", b"x")
        packed.mkdir("folder")
    expected = {"text": "one", "label": "1"}
    assert rows(path)[0] == (f"{path}: line 2", expected)
    assert texts(path) == ["one", "two"]
    split = read_split(path, TASK, "train")
    assert [(e.texts, e.target) for e in split.examples] == [(("one",), 1), (("two",), 0)]
    assert load_task_data((str(path),), TASK).splits["train"].examples == split.examples


def test_a_column_alone_is_csv_if_the_name_inside_says_so(tmp_path):
    path = archive(tmp_path / "a.zip", b__csv=b'text\n"a, b"\n')
    assert rows(path)[0][1] == {"text": "a, b"}


def test_one_of_several_files_is_named(tmp_path):
    path = archive(tmp_path / "a.zip", one__csv=CSV, d_S_two__csv=CSV.replace(b"one", b"six"))
    with pytest.raises(
        UserError, match=r"a\.zip: an archive of 2 files \('one\.csv', 'd/two\.csv"
    ) as no:
        rows(path)
    assert str(no.value).endswith(f"name one of them, such as {path}/one.csv")
    two = path / "d" / "two.csv"
    assert rows(two)[0] == (f"{two}: line 2", {"text": "six", "label": "1"})
    assert texts(two) == ["six", "two"]
    data = load_task_data((f"train={path}/one.csv", f"valid={two}"), TASK)
    train, valid = data.splits["train"], data.splits["valid"]
    assert (train.examples[0].texts, valid.examples[0].texts) == (("one",), ("six",))
    assert train.fingerprint != valid.fingerprint
    sources = [open_source(f"{path}/{name}") for name in ("one.csv", "d/two.csv")]
    assert len({source.digest().content for source in sources}) == 2
    with pytest.raises(
        UserError, match=r"a\.zip/x\.csv: the archive has no such file; it has 'one"
    ):
        read_split(path / "x.csv", TASK, "train")
    task = parse_task(
        'format = "classification"\nlabels = ["0", "1"]\nfiles.train = "a.zip/d/two.csv"', "t", "t"
    )
    data = load_task_data((), task, folder=tmp_path)
    assert data.splits["train"].examples[0].texts == ("six",)


def test_archives_in_a_folder_are_read_if_there_is_nothing_else(tmp_path):
    archive(tmp_path / "a.zip", x__csv=CSV)
    archive(tmp_path / "b.zip", x__csv=CSV, y__csv=CSV)
    source = open_source(str(tmp_path))
    assert (texts(tmp_path), source.left_out) == (
        ["one", "two"],
        {"files of other kinds (.zip)": 1},
    )
    assert source.total_bytes is None
    (tmp_path / "z.txt").write_text("z")
    source = open_source(str(tmp_path))
    assert (texts(tmp_path), source.left_out) == (["z"], {"files of other kinds (.zip)": 2})


def test_archives_that_cannot_be_read_are_one_line(tmp_path):
    path = archive(tmp_path / "a.zip")
    with pytest.raises(UserError, match=r"a\.zip: an archive without a file"):
        rows(path)
    path = archive(path, x__csv=CSV * 20)
    whole = path.read_bytes()
    place = whole.index(b"x.csv") + len("x.csv") + 3
    broken = {
        "cut": whole[:-30],
        "flipped": whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :],
        "method": whole.replace(b"\x08\x00", b"\x09\x00"),
        "encrypted": whole.replace(b"\x14\x00\x00\x00", b"\x14\x00\x01\x00"),
    }
    for what, content in broken.items():
        path.write_bytes(content)
        message = "x.csv is encrypted; unpack" if what == "encrypted" else "damaged or cut off"
        with pytest.raises(UserError, match=message) as refused:
            rows(path)
        assert str(refused.value).startswith(f"{path}: ")
        assert "\n" not in str(refused.value)
    path.unlink()
    with pytest.raises(UserError, match=r"a\.zip/x\.csv: no such file"):
        read_split(path / "x.csv", TASK, "train")


def test_packed_twice(tmp_path):
    path = archive(tmp_path / "a.zip", x__csv__gz=gzip.compress(CSV))
    assert [cells["text"] for _, cells in rows(path)] == ["one", "two"]


def test_parquet_in_a_container(tmp_path):
    content = io.BytesIO()
    parquet.write_table(pa.table({"text": ["one", "two"]}), content)
    packed = {
        archive(tmp_path / "a.zip", x__parquet=content.getvalue()): None,
        tmp_path / "a.parquet.gz": gzip.compress(content.getvalue()),
    }
    for path, bytes_ in packed.items():
        if bytes_ is not None:
            path.write_bytes(bytes_)
        assert rows(path) == [
            (f"{path}: row 1", {"text": "one"}),
            (f"{path}: row 2", {"text": "two"}),
        ]
        assert texts(path) == ["one", "two"]


def test_zst_is_read_as_a_stream_with_any_window(tmp_path):
    """Also where the option --long was used, in several frames, and with little memory."""
    path, line = tmp_path / "a.txt.zst", b"a line that is often there\n"
    settings = zstandard.ZstdCompressionParameters(window_log=31)
    compressor = zstandard.ZstdCompressor(compression_params=settings)
    path.write_bytes(compressor.compress(line * 800_000) + compressor.compress(b"end"))
    tracemalloc.start()
    with open_bytes(path) as stream:
        count = 0
        while block := stream.read(1 << 20):
            count += len(block)
        most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 800_000 * len(line) + 3
    assert most < count / 2


@pytest.mark.parametrize("lost", [1, 5, STEP_BYTES])
def test_zst_without_its_end(tmp_path, lost):
    path = tmp_path / "a.csv.zst"
    content = zstandard.compress(b"text\n" + b"".join(b"%d\n" % n**3 for n in range(9000)))
    path.write_bytes(content[:-lost])
    with pytest.raises(UserError, match=r"a\.csv\.zst: damaged or cut off, as zstd \(the end is"):
        rows(path)
