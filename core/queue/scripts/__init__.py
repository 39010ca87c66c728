"""Lua scripts, one a file with its contract in the header; sent by digest, or whole where Redis does not know it."""

import re
from hashlib import sha1
from importlib.resources import files

from msgspec import Struct


class Script(Struct, frozen=True):
    """A script's text and the digest under which Redis keeps it."""

    name: str
    text: str
    digest: str
    commands: tuple[str, ...]  #: that it calls

    @property
    def shown(self) -> str:
        """For a person who has to find out what the server has against it."""
        return f"{self.name}.lua ({', '.join(self.commands)})"


def _read(name: str) -> str:
    return files(__name__).joinpath(f"{name}.lua").read_text("utf-8")


def _part(name: str) -> dict[str, str]:
    """The functions of a file whose name begins with `_`, by their names."""
    code = "".join(line for line in _read(name).splitlines(keepends=True) if not line.startswith("--"))
    functions = re.split(r"^(?=local function )", code, flags=re.MULTILINE)
    return {re.findall(r"function (\w+)", text)[0]: text for text in functions if text.strip()}


#: In the order in which they may call each other.
_SHARED = {**_part("_flights"), **_part("_queues"), **_part("_lanes")}
_COMMAND = re.compile(r"redis\.p?call\((?:at_head and )?'([A-Z]+)'(?: or '([A-Z]+)')?")


def _load(name: str) -> Script:
    """With those of the shared functions that it calls, and those that these call."""
    text = _read(name)
    for function, code in reversed(_SHARED.items()):
        if re.search(rf"\b{function}\(", text):
            text = code + text
    commands = tuple(sorted({each for found in _COMMAND.findall(text) for each in found if each}))
    return Script(name, text, sha1(text.encode(), usedforsecurity=False).hexdigest(), commands)


REGISTER = _load("register")
RENEW = _load("renew")
FENCE = _load("fence")
END = _load("end")
RETIRE = _load("retire")
CLAIM = _load("claim")
ASSIGN_IDS = _load("assign_ids")
ACK = _load("ack")
GIVE_BACK = _load("give_back")
BURY = _load("bury")
PROMOTE = _load("promote")
SCHEDULE = _load("schedule")
RECORD_SUSPECT_START = _load("record_suspect_start")
READ_CHECKPOINT = _load("read_checkpoint")
SET_CHECKPOINT = _load("set_checkpoint")
SUBMIT_ONCE = _load("submit_once")
SUBMIT_UNIQUE = _load("submit_unique")
FREE_UNIQUE = _load("free_unique")
NEXT_TASK = _load("next_task")
READ_DEAD = _load("read_dead")
UNBURY = _load("unbury")
SET_PAUSED = _load("set_paused")
PARK = _load("park")
UNPARK = _load("unpark")
PUSH = _load("push")
ADD_QUEUE = _load("add_queue")
DEPTHS = _load("depths")
HEADS = _load("heads")
FIRE = _load("fire")
ADMIT = _load("admit")
HOLD = _load("hold")
SET_LIMITS = _load("set_limits")
PAUSE_SCOPE = _load("pause_scope")
SWEEP_PERMITS = _load("sweep_permits")
ROUSE = _load("rouse")
CLAIM_AHEAD = _load("claim_ahead")
RETURN_AHEAD = _load("return_ahead")

ALL = (
    REGISTER, RENEW, FENCE, END, RETIRE, CLAIM, ASSIGN_IDS, ACK, GIVE_BACK, BURY, PROMOTE, SCHEDULE,
    RECORD_SUSPECT_START, READ_CHECKPOINT, SET_CHECKPOINT, SUBMIT_ONCE, NEXT_TASK,
    READ_DEAD, UNBURY, SET_PAUSED, PARK, UNPARK, PUSH, ADD_QUEUE, DEPTHS, HEADS, FIRE,
    SUBMIT_UNIQUE, FREE_UNIQUE, ADMIT, HOLD, SET_LIMITS, PAUSE_SCOPE, SWEEP_PERMITS, ROUSE,
    CLAIM_AHEAD, RETURN_AHEAD,
)  # fmt: skip
