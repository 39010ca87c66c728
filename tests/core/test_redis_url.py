"""The grammar of REDIS_URL, and what its parts are. Faults that load_settings tells of are in test_settings.py."""

import ssl
import subprocess
from pathlib import Path

import pytest

from workqueue.core.errors import InvalidSettings
from workqueue.core.redis_url import Parts, fault, take_apart
from workqueue.core.settings import load_settings


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("redis://u:p@h:1/2?client_name=a", Parts("redis://u:p@h:1/2?client_name=a", False, False)),
        ("rediss://h", Parts("rediss://h", False, True)),
        ("unix:///run/s?db=1", Parts("unix:///run/s?db=1", True, False)),
        (
            "rediss+sentinel://u:p%40w@a,b:2,[::1]:3/my%20jobs/4?sentinel_password=s%26s&ssl_cert_reqs=none",
            Parts(
                "rediss://u:p%40w@a/4?ssl_cert_reqs=none", False, True, "sentinel",
                (("a", 26379), ("b", 2), ("::1", 3)), "my jobs", None, "s&s",
            ),
        ),
        (
            "redis+cluster://:p@a,b:2",
            Parts("redis://:p@a", False, False, "cluster", (("a", 6379), ("b", 2))),
        ),
    ],
)  # fmt: skip
def test_a_url_is_taken_apart(url, parts):
    assert fault(url) is None
    assert take_apart(url) == parts


def test_certificates_are_read_when_settings_are(tmp_path: Path):
    """Each service with a wrong file ends at its start with one line."""
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    try:
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=x", "-keyout", key, "-out",
             certificate],
            check=True, capture_output=True,
        )  # fmt: skip
    except FileNotFoundError:
        pytest.skip("there is no openssl")
    good = f"rediss://h?ssl_ca_certs={certificate}&ssl_certfile={certificate}&ssl_keyfile={key}"
    assert load_settings({"REDIS_URL": good}).redis_url == good
    swapped = f"rediss://h?ssl_certfile={key}&ssl_keyfile={certificate}"
    with pytest.raises(InvalidSettings, match=r"REDIS_URL=\*\*\*: its ssl options cannot be used") as refused:
        load_settings({"REDIS_URL": swapped, "WORKER_CONCURRENCY": "no"})
    assert len(refused.value.faults) == 2, "together with every other fault"
    assert str(tmp_path) not in str(refused.value)
    assert ssl.PEM_cert_to_DER_cert(certificate.read_text("ascii"))
