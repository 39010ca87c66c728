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
NAME_IDS = _load("name_ids")
ACK = _load("ack")
BACK = _load("back")
BURY = _load("bury")
PROMOTE = _load("promote")
SCHEDULE = _load("schedule")
NOTE_START = _load("note_start")
TICK = _load("tick")
SET_MARK = _load("set_mark")
SUBMIT_ONCE = _load("submit_once")

ALL = (
    REGISTER, RENEW, FENCE, END, RETIRE, CLAIM, NAME_IDS, ACK, BACK, BURY, PROMOTE, SCHEDULE, NOTE_START, TICK,
    SET_MARK, SUBMIT_ONCE,
)  # fmt: skip
