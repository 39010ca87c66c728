"""From an error to its status and message."""

from collections.abc import Mapping

import pytest
from msgspec import Raw

from workqueue.services.http.responses import Refused, json, response_to, text


class Wide(Exception):
    pass


class Narrow(Wide):
    pass


class Plain(Wide):
    pass


ERRORS: Mapping[type[Exception], tuple[int, str]] = {Wide: (400, "wide"), Narrow: (422, "narrow")}


@pytest.mark.parametrize(
    ("error", "response"),
    [
        (Narrow("a secret"), (422, "narrow")),
        (Plain("a secret"), (400, "wide")),
        (Refused(404, "job not found"), (404, "job not found")),
    ],
)
def test_an_error_is_looked_up_by_its_own_class_first(error, response, caplog):
    assert response_to(error, ERRORS) == response
    assert caplog.text == ""


def test_any_other_error_is_a_bug_that_is_logged_and_not_shown(caplog):
    assert response_to(ZeroDivisionError("a secret"), ERRORS) == (500, "internal error")
    assert "ZeroDivisionError: a secret" in caplog.text


async def test_json_keeps_raw_bytes_and_text_is_one_sentence():
    response = json({"payload": Raw(b'{ "a":1.0 }')}, 503)
    assert (response.status_code, response.content_type) == (503, "application/json")
    assert await response.get_data() == b'{"payload":{ "a":1.0 }}'
    response = text(400, "no")
    assert (response.content_type, await response.get_data()) == ("text/plain; charset=utf-8", b"no")
