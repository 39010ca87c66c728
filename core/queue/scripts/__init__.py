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


def _load(name: str) -> Script:
    text = files(__name__).joinpath(f"{name}.lua").read_text("utf-8")
    commands = tuple(sorted(set(re.findall(r"redis\.p?call\('([A-Z]+)'", text))))
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
NEXT_TASK = _load("next_task")
READ_DEAD = _load("read_dead")
UNBURY = _load("unbury")
SET_PAUSED = _load("set_paused")
PARK = _load("park")
UNPARK = _load("unpark")

ALL = (
    REGISTER, RENEW, FENCE, END, RETIRE, CLAIM, ASSIGN_IDS, ACK, GIVE_BACK, BURY, PROMOTE, SCHEDULE,
    RECORD_SUSPECT_START, READ_CHECKPOINT, SET_CHECKPOINT, SUBMIT_ONCE, NEXT_TASK,
    READ_DEAD, UNBURY, SET_PAUSED, PARK, UNPARK,
)  # fmt: skip
