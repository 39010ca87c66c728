"""Lua scripts, one a file with its contract in the header; sent by digest, or whole where Redis does not know it."""

from hashlib import sha1
from importlib.resources import files

from msgspec import Struct


class Script(Struct, frozen=True):
    """A script's text and the digest under which Redis keeps it."""

    name: str
    text: str
    digest: str


def _load(name: str) -> Script:
    text = files(__name__).joinpath(f"{name}.lua").read_text("utf-8")
    return Script(name, text, sha1(text.encode(), usedforsecurity=False).hexdigest())


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
