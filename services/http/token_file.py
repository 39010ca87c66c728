"""Where the tokens come from: API_TOKENS, or API_TOKENS_FILE, which is read again when it has changed."""

import logging
import os
from pathlib import Path

import trio
from msgspec import Struct

from workqueue.core import api_tokens
from workqueue.core.api_tokens import ApiToken
from workqueue.core.errors import InvalidSettings
from workqueue.core.settings import Settings
from workqueue.services.http.tokens import Tokens

LOOK_SECONDS = 1.0  #: between two looks at the file
FILE_BYTES_MAX = 1024 * 1024

log = logging.getLogger(__name__)


def load_tokens(settings: Settings) -> tuple[Tokens | None, "TokenFile | None"]:
    """The tokens that are set, and the file to watch, if they come from one. No tokens: everything is open.

    Raises InvalidSettings for faults in API_TOKENS_FILE, and where REQUIRE_TOKENS is set and no token is: also on
    loopback, where a proxy may stand that lets others in.
    """
    if settings.api_tokens_file is not None:
        file = TokenFile(Path(settings.api_tokens_file))
        return Tokens(file.read()), file
    tokens, faults = api_tokens.read_setting(settings.api_tokens) if settings.api_tokens else ([], [])
    if settings.require_tokens and not tokens:
        faults.append("REQUIRE_TOKENS=1: set API_TOKENS or API_TOKENS_FILE")
    if faults:
        raise InvalidSettings(faults)
    return (Tokens(tokens) if tokens else None), None


class _Stamp(Struct, frozen=True):
    """What changes with a file, be it written anew or replaced by another one."""

    changed_ns: int
    size: int
    inode: int
    device: int


class TokenFile:
    """API_TOKENS_FILE. Mutable state: what it was when it was read last, and the fault that was logged last."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp: _Stamp | None = None
        self._told: list[str] = []

    def read(self) -> list[ApiToken]:
        """The tokens in the file. Raises InvalidSettings."""
        where = f"API_TOKENS_FILE={str(self._path)!r}"
        try:
            self._stamp = self._look()
            with self._path.open("rb") as file:
                content = file.read(FILE_BYTES_MAX + 1)
            tokens, faults = api_tokens.read_lines(content.decode())
        except OSError as error:
            raise InvalidSettings([f"{where}: {error.strerror or type(error).__name__}"]) from None
        except UnicodeDecodeError:  # its text would show a byte of a secret
            raise InvalidSettings([f"{where}: is not UTF-8"]) from None
        if len(content) > FILE_BYTES_MAX:
            raise InvalidSettings([f"{where}: is larger than {FILE_BYTES_MAX} bytes"])
        if faults:
            raise InvalidSettings([f"{where}: {fault}" for fault in faults])
        return tokens

    def read_if_changed(self) -> list[ApiToken] | None:
        """The tokens, where the file is not as it was; None: it is. Raises InvalidSettings."""
        try:
            if self._look() == self._stamp:
                return None
        except OSError:
            self._stamp = None  # it is read as soon as it is there again, though it may look as before
        return self.read()

    async def watch(self, tokens: Tokens) -> None:
        """Keep `tokens` as the file has them, until cancelled. While the file is wrong they stay as they were.

        The file is looked at in a thread: on a server that does not answer, that would stop the loop.
        """
        while True:
            await trio.sleep(LOOK_SECONDS)
            try:
                found = await trio.to_thread.run_sync(self.read_if_changed, abandon_on_cancel=True)
            except InvalidSettings as error:
                if error.faults != self._told:
                    self._told = error.faults
                    log.error("the tokens stay as they were: %s", "; ".join(error.faults[:10]))
                continue
            if found is not None:
                self._told = []
                tokens.replace(found)
                log.info("%d tokens were read from %s", len(found), self._path)

    def _look(self) -> _Stamp:
        found = os.stat(self._path)
        return _Stamp(found.st_mtime_ns, found.st_size, found.st_ino, found.st_dev)
