"""Whether all processes of a run were started alike, before they train together."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence

from gptjax.errors import DifferentProcessesError
from gptjax.training import parallel


def check_same(values: Mapping[str, str]) -> None:
    """See to it that every process has the same ``values``, by name, as process 0.

    Every process calls this at the same point, before any collective whose shape depends on what
    is compared. The shape of the first collective here is the same whatever the values are.

    Raises:
        DifferentProcessesError: on every process; it names the processes and what differs.
    """
    if not parallel.is_one_of_several():
        return
    counts = parallel.devices_of_processes()
    for index, count in enumerate(counts):
        if count != counts[0]:
            raise DifferentProcessesError(
                f"process {index} has {count} devices, and process 0 has {counts[0]}; give every "
                "process the same number of devices"
            )
    encoded = json.dumps(values, sort_keys=True).encode()
    heads = parallel.gather_bytes(
        hashlib.sha256(encoded).digest() + len(encoded).to_bytes(8, "little")
    )
    if len(set(heads)) == 1:
        return
    longest = max(int.from_bytes(head[-8:], "little") for head in heads)
    rows = parallel.gather_bytes(encoded.ljust(longest))
    found = "; ".join(differences([json.loads(row) for row in rows]))
    raise DifferentProcessesError(f"{found}; start all processes with the same")


def differences(processes: Sequence[Mapping[str, str]]) -> Iterator[str]:
    """What processes have otherwise than process 0, a text for each of them that has."""
    first = processes[0]
    for index, values in enumerate(processes):
        found = [
            f"{name} {values.get(name, 'absent')} (process 0: {first.get(name, 'absent')})"
            for name in sorted(first.keys() | values.keys())
            if values.get(name) != first.get(name)
        ]
        if found:
            yield f"process {index} was started differently: {', '.join(found)}"
