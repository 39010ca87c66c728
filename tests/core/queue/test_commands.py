"""The commands that a user of Redis has to be allowed."""

from workqueue.core.queue import Keys, commands, scripts

KEYS = Keys("q")


def test_every_command_can_be_queued_with_a_key_that_nothing_uses():
    for produces in (True, False):
        queued = commands.to_queue(KEYS, produces=produces)
        assert len({name for name, *_ in queued}) == len(queued)
        keys = {part for _, *arguments in queued for part in arguments if part.startswith("{")}
        assert keys == {KEYS.unused}


def test_workers_need_what_producers_need_and_what_every_script_sends():
    assert commands.PRODUCER < commands.ALL
    producer, worker = ({name for name, *_ in commands.to_queue(KEYS, produces=each)} for each in (True, False))
    assert producer < worker
    for script in scripts.ALL:
        assert set(script.commands) - commands.OPTIONAL <= commands.ALL


def test_what_is_done_without_is_never_asked_for():
    assert not commands.OPTIONAL & commands.ALL
