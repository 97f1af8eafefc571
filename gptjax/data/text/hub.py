"""Documents from a dataset on the hub, or from a local folder with the hub's layout."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import datasets
from huggingface_hub import HfApi

from gptjax.data.tables.format import Row, TableFormat
from gptjax.data.tables.lines import EncodingErrors, FileReading
from gptjax.data.text.documents import COLUMN_HINT, Digest, Document, hash_files, row_text
from gptjax.errors import UnreachableError, UserError

# What people call each part, most usual first.
SPLITS = {"train": ("train",), "validation": ("validation", "valid", "dev", "test")}
TIMEOUT_SECONDS = 10.0


class HubSource:
    """One split of a dataset on the hub, streamed: `hub:ID[:CONFIG][@REVISION]`.

    ID may be a local folder with the layout of a hub dataset. The revision is resolved to a
    commit once, so that everything read afterwards is that commit's.
    """

    total_bytes: int | None = None

    def __init__(
        self, data: str, text_column: str, encoding_errors: EncodingErrors, split: str
    ) -> None:
        self.name = data
        self.left_out: Mapping[str, int] = {}
        self._format = TableFormat(
            None, FileReading(errors=encoding_errors), text_column, hint=COLUMN_HINT
        )
        identifier, _, revision = data.removeprefix("hub:").partition("@")
        self._id, _, config = identifier.partition(":")
        if not self._id:
            raise UserError(f"`data={data}`: no dataset named; write hub:ID[:CONFIG][@REVISION]")
        self._id, self._revision, self._content = locate(self._id, revision or None, data)
        self._config, self._split = self._choose(config, split)

    def fingerprint(self) -> str:
        """What fixes the content: the commit (the files' hash, if local), config and split."""
        return f"{self._content}:{self._config}:{self._split}"

    def digest(self) -> Digest:
        """The fingerprint, for all purposes."""
        return Digest(self.fingerprint(), self.fingerprint())

    def documents(self) -> Iterator[Document]:
        """One document per row, in the dataset's order."""
        with asking(self.name):
            rows = datasets.load_dataset(
                self._id, self._config, split=self._split, revision=self._revision, streaming=True
            )
            name = f"{self.name} {self._split}"
            for number, cells in enumerate(rows):
                text = row_text(Row(f"{name}: row {number}", cells), self._format)
                yield Document(name, iter([text]))

    def _choose(self, config: str, split: str) -> tuple[str, str]:
        with asking(self.name):
            configs = datasets.get_dataset_config_names(self._id, revision=self._revision)
            if config and config not in configs:
                raise self._none(f"no configuration {config!r}", configs)
            if not config and len(configs) > 1 and "default" not in configs:
                raise self._none("choose a configuration with hub:ID:CONFIG", configs)
            config = config or ("default" if "default" in configs else configs[0])
            splits = datasets.get_dataset_split_names(self._id, config, revision=self._revision)
        for name in SPLITS[split]:
            if name in splits:
                return config, name
        raise self._none(f"no {split} split", splits)

    def _none(self, problem: str, names: list[str]) -> UserError:
        there = ", ".join(map(repr, names))
        return UserError(f"`data={self.name}`: {problem}; it has {there}")


def locate(identifier: str, revision: str | None, name: str) -> tuple[str, str | None, str]:
    """Where a dataset is loaded from, and what fixes its content.

    That is the id or folder; the commit that the revision stands for (None of a folder); and that
    commit, or a hash of the folder's files. ``name`` is what the user called it.
    """
    local = Path(identifier).expanduser()
    if local.is_dir():
        files = sorted(file for file in local.rglob("*") if file.is_file())
        return str(local), None, hash_files(local, files)
    # Asked first and once: the loader itself tries for 23 s before it gives up.
    with asking(name):
        info = HfApi().dataset_info(identifier, revision=revision, timeout=TIMEOUT_SECONDS)
    return identifier, str(info.sha), str(info.sha)


@contextmanager
def asking(name: str) -> Iterator[None]:
    """What is done with a dataset on the hub; tells a user why it fails, whatever it is."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        # What lies below (the loader, the hub's client, its HTTP client) raises types of its own
        # that change between versions, and none of them is our bug.
        # Their backticks are no settings of ours.
        reason = " ".join(str(error).replace("`", "'").split())[:200] or type(error).__name__
        raise UnreachableError(
            f"`data={name}`: the hub's dataset cannot be read ({type(error).__name__}: "
            f"{reason}); check the name and the network, or give a local file or folder"
        ) from error
