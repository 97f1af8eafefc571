"""A section of a config that is one of several dataclasses."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

from gptjax.errors import UserError


class Variant:
    """A section that is one of several dataclasses: its key ``kind`` says which.

    The class of the section derives from this one. A dataclass that derives from the section's
    class is one of its kinds as soon as its module is imported.
    """

    kind: str
    section: ClassVar[str]  # its name, for messages
    called: ClassVar[str]  # how messages call a section of this kind: "an LSTM"
    ignored: ClassVar[tuple[str, ...]] = ()  # of other kinds, which a table may have with any value

    @classmethod
    def kinds(cls) -> "dict[str, type[Variant]]":
        """All dataclasses of the section, by kind."""
        section: type[Variant] = next(one for one in cls.__mro__ if Variant in one.__bases__)
        return {one.kind: one for one in section.__subclasses__()}

    @classmethod
    def of_kind(cls, kind: Any) -> "type[Variant]":
        """The dataclass of a kind, which is any value that a file or a person gives."""
        kinds = cls.kinds()
        if not isinstance(kind, str) or kind not in kinds:
            known = ", ".join(map(repr, sorted(kinds)))
            raise UserError(f"{cls.section}.kind = {kind!r}; one of {known}")
        return kinds[kind]

    @classmethod
    def refuse_other(cls, key: str, shown: str) -> None:
        """Refuse a setting that only other kinds have; the message shows it as ``shown``."""
        if owners := cls._other_owners(key):
            kinds = " or ".join(sorted(owner.kind for owner in owners))
            raise UserError(
                f"{shown}: {cls.called} has no such thing; leave it out, or take "
                f"{cls.section}.kind {kinds}"
            )

    @classmethod
    def is_idle(cls, key: str, typed: str) -> bool:
        """Whether a typed setting is another kind's, and is ignored or at its default."""
        defaults = [str(getattr(owner, key)) for owner in cls._other_owners(key)]
        return bool(defaults) and (key in cls.ignored or typed in defaults)

    @classmethod
    def without_others(cls, table: Mapping[str, Any]) -> dict[str, Any]:
        """The table without settings that only other kinds have.

        Older files hold the settings of all kinds, so those at a default are left out, and
        the `ignored` ones. Any other one is refused.
        """
        left = {}
        for key, value in table.items():
            defaults = [getattr(owner, key) for owner in cls._other_owners(key)]
            if not defaults:
                left[key] = value
            elif key not in cls.ignored and value not in defaults:
                cls.refuse_other(key, f"{cls.section}.{key} {str(value).lower()}")
        return left

    def as_kind(self, kind: str) -> "Variant":
        """The section of another kind, with the settings that both have.

        One that is None here is left to a kind which has something else by default.
        """
        cls = self.of_kind(kind)
        if cls is type(self):
            return self
        left = cls.without_others({**vars(self), "kind": kind})
        usual = _fields(cls)
        return cls(**{name: usual[name] if x is None else x for name, x in left.items()})

    @classmethod
    def _other_owners(cls, key: str) -> "list[type[Variant]]":
        """The other kinds that have this setting, each with a default of its own; none if this one
        has it, too."""
        if key in _fields(cls):
            return []
        return [one for one in cls.kinds().values() if key in _fields(one)]


def _fields(cls: type[Any]) -> dict[str, Any]:
    """The defaults of its settings."""
    return {field.name: field.default for field in dataclasses.fields(cls)}
